package targets

import "github.com/stampgate/stampgate/gateway/pick"

// A step is where a request looks for its target: a tier, and the worst class that
// it takes there. Of the targets up to that class the best class decides, then
// load and weight.
type step struct {
	tier  int
	worst pick.Class
	// mayWait is no place to look: here a request waits for a target whose only
	// fault is that it has all its scouts, rather than go on to what is worse.
	mayWait bool
}

// order yields the steps of the request's next attempt, best first: each walk goes
// through all tiers. Next takes the first target on this way that admits the
// request, Explain lists them all; nothing else knows the order.
//
// A request that has cost one backend work already first looks everywhere, the
// passive tiers too, for a target that did not just fail: with every target of the
// own region failing, its second attempt is then the last, and the retry budget
// lasts until the breakers have opened. Its last attempt leaves the tiers that
// failed it. Where such a target is there but takes no more scouts, it waits.
func (s *Selection) order(yield func(step) bool) {
	if s.costly > 0 {
		last := s.costly == maxAttempts(s.req.Route)-1
		if last && !s.walk(near, s.tiers, yield) || !s.walk(near, 0, yield) || !yield(step{mayWait: true}) {
			return
		}
	}
	for _, worst := range [...]pick.Class{suspect, onTrial, full, ramping, doubted, altered} {
		if worst == full && s.costly == 0 && !yield(step{mayWait: true}) {
			return
		}
		if !s.walk(worst, 0, yield) {
			return
		}
	}
}

// walk yields a step for each tier that the request may use, but those whose bit is
// set in skip, and reports whether to go on.
func (s *Selection) walk(worst pick.Class, skip uint64, yield func(step) bool) bool {
	for i := range s.plan.tiers {
		if skip&tierBit(i) != 0 || s.plan.tiers[i].passive && !s.passiveAllowed() {
			continue
		}
		if !yield(step{tier: i, worst: worst}) {
			return false
		}
	}
	return true
}

// tierBit is the tier's bit; the policy has at most 64 tiers, and one more would
// merely not be told from the last.
func tierBit(i int) uint64 { return 1 << min(i, 63) }
