package targets

import (
	"slices"
	"strconv"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/geo"
)

// A Status is what people may know of a target: operators in /status and in the
// detailed health document, and the metrics. It goes out as JSON; its times are
// what remains.
type Status struct {
	Key          policy.Key    `json:"-"`
	Backend      string        `json:"backend"`
	Deployment   string        `json:"deployment"`
	Region       geo.RegionID  `json:"region"`
	Available    bool          `json:"available"`         // a request would be sent to it
	Drained      bool          `json:"drained,omitempty"` // by an order on its backend or its region
	Gate         Milliseconds  `json:"gateMs,omitempty"`  // until it is no longer throttled
	Breaker      breaker.State `json:"breaker"`
	BreakerFor   Milliseconds  `json:"breakerMs,omitempty"`          // until an open breaker tests the target
	ByClient     bool          `json:"breakerByOneClient,omitempty"` // the breaker is that of the only client which used the target
	Share        float64       `json:"share"`                        // of its usual work, below 1 after a readmission
	InFlight     int           `json:"inFlight"`                     // by this gateway
	PeerInFlight int           `json:"peerInFlight"`
	FirstByte    Milliseconds  `json:"firstByteMs,omitempty"`   // average, 0 if unknown
	Identity     bool          `json:"identityAlarm,omitempty"` // our credential is refused
	Missing      bool          `json:"deploymentMissing,omitempty"`
	Retired      bool          `json:"modelRetired,omitempty"`
	Forbidden    bool          `json:"operationForbidden,omitempty"` // some operation, to our identity
	OtherModel   string        `json:"otherModel,omitempty"`         // what answers call their model, if it is not the route's
	Avoided      bool          `json:"avoided,omitempty"`            // for that
	Suspect      bool          `json:"suspect,omitempty"`            // its last outcome was a failure
	PeersOpen    int           `json:"peersWithOpenBreaker,omitempty"`
	Reach        string        `json:"reach,omitempty"` // what probes have to do with it, in words
	Excluded     bool          `json:"-"`               // set aside for whatever reason, or nothing has succeeded since
	Unreachable  bool          `json:"-"`               // by the last probes, and no request has succeeded since
}

// available reports whether a request would be sent to the target.
func (s *Status) available() bool {
	return s.Gate == 0 && s.Breaker == breaker.Closed && !s.Excluded && !s.Drained && !s.Unreachable
}

// Milliseconds is a time that goes out as a whole number of milliseconds, rounded
// up: what remains is not told to be over before it is.
type Milliseconds time.Duration

// MarshalJSON implements json.Marshaler.
func (m Milliseconds) MarshalJSON() ([]byte, error) {
	whole := (time.Duration(m) + time.Millisecond - 1).Milliseconds()
	return strconv.AppendInt(nil, whole, 10), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Milliseconds) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	*m = Milliseconds(time.Duration(n) * time.Millisecond)
	return err
}

// Status returns what is known of each target, in the order of their keys.
func (r *Registry) Status(now time.Time) []Status {
	states := r.view.Load().states
	all := make([]Status, 0, len(states))
	at, d := r.since(now), r.drains.Load()
	for _, st := range states {
		s := st.status(now, at)
		s.Reach, s.Unreachable = r.reachText(st, now)
		if t := st.target.Load(); t != nil {
			s.Backend, s.Region = t.Backend, t.Region()
			s.Drained = d != nil && d.excludes(t, true)
		}
		s.Available = s.available()
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return compareKeys(a.Key, b.Key) })
	return all
}

func (st *state) status(now time.Time, at int64) Status {
	s := Status{
		Key: st.key, Deployment: st.key.Deployment, Share: st.share(at),
		InFlight: int(st.inFlight.Load()), FirstByte: Milliseconds(st.firstByte(at)),
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
	s.Gate = Milliseconds(st.gate.OpensIn(now))
	s.Excluded = st.unproven.Load() || at < st.outUntil.Load()
	s.Missing, s.Retired, s.Forbidden = st.says(now, missing), st.says(now, retirement), st.says(now, forbidden)
	var until time.Time
	s.Breaker, until, s.ByClient = st.health.Effective(now)
	if s.Breaker == breaker.Open {
		s.BreakerFor = Milliseconds(until.Sub(now))
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

// String says it in words, for the detailed health document.
func (a Availability) String() string {
	switch a {
	case OwnAvailable:
		return "the own region serves"
	case PassiveOnly:
		return "only passive regions are left"
	case AllThrottled:
		return "every target is throttled"
	default:
		return "no target is available"
	}
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
	if state, _, _ := st.health.Effective(now); state == breaker.Open {
		return ejected
	}
	for _, x := range st.exclusions {
		if state, _, _ := x.breaker.Effective(now); x.aspect != forbidden && state == breaker.Open {
			return reasonOf(x.aspect)
		}
	}
	return fine
}
