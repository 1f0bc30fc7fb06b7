package targets

import (
	"cmp"
	"slices"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/geo"
)

// A TargetStatus is what an operator may want to know of a target.
type TargetStatus struct {
	Key          policy.Key
	Backend      string
	Region       geo.RegionID
	Gate         time.Duration // until the gate opens, 0 if it is open
	Breaker      breaker.State
	BreakerFor   time.Duration // until an open breaker tests the target
	ByClient     bool          // the breaker is that of the only client which used the target
	Share        float64       // of its usual work, below 1 after a readmission
	InFlight     int           // by this gateway
	PeerInFlight int
	FirstByte    time.Duration // average, 0 if unknown
	Identity     bool          // alarm: our credential is refused
	Missing      bool          // the deployment does not exist
	Retired      bool          // the model is no longer served there
	Forbidden    bool          // some operation is forbidden to our identity
	OtherModel   string        // what answers call their model, if it is not the route's
	Avoided      bool          // and the target is avoided for it
	Drained      bool          // by an order on its backend or its region
	Excluded     bool          // set aside for whatever reason, or nothing has succeeded since
	Suspect      bool          // its last outcome was a failure
	PeersOpen    int           // peers whose breaker is open
	Reach        string        // what probes have to do with it, in words; "" if nothing
	Unreachable  bool          // by the last probes, and no request has succeeded since
}

// Available reports whether a request would be sent to the target.
func (s TargetStatus) Available() bool {
	return s.Gate == 0 && s.Breaker == breaker.Closed && !s.Excluded && !s.Drained && !s.Unreachable
}

// Status returns what is known of each target, in the order of their keys.
func (r *Registry) Status(now time.Time) []TargetStatus {
	var all []TargetStatus
	at := r.since(now)
	d := r.drains.Load()
	for _, st := range r.view.Load().states {
		s := st.status(now, at)
		s.Reach, s.Unreachable = r.reachText(st, now)
		if t := st.target.Load(); t != nil {
			s.Backend, s.Region = t.Backend, t.Region()
			s.Drained = d != nil && d.excludes(t, true)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b TargetStatus) int { return compareKeys(a.Key, b.Key) })
	return all
}

func (st *state) status(now time.Time, at int64) TargetStatus {
	s := TargetStatus{
		Key: st.key, Share: st.share(at), InFlight: int(st.inFlight.Load()), FirstByte: st.firstByte(at),
		Identity: st.alarm.Load(), Suspect: st.suspect(at),
	}
	if known, other := st.mismatched(); other {
		s.OtherModel, s.Avoided = known.model, known.avoided
	}
	if at < st.peers.until.Load() {
		s.PeerInFlight, s.PeersOpen = int(st.peers.inFlight.Load()), int(st.peers.open.Load())
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s.Gate = st.gate.OpensIn(now)
	s.Excluded = st.unproven.Load() || at < st.outUntil.Load()
	s.Missing, s.Retired, s.Forbidden = st.says(now, missing), st.says(now, retirement), st.says(now, forbidden)
	var until time.Time
	s.Breaker, until, s.ByClient = st.health.Speaks(now)
	if s.Breaker == breaker.Open {
		s.BreakerFor = until.Sub(now)
	}
	return s
}

// Availability is what a route can expect of its targets.
type Availability uint8

// The availabilities, worst first.
const (
	None         Availability = iota // no target can serve
	AllThrottled                     // every target that could serve is gated
	PassiveOnly                      // none of the region's own can serve
	OwnAvailable                     // one of the region's own can serve
)

// String returns the availability as status and health name it.
func (a Availability) String() string {
	switch a {
	case AllThrottled:
		return "all-throttled"
	case PassiveOnly:
		return "passive-only"
	case OwnAvailable:
		return "available"
	case None:
	}
	return "none"
}

// Serves tells what a route can expect now, for health. The request's Client and
// Stateless do not matter. A target whose breaker waits for a test counts as one
// that can serve only once something has succeeded there, a probe at the least;
// where nobody probes it counts at once, for none comes to a stamp that says no.
func (r *Registry) Serves(now time.Time, req Request) Availability {
	s := r.Begin(req)
	s.look(now)
	throttled, passive := false, false
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		for j, st := range t.states {
			switch s.serves(st, s.healthBlocked(t, j)) {
			case gated:
				throttled = true
			case fine:
				if !t.passive {
					return OwnAvailable
				}
				passive = true
			case ejected, awaitingOwner, absent, gone, forbiddenHere, drained, elsewhere:
			}
		}
	}
	switch {
	case passive:
		return PassiveOnly
	case throttled:
		return AllThrottled
	}
	return None
}

// healthBlocked is blocked without what concerns one request alone: a due test
// of a long gate is no reason to call it open, a probe's owner no reason to wait.
func (s *Selection) healthBlocked(t *tier, j int) reason {
	st := t.states[j]
	switch why := s.blocked(t, j); {
	case why == fine && (s.at < st.ownGate.Load() || s.honours(t, j)):
		return gated
	case why == awaitingOwner:
		return fine
	case why == fine && st.sizes.unrefuted(s.at, st.succeeded.Load()):
		return gated
	default:
		return why
	}
}

// serves adds what health alone looks at: the breaker of a client that is alone
// on the target, and what probes know. One that cannot be reached is out for more
// than a gate, and one that failed must have proved itself.
func (s *Selection) serves(st *state, why reason) reason {
	if why != fine && why != gated {
		return why
	}
	rc, probed := s.reg.reachOf(st.key.Origin)
	if probed && rc.unreachable(st.succeeded.Load()) {
		return ejected
	}
	if why == fine && probed && st.notProven(s.now, rc) {
		return ejected
	}
	return st.alone(s.now, why)
}

// alone says what the only client that uses the target finds, where that is not
// fine.
func (st *state) alone(now time.Time, why reason) reason {
	if why != fine || st.clientsOut.Load() == 0 {
		return why
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if state, _, _ := st.health.Speaks(now); state == breaker.Open {
		return ejected
	}
	for _, x := range st.exclusions {
		if state, _, _ := x.breaker.Speaks(now); x.aspect != forbidden && state == breaker.Open {
			return reasonOf(x.aspect)
		}
	}
	return fine
}

// An Explanation says where a target stands in the order for a request.
type Explanation struct {
	Target  *policy.Target
	Tier    int
	Passive bool
	// Order is 1 for the targets that would be tried first, the same for those
	// among which load and weight decide; 0: excluded.
	Order  int
	Reason string        // why it is excluded, or comes late; "" for neither
	Wait   time.Duration // until the reason may be over, 0 if unknown
}

// Explain returns the targets of a request in the order in which they would be
// tried, then the excluded ones.
func (r *Registry) Explain(now time.Time, req Request) []Explanation {
	s := r.Begin(req)
	s.look(now)
	var all []Explanation
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		for j := range t.states {
			e := s.explain(i, j)
			e.addReach(r.reachText(t.states[j], now))
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Explanation) int {
		if (a.Order == 0) != (b.Order == 0) {
			return cmp.Compare(b.Order, a.Order) // excluded ones last
		}
		return cmp.Compare(a.Order, b.Order)
	})
	last, order := 0, 0
	for i := range all {
		if all[i].Order == 0 {
			continue
		}
		if all[i].Order != last {
			last, order = all[i].Order, order+1
		}
		all[i].Order = order
	}
	return all
}

// explain gives Order a provisional value: by class first where the class
// outranks the tier.
func (s *Selection) explain(i, j int) Explanation {
	t := &s.plan.tiers[i]
	st := t.states[j]
	e := Explanation{Target: t.targets[j], Tier: i, Passive: t.passive}
	e.Reason, e.Wait = s.excuse(t, j)
	if t.passive && !s.passiveAllowed() {
		e.Reason, e.Wait = "passive region: the region's own targets are not out for a reason that the policy lets spill", 0
		return e
	}
	if s.blocked(t, j) != fine {
		return e
	}
	class := s.class(t, j)
	switch {
	case class >= tried: // only when no tier has a better one
		e.Order = 1 + (int(class-tried)+1)*len(s.plan.tiers)*int(tried) + i
	default:
		e.Order = 1 + i*int(tried) + int(class)
	}
	if e.Reason != "" {
		return e
	}
	switch class {
	case clean, unfit:
	case near:
		e.Reason = "near a limit: spared by some requests"
	case suspect, tried:
		if st.alarm.Load() {
			e.Reason = "our credential was refused, and the renewed one has not been tried"
			return e
		}
		e.Reason, e.Wait = "its last outcome was a failure", time.Duration(st.suspectUntil.Load()-s.at)
	case full:
		e.Reason = "its gate has just opened: takes a growing share"
	case ramping:
		e.Reason = "readmitted: takes a growing share"
	case altered:
		e.Reason = "answers as another model than the route's"
	case doubted:
		e.Reason, e.Wait = "other gateways say that it fails", time.Duration(t.doubted[j].Load()-s.at)
	}
	return e
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
