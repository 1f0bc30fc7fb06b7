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

// An order is the way of a request's next attempt, step by step, best first. Next
// takes the first target on it that admits the request, Explain lists them all;
// nothing else knows the order.
type order struct {
	selection *Selection
	cost      occasion
	walk      int // the one under way
	tier      int // the next to look at
}

// A walk goes through all tiers that the request may use.
type walk struct {
	when  occasion // it is made
	worst pick.Class
	leave bool // the tiers that failed the request
	// mayWait: see step; no tier is looked at.
	mayWait bool
}

// An occasion is what the request has cost so far, as bits.
type occasion uint8

const (
	costNothing  occasion = 1 << iota
	costWork              // one backend at least
	lastAttempt           // and one more is all that it may cost
	everyAttempt = costNothing | costWork | lastAttempt
)

// order begins the way of the next attempt.
func (s *Selection) order() order {
	o := order{selection: s, cost: costNothing}
	switch {
	case s.costly == 0:
	case s.costly == maxAttempts(s.req.Route)-1:
		o.cost = costWork | lastAttempt
	default:
		o.cost = costWork
	}
	return o
}

// next returns the next step; false: there is none.
//
// A request that has cost one backend work already first looks everywhere, the
// passive tiers too, for a target that did not just fail: with every target of the
// own region failing, its second attempt is then the last, and the retry budget
// lasts until the breakers have opened. Its last attempt leaves the tiers that
// failed it. Where such a target is there but takes no more scouts, it waits.
func (o *order) next() (step, bool) {
	walks := [...]walk{
		{when: lastAttempt, worst: near, leave: true},
		{when: costWork, worst: near},
		{when: costWork, mayWait: true},
		{when: everyAttempt, worst: suspect},
		{when: everyAttempt, worst: onTrial},
		{when: costNothing, mayWait: true},
		{when: everyAttempt, worst: full},
		{when: everyAttempt, worst: ramping},
		{when: everyAttempt, worst: doubted},
		{when: everyAttempt, worst: altered},
	}
	s := o.selection
	for ; o.walk < len(walks); o.walk, o.tier = o.walk+1, 0 {
		w := walks[o.walk]
		if w.when&o.cost == 0 {
			continue
		}
		if w.mayWait {
			o.walk++
			return step{mayWait: true}, true
		}
		for o.tier < len(s.plan.tiers) {
			i := o.tier
			o.tier++
			if w.leave && s.tiers&tierBit(i) != 0 || s.plan.tiers[i].passive && !s.passiveAllowed() {
				continue
			}
			return step{tier: i, worst: w.worst}, true
		}
	}
	return step{}, false
}

// tierBit is the tier's bit; the policy has at most 64 tiers, and one more would
// merely not be told from the last.
func tierBit(i int) uint64 { return 1 << min(i, 63) }
