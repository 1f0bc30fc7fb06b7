package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/pick"
	"github.com/stampgate/stampgate/geo"
)

// An Explanation says where a target stands in the order for a request. It goes
// out as JSON.
type Explanation struct {
	Target     *policy.Target `json:"-"`
	Backend    string         `json:"backend"`
	Deployment string         `json:"deployment"`
	Region     geo.RegionID   `json:"region"`
	Tier       int            `json:"tier"`
	Passive    bool           `json:"passive"`
	// Order is 1 for the targets that would be tried first, the same for those
	// among which load and weight decide; 0: excluded.
	Order  int          `json:"order"`
	Reason string       `json:"reason,omitempty"` // why it is excluded, or comes late; "" for neither
	Wait   Milliseconds `json:"waitMs,omitempty"` // until the reason may be over, 0 if unknown
}

// Explain returns the targets of a request in the order in which they would be
// tried, then the excluded ones.
func (r *Registry) Explain(now time.Time, req Request) []Explanation {
	s := r.Begin(req)
	s.look(now)
	type place struct{ tier, target int }
	listed := make(map[place]bool)
	all := []Explanation{}
	order, way := 0, s.order()
	for at, ok := way.next(); ok; at, ok = way.next() {
		if at.mayWait {
			continue
		}
		for class := clean; class <= at.worst; class++ {
			next := order + 1
			for j := range s.plan.tiers[at.tier].states {
				if p := (place{at.tier, j}); !listed[p] && s.class(&s.plan.tiers[at.tier], j) == class {
					listed[p], order = true, next
					all = append(all, s.explain(at.tier, j, order, class))
				}
			}
		}
	}
	for i := range s.plan.tiers {
		for j := range s.plan.tiers[i].states {
			if !listed[place{i, j}] {
				all = append(all, s.explain(i, j, 0, unfit))
			}
		}
	}
	return all
}

// explain says why a target stands where it does.
func (s *Selection) explain(i, j, order int, class pick.Class) Explanation {
	t := &s.plan.tiers[i]
	target := t.targets[j]
	e := Explanation{
		Target: target, Backend: target.Backend, Deployment: target.Deployment, Region: target.Region(),
		Tier: i, Passive: t.passive, Order: order,
	}
	var wait time.Duration
	e.Reason, wait = s.excuse(t, j)
	switch {
	case t.passive && !s.passiveAllowed():
		e.Reason, wait = "passive region: the region's own targets are not out for a reason that the policy lets spill", 0
	case order > 0 && e.Reason == "":
		e.Reason, wait = s.lateness(t, j, class)
	}
	e.Wait = Milliseconds(max(wait, 0))
	text, _ := s.reg.reachText(t.states[j], s.now)
	switch {
	case e.Reason == "":
		e.Reason = text
	case text != "":
		e.Reason += "; " + text
	}
	return e
}

// lateness says why a target that may be used is taken after others.
func (s *Selection) lateness(t *tier, j int, class pick.Class) (string, time.Duration) {
	st := t.states[j]
	switch class {
	case clean, unfit:
	case near:
		return "near a limit: spared by some requests", 0
	case suspect, onTrial:
		if st.alarm.Load() {
			return "our credential was refused, and the renewed one has not been tried", 0
		}
		return "its last outcome was a failure", time.Duration(st.suspectUntil.Load() - s.at)
	case full:
		return "its gate has just opened: takes a growing share", 0
	case ramping:
		return "readmitted: takes a growing share", 0
	case altered:
		return "answers as another model than the route's", 0
	case doubted:
		return "other gateways say that it fails", time.Duration(t.doubted[j].Load() - s.at)
	}
	return "", 0
}

// backAt is when an exclusion lets the request's client test the target; never: it
// cannot be told.
func (s *Selection) backAt(st *state, about aspect) int64 {
	if until := st.outUntil.Load(); until > s.at {
		return until
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, x := range st.exclusions {
		if x.aspect == about {
			return st.since(x.breaker.ClientUntil(s.client))
		}
	}
	return never
}

// excuse names what blocks a target, and until when.
func (s *Selection) excuse(t *tier, j int) (string, time.Duration) {
	st := t.states[j]
	wait := func(until int64) time.Duration {
		if until <= s.at || until == always {
			return 0
		}
		return time.Duration(until - s.at)
	}
	switch s.blocked(t, j) {
	case drained:
		return "drained", 0
	case absent:
		return "deployment does not exist", wait(s.backAt(st, missing))
	case gone:
		return "model is retired", wait(s.backAt(st, retirement))
	case forbiddenHere:
		return "operation is forbidden to the gateway's identity", 0
	case gated:
		if s.honours(t, j) {
			return "throttled, other gateways say", wait(st.gatedUntil.Load())
		}
		return "throttled", wait(st.gatedUntil.Load())
	case ejected:
		switch {
		case st.alarm.Load() && aspect(st.outFor.Load()) == identity:
			return "identity refused", wait(st.outUntil.Load())
		case s.at < st.outUntil.Load():
			return "breaker open", wait(st.outUntil.Load())
		}
		return "breaker open for this client", 0
	case awaitingOwner:
		return "waits for another gateway's probe", 0
	case elsewhere:
		return "another backend holds the object", 0
	case fine:
	}
	if st.unproven.Load() {
		return "half-open: the next request probes", 0
	}
	return "", 0
}
