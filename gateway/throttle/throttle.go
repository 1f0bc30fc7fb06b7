// Package throttle reads what a backend says about its limits, and keeps the
// gate of one target: from a refusal (429, or 503 that names a time) until the
// moment the backend itself asked for.
//
// A gate is not a failure: it never counts against a target, it only says when
// to come back. The package is pure: time and random draws are passed in, there
// is no I/O, no clock and no lock. Package targets owns the gates and guards
// them; relay uses ParseSignals.
package throttle

import "time"

// MaxWait bounds what is believed of any single header. The longest wait seen in
// the wild is 86,400 s; a longer one is cut to this, which costs one request.
const MaxWait = 24 * time.Hour

// Signals are what a backend said about its limits, read from headers.
type Signals struct {
	RetryAfter    time.Duration // 0…MaxWait; 0 if it did not say, or said "now"
	HasRetryAfter bool
	// Reset is when an exhausted limit is full again, 0…MaxWait. Backends send it
	// with every answer, so that it means a wait only where the answer refuses.
	Reset time.Duration
	// Shares of the limits that are left, 0…1; negative where not said.
	RemainingRequests float64
	RemainingTokens   float64
	Utilization       float64 // of a provisioned deployment, 0…1 and beyond; negative where not said
	LimitTokens       int     // tokens a minute that the deployment grants; 0 where not said
}

// Said reports whether the backend said anything at all. The zero value, which
// stands for "there was no answer", says nothing.
func (s Signals) Said() bool { return s != Signals{} }

// Headroom returns the smallest share of any limit that is left, 0…1, and
// whether the backend named one.
func (s Signals) Headroom() (float64, bool) {
	if !s.Said() {
		return 1, false
	}
	left, said := 1.0, false
	if s.RemainingRequests >= 0 {
		left, said = min(left, s.RemainingRequests), true
	}
	if s.RemainingTokens >= 0 {
		left, said = min(left, s.RemainingTokens), true
	}
	if s.Utilization >= 0 {
		left, said = min(left, max(0, 1-s.Utilization)), true
	}
	return left, said
}
