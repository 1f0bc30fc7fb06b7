package scorecard

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// A Right is the right answer to a request that a fault strikes. A request that
// none strikes is answered completely.
type Right string

// The right answers.
const (
	Complete    Right = "complete"
	HonestEnd   Right = "complete, or ended honestly" // of streams that had begun
	PassedOn    Right = "passed on, one attempt"      // status and bytes as the backend worded them
	AsItIs      Right = "passed on as it is"          // the whole stream, and nothing appended
	NotRepeated Right = "504, not repeated"
	Retired     Right = "410"
)

// rightAnswer is what a request of the job may get beside a complete answer.
func (j job) rightAnswer() Right {
	if j.mode == Stream && j.variant.midStream {
		return HonestEnd
	}
	return cmp.Or(j.variant.right, Complete)
}

// The times within which targets must be used again once a fault is over.
const (
	// noEvidence is for those of which nothing was learned.
	noEvidence = 3 * time.Second
	// afterFailure is a breaker's shortest time of 5 s, twice doubled, and a probe.
	afterFailure = 30 * time.Second
)

// backWithin is the time that the job allows.
func (j job) backWithin() time.Duration {
	switch j.rightAnswer() {
	case PassedOn, AsItIs, NotRepeated:
		return noEvidence
	case Complete, HonestEnd, Retired:
	}
	return afterFailure
}

// judge tells whether an answer is the right one, and counts its kind.
func (t *Tally) judge(a answer, want Right, text string, refusal answer) bool {
	switch {
	case a.complete && a.text == text:
		t.Complete++
	case want == PassedOn && a.same(refusal), want == AsItIs && a.whole && a.text == text, want == Retired && a.status == 410:
		t.PassedOn++
	case want == NotRepeated && a.status == 504:
		t.TimedOut++
	case a.honest():
		t.Honest++
	default:
		return false
	}
	return true
}

// problems are the requirements that a run did not meet.
func (j job) problems(t Tally) []string {
	var p []string
	say := func(format string, args ...any) { p = append(p, fmt.Sprintf(format, args...)) }
	right := j.rightAnswer()
	if t.Outside > 0 {
		say("%d calls outside the boundary", t.Outside)
	}
	if lost := t.Requests - t.Complete - t.PassedOn - t.TimedOut - t.Honest; lost > 0 {
		say("%d of %d requests got a wrong answer; right is: %s", lost, t.Requests, right)
	}
	if right != HonestEnd && t.Honest > 0 {
		say("%d of %d requests were broken off, although the fault came before the first byte", t.Honest, t.Requests)
	}
	if j.faulty == 0 {
		return p
	}
	if t.Struck == 0 {
		say("the fault never struck")
	}
	if right == Retired && t.Complete > 0 {
		say("%d requests were answered although every target is retired", t.Complete)
	}
	if most := j.mostAttempts(); t.MostAttempts > most || t.MostArrived > most {
		say("a request cost %d attempts by the gateway's word and %d by the backends', want %d at most", t.MostAttempts, t.MostArrived, most)
	}
	if fair := j.fairShare(t.Requests); t.First > fair {
		say("%d of %d first attempts went to the faulty, a fair share is %d at most: failing fast looks like being free", t.First, t.Requests, fair)
	}
	return p
}

// mostAttempts bounds what one request may cost: each faulty target once, one more
// time where a pooled connection had gone, and the one that answers.
func (j job) mostAttempts() int {
	if j.variant.once {
		return 1
	}
	return min(2*j.faulty+1, targets+j.faulty)
}

// fairShare is how many of n first attempts the faulty targets may get: what they
// would get if all were well, and four standard deviations of chance, which is
// exceeded by luck in one of some 30,000 runs.
func (j job) fairShare(n int) int {
	if j.class.regions || j.faulty == targets {
		return n
	}
	share := float64(j.faulty) / targets
	return int(math.Ceil(float64(n)*share + 4*math.Sqrt(float64(n)*share*(1-share))))
}
