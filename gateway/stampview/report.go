package stampview

import (
	"cmp"
	"slices"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/membership"
)

// A Report is what a gateway tells its stamp: of itself, and of the targets that it
// sends to.
type Report struct {
	PolicySerial uint64 // of the policy in force
	Health       string // in one word, such as "pass"
	Draining     bool
	Targets      []targets.Report // those of which there is something to tell
}

// Bounds of a report. What is beyond them is cut and counted.
const (
	maxTargets    = 512
	maxWait       = 24 * time.Hour // nobody is told to stay away for longer
	maxFirstByte  = time.Hour
	maxOrigin     = 512 // bytes: a host name has at most 253
	maxDeployment = 255 // bytes
	maxHealth     = 32  // bytes
	maxInFlight   = 1<<31 - 1
)

// cautious reports whether the target should rather be left alone.
func cautious(t targets.Report) bool { return t.Gate > 0 || t.Breaker != breaker.Closed }

// normalise returns the report as it travels: rounded, cut to the bounds, without
// idle targets, sorted, sharing no memory with r. It also returns how many targets
// did not fit. Those that call for caution are kept first.
func (r Report) normalise() (Report, int) {
	ts := make([]targets.Report, 0, len(r.Targets))
	for _, t := range r.Targets {
		t.Gate = roundUp(t.Gate)
		t.BreakerFor = roundUp(t.BreakerFor)
		t.SuccessAge = roundUp(t.SuccessAge)
		t.FirstByte = min(max(t.FirstByte, 0), maxFirstByte).Truncate(time.Microsecond)
		t.InFlight = min(max(t.InFlight, 0), maxInFlight)
		t.Age = 0
		if !t.Idle() {
			ts = append(ts, t)
		}
	}
	named := len(ts)
	ts = slices.DeleteFunc(ts, func(t targets.Report) bool {
		return t.Key.Origin == "" || len(t.Key.Origin) > maxOrigin || len(t.Key.Deployment) > maxDeployment
	})
	slices.SortStableFunc(ts, targets.Report.Compare)
	ts = slices.CompactFunc(ts, func(a, b targets.Report) bool { return a.Key == b.Key })
	ts = fit(ts)
	r.Targets = ts
	r.Health = r.Health[:min(len(r.Health), maxHealth)]
	return r, named - len(ts)
}

// fit drops what is beyond maxTargets or the bound of a payload, the quiet ones
// first.
func fit(ts []targets.Report) []targets.Report {
	size := 0
	for _, t := range ts {
		size += mostBytes(t)
	}
	if len(ts) <= maxTargets && size <= maxTargetBytes {
		return ts
	}
	slices.SortStableFunc(ts, func(a, b targets.Report) int {
		switch {
		case cautious(a) == cautious(b):
			return cmp.Compare(b.InFlight, a.InFlight)
		case cautious(a):
			return -1
		default:
			return 1
		}
	})
	kept, size := 0, 0
	for kept < min(len(ts), maxTargets) {
		size += mostBytes(ts[kept])
		if size > maxTargetBytes {
			break
		}
		kept++
	}
	ts = ts[:kept]
	slices.SortFunc(ts, targets.Report.Compare)
	return ts
}

// maxTargetBytes leaves room for the rest of a report.
const maxTargetBytes = membership.MaxPayloadBytes - 128

// mostBytes is the most that a target takes on the wire: its own head, two texts
// and six numbers.
func mostBytes(t targets.Report) int {
	return 3 + len(t.Key.Origin) + 3 + len(t.Key.Deployment) + 3 + 6*6
}

// roundUp rounds to whole milliseconds, so that no rest of a wait is lost.
func roundUp(d time.Duration) time.Duration {
	d = min(max(d, 0), maxWait)
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// A sent report is one with the moment for which its times hold.
type sent struct {
	Report
	at time.Time
}

// slack is by how much the end of a gate or of a breaker may move before peers are
// told at once: half a second is under what a Retry-After can say.
const slack = 500 * time.Millisecond

// pressing reports whether r differs from a report that peers have in something that
// they should act on at once: a gate, a breaker, health, draining, another policy.
// It looks at moments, not at remaining times, so that a gate that merely runs down
// is no news.
func (r sent) pressing(before sent) bool {
	if before.PolicySerial != r.PolicySerial || before.Health != r.Health || before.Draining != r.Draining {
		return true
	}
	return differ(before.Targets, r.Targets, func(old, t targets.Report) bool {
		return old.Breaker != t.Breaker ||
			moved(before.at.Add(old.Gate), r.at.Add(t.Gate), r.at) ||
			moved(before.at.Add(old.BreakerFor), r.at.Add(t.BreakerFor), r.at)
	})
}

// busier reports whether r differs from another report in numbers that may come late.
func (r sent) busier(before sent) bool {
	return differ(before.Targets, r.Targets, func(old, t targets.Report) bool {
		return old.InFlight != t.InFlight || old.FirstByte != t.FirstByte
	})
}

// differ walks over two sorted lists and reports whether any two of one key differ.
// What is missing in one is there with nothing to tell.
func differ(before, after []targets.Report, f func(old, t targets.Report) bool) bool {
	for len(before) > 0 || len(after) > 0 {
		var old, t targets.Report
		var order int
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = before[0].Compare(after[0])
		}
		if order <= 0 {
			old, before = before[0], before[1:]
		}
		if order >= 0 {
			t, after = after[0], after[1:]
		}
		if f(old, t) {
			return true
		}
	}
	return false
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
	return before.Sub(after).Abs() > slack
}
