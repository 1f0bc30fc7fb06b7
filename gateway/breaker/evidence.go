package breaker

import "time"

// Evidence is what an outcome says about a target.
type Evidence uint8

// The kinds of evidence.
const (
	None    Evidence = iota // nothing: the client left, or the answer was about its request
	Good                    // it works
	Weak                    // half a failure: it gave up, or says that it is the wrong place
	Content                 // it failed, and the request may have been the cause
	Hard                    // it failed whatever the request was
)

// halves is how many halves of a failure the evidence is.
func (e Evidence) halves() int {
	switch e {
	case Weak:
		return 1
	case Content, Hard:
		return 2
	case None, Good:
	}
	return 0
}

// Config is what makes a breaker strict or patient.
type Config struct {
	// Consecutive failures open the breaker; of them a single client's content
	// failures count at most PerClient, so that two clients agree.
	Consecutive int
	PerClient   int
	// ClientConsecutive failures of one client open that client's own circuit.
	ClientConsecutive int
	// So does a share of failures of at least Ratio among at least MinSamples
	// outcomes in 30 s. MinSamples 0 turns this off.
	Ratio      float64
	MinSamples int
	// An open breaker stays open for Base at first and at most for Max; in between each
	// time is drawn anew (decorrelated jitter).
	Base time.Duration
	Max  time.Duration
	// A breaker that opens again within Flap of its readmission stays open at
	// least that long.
	Flap time.Duration
}

// Failures is the configuration for failures of a target: five in a row, or half
// of at least ten in 30 s.
func Failures() Config {
	return Config{
		Consecutive: 5, PerClient: 3, ClientConsecutive: 5,
		Ratio: 0.5, MinSamples: 10,
		Base: 5 * time.Second, Max: 300 * time.Second, Flap: time.Minute,
	}
}

// exclusion is the configuration for an answer that says by itself that the
// target cannot serve: the first one keeps away the client that got it, one of a
// second client everyone.
func exclusion(base, most time.Duration) Config {
	return Config{Consecutive: 2, PerClient: 1, ClientConsecutive: 1, Base: base, Max: most}
}

// Identity is the configuration for refusals of our own credential.
func Identity() Config { return exclusion(5*time.Second, time.Minute) }

// Operation is the configuration for one operation that is forbidden to us.
func Operation() Config { return exclusion(5*time.Second, 5*time.Minute) }

// Deployment is the configuration for a deployment that does not exist.
func Deployment() Config { return exclusion(5*time.Second, 5*time.Minute) }

// Retirement is the configuration for a model that is no longer served. It does
// not come back, but the answer may have been a mistake of the hour.
func Retirement() Config { return exclusion(5*time.Minute, time.Hour) }
