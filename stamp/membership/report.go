package membership

import (
	"cmp"
	"slices"
	"time"
)

// Bounds of what is gossiped. What is beyond them is dropped and counted, never
// kept: a peer with a fault, or with malice, must not make us grow.
const (
	// MaxMembers is the largest stamp, twice what was simulated.
	MaxMembers = 1024
	// MaxTargets is the most targets that one report speaks of.
	MaxTargets = 512
	// MaxReportBytes is the largest report: 512 targets with names of 20 bytes
	// need about 25 kB.
	MaxReportBytes = 64 << 10
	// MaxStateBytes is the most that a full exchange between two gateways
	// carries: 500 gateways with reports of 2 kB need 1 MB.
	MaxStateBytes = 4 << 20

	maxRemaining  = 24 * time.Hour // more is cut: nobody is told to stay away for longer
	maxFirstByte  = time.Hour
	maxOrigin     = 512 // bytes: a host name has at most 253
	maxDeployment = 255 // bytes
	maxHealth     = 32  // bytes
	maxName       = 128 // bytes of a gateway's name
)

// Breaker is the state of a target's breaker as a gateway sees it.
type Breaker uint8

// The states. The zero value says nothing against the target.
const (
	BreakerClosed   Breaker = iota
	BreakerOpen             // takes no requests until BreakerRemaining has passed
	BreakerHalfOpen         // being tested with single requests
	breakerStates
)

// A Report is what one gateway says of itself and of the targets that it sends
// to: its own observations only, never what it heard from others.
type Report struct {
	// Node, Boot and Seq say which report this is. They are filled in when it is
	// published: a newer report of the same boot has the greater Seq.
	Node string
	Boot string
	Seq  uint64

	PolicySerial uint64 // of the policy in force
	Health       string // in one word, such as "pass"
	Draining     bool
	Targets      []TargetReport // those of which there is something to say
}

// A TargetReport is what a gateway knows of one target. Times are remaining
// times, never moments: the clocks of two machines are not compared. The
// receiver counts from Peer.At on its own clock, so that the error is the time
// on the wire alone, milliseconds as a rule; the time that a report waits in
// the memory of a gateway that passes it on is measured and added.
type TargetReport struct {
	Origin     string // scheme and host, such as https://swc-ptu.openai.azure.com
	Deployment string

	GateRemaining    time.Duration // 0 = not gated; in ms, rounded up
	Breaker          Breaker
	BreakerRemaining time.Duration // until an open breaker lets a request try; in ms, rounded up
	InFlight         uint32        // requests that run now
	FirstByteEWMA    time.Duration // 0 = not known; in µs
	LastSuccessAge   time.Duration // 0 = none known; in ms, rounded up, so just now is 1 ms
}

// silent reports whether the target has nothing that is worth a byte.
func (t TargetReport) silent() bool {
	t.Origin, t.Deployment = "", ""
	return t == TargetReport{}
}

// cautious reports whether the target should rather be left alone.
func (t TargetReport) cautious() bool {
	return t.GateRemaining > 0 || t.Breaker != BreakerClosed
}

func (t TargetReport) compare(o TargetReport) int {
	return cmp.Or(cmp.Compare(t.Origin, o.Origin), cmp.Compare(t.Deployment, o.Deployment))
}

// normalise returns the report as it travels: rounded, cut to the bounds,
// without silent targets, sorted, sharing no memory with r. It also returns how
// many targets did not fit. Those that call for caution are kept first.
func (r Report) normalise() (Report, int) {
	ts := make([]TargetReport, 0, len(r.Targets))
	for _, t := range r.Targets {
		t.GateRemaining = roundUp(t.GateRemaining, maxRemaining)
		t.BreakerRemaining = roundUp(t.BreakerRemaining, maxRemaining)
		t.LastSuccessAge = roundUp(t.LastSuccessAge, maxRemaining)
		t.FirstByteEWMA = min(max(t.FirstByteEWMA, 0), maxFirstByte).Truncate(time.Microsecond)
		if t.Breaker >= breakerStates {
			t.Breaker = BreakerOpen // unknown to us: the cautious reading
		}
		if !t.silent() {
			ts = append(ts, t)
		}
	}
	named := len(ts)
	ts = slices.DeleteFunc(ts, func(t TargetReport) bool {
		return t.Origin == "" || len(t.Origin) > maxOrigin || len(t.Deployment) > maxDeployment
	})
	slices.SortStableFunc(ts, TargetReport.compare)
	ts = slices.CompactFunc(ts, func(a, b TargetReport) bool { return a.compare(b) == 0 })
	ts = fit(ts)
	r.Targets = ts
	if len(r.Health) > maxHealth {
		r.Health = r.Health[:maxHealth]
	}
	return r, named - len(ts)
}

// fit drops what is beyond MaxTargets or MaxReportBytes, the quiet ones first.
func fit(ts []TargetReport) []TargetReport {
	size := 0
	for _, t := range ts {
		size += targetBytes(t)
	}
	if len(ts) <= MaxTargets && size <= maxTargetBytes {
		return ts
	}
	slices.SortStableFunc(ts, func(a, b TargetReport) int {
		switch {
		case a.cautious() == b.cautious():
			return cmp.Compare(b.InFlight, a.InFlight)
		case a.cautious():
			return -1
		default:
			return 1
		}
	})
	kept, size := 0, 0
	for kept < min(len(ts), MaxTargets) {
		size += targetBytes(ts[kept])
		if size > maxTargetBytes {
			break
		}
		kept++
	}
	ts = ts[:kept]
	slices.SortFunc(ts, TargetReport.compare)
	return ts
}

// maxTargetBytes leaves room for the head of a report.
const maxTargetBytes = MaxReportBytes - 1024

// targetBytes is the most that a target takes on the wire: two counted strings,
// an index, a mask and six numbers of at most five bytes.
func targetBytes(t TargetReport) int {
	return len(t.Origin) + len(t.Deployment) + 2 + 2 + 1 + 1 + 2 + 30
}

// roundUp rounds to whole milliseconds, so that no rest of a wait is lost.
func roundUp(d, limit time.Duration) time.Duration {
	d = min(max(d, 0), limit)
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// News says how a report differs from the one before it.
type news uint8

const (
	nothingNew news = iota
	newLoad         // only numbers that may come late
	newVerdict      // something that peers should act on at once
)

// gateSlack is by how much the end of a gate or of a breaker may move before
// peers are told at once: half a second is under what a Retry-After can say.
const gateSlack = 500 * time.Millisecond

// A spoken report is one with the moment for which its remaining times hold.
type spoken struct {
	Report
	at time.Time
}

// newsIn compares two reports of one gateway. It looks at moments, not at
// remaining times, so that a gate that merely runs down is no news.
func newsIn(before, after spoken) news {
	if before.PolicySerial != after.PolicySerial || before.Health != after.Health || before.Draining != after.Draining {
		return newVerdict
	}
	old := make(map[[2]string]TargetReport, len(before.Targets))
	for _, t := range before.Targets {
		old[[2]string{t.Origin, t.Deployment}] = t
	}
	found := nothingNew
	for _, t := range after.Targets {
		key := [2]string{t.Origin, t.Deployment}
		found = max(found, newsOf(old[key], before.at, t, after.at))
		delete(old, key)
	}
	for _, t := range old {
		found = max(found, newsOf(t, before.at, TargetReport{}, after.at))
	}
	return found
}

func newsOf(old TargetReport, oldAt time.Time, t TargetReport, at time.Time) news {
	if old.Breaker != t.Breaker ||
		moved(oldAt.Add(old.GateRemaining), at.Add(t.GateRemaining), at) ||
		moved(oldAt.Add(old.BreakerRemaining), at.Add(t.BreakerRemaining), at) {
		return newVerdict
	}
	if old.InFlight != t.InFlight || old.FirstByteEWMA != t.FirstByteEWMA {
		return newLoad
	}
	return nothingNew
}

// moved reports whether an end has moved as seen at a moment: ends that have
// passed are all alike.
func moved(before, after, at time.Time) bool {
	if before.Before(at) {
		before = at
	}
	if after.Before(at) {
		after = at
	}
	return before.Sub(after).Abs() > gateSlack
}
