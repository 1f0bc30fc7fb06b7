package targets

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// remoteFor is how long what peers said counts when nothing new comes: gossip
// that fell silent must not keep a target back, nor count requests as in flight.
const remoteFor = 10 * time.Second

// successFor is how long a success is told. What it disproves at others is over by
// then, and a target that nobody uses has nothing to tell.
const successFor = 10 * time.Minute

// An Observation is what one gateway has seen of one target itself. It holds
// durations and counts, no moment, so that nobody's clock matters but one's own.
type Observation struct {
	Key policy.Key
	// Gate is what is left of the wait the target asked this gateway for, 0 if
	// it is open; GateAge is how long ago it asked.
	Gate    time.Duration
	GateAge time.Duration
	// Breaker is the state for everyone; what one client alone has met stays
	// here. BreakerFor is what is left of the time open.
	Breaker    breaker.State
	BreakerFor time.Duration
	InFlight   int
	FirstByte  time.Duration // average, 0 if unknown
	// SuccessAge is how long ago an attempt last succeeded, if HasSuccess.
	SuccessAge time.Duration
	HasSuccess bool
}

// idle reports whether there is nothing to tell.
func (o Observation) idle() bool {
	return o.Gate == 0 && o.Breaker == breaker.Closed && o.InFlight == 0 && o.FirstByte == 0 && !o.HasSuccess
}

// Export returns this gateway's own observations, of the targets of which there
// is anything to tell, in the order of their keys. Nothing learned from others
// is among them: gossip must not hear its own echo.
func (r *Registry) Export(now time.Time) []Observation {
	if r.Quiet(ForGossip) && !r.told.Load() {
		return nil // what there was to tell is over, and time alone adds nothing
	}
	var all []Observation
	at := r.since(now)
	for _, st := range r.view.Load().states {
		if st.untouched() {
			continue
		}
		if o := st.observation(now, at); !o.idle() {
			all = append(all, o)
		}
	}
	r.told.Store(len(all) > 0)
	slices.SortFunc(all, func(a, b Observation) int { return compareKeys(a.Key, b.Key) })
	return all
}

func (st *state) observation(now time.Time, at int64) Observation {
	o := Observation{Key: st.key, InFlight: int(st.inFlight.Load()), FirstByte: st.firstByte(at)}
	if last := st.succeeded.Load(); last != never && at-last < int64(successFor) {
		o.HasSuccess, o.SuccessAge = true, max(0, time.Duration(at-last))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	o.Gate, o.GateAge = st.gate.Own(now)
	var until time.Time
	if o.Breaker, until = st.health.State(now); o.Breaker == breaker.Open {
		o.BreakerFor = until.Sub(now)
	}
	return o
}

func compareKeys(a, b policy.Key) int {
	return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Deployment, b.Deployment))
}

// A RemoteObservation is what a peer of the stamp has seen of one target. The
// ages and waits in it must already be those of now: less, or more, by the time
// since it was received.
type RemoteObservation struct {
	Peer string
	Observation
}

// peers is what the gateways of the stamp say of one target, and other stamps.
type peers struct {
	inFlight  atomic.Int32
	until     atomic.Int64 // until when inFlight and open count
	open      atomic.Int32 // peers whose breaker is open
	gated     atomic.Int32 // peers that were refused
	succeeded atomic.Int64 // the last success at a peer whose breaker is closed
	testUntil atomic.Int64 // when the last of the peers' breakers lets a test through
	hintUntil atomic.Int64 // until when another stamp's word counts that it fails
}

// ApplyRemote replaces what peers have said by all that they say now. A peer's
// gate gates here at once, until a test of our own, 10 s later, shows better. A
// peer's breaker makes the target doubted: taken when no other is left, and not
// where an own attempt has succeeded within 10 s. Both together cover at most half
// of a route's targets. Nothing here opens, closes or ungates what own evidence
// holds.
func (r *Registry) ApplyRemote(now time.Time, all []RemoteObservation) {
	type sum struct {
		inFlight, open int
		succeeded      int64
		testUntil      int64
		gates          []Observation
	}
	if spoke := r.heard.Swap(len(all) > 0); !spoke && len(all) == 0 && !r.doubts.Load() {
		return // nobody has anything to say, and nobody had
	}
	defer r.stir()
	at := r.since(now)
	sums := make(map[policy.Key]*sum)
	for _, o := range all {
		s := sums[o.Key]
		if s == nil {
			s = &sum{succeeded: never, testUntil: never}
			sums[o.Key] = s
		}
		s.inFlight += min(max(0, o.InFlight), maxRemoteInFlight)
		if o.Breaker == breaker.Open && o.BreakerFor > 0 {
			s.open++
			s.testUntil = max(s.testUntil, at+int64(min(o.BreakerFor, probeDelay)))
		} else if o.Breaker != breaker.Closed {
			// Half-open: its open time is over, and it has had no call to test with. An idle
			// peer says so for minutes, and knows no more than we do.
		} else if o.HasSuccess && o.SuccessAge >= 0 {
			s.succeeded = max(s.succeeded, at-int64(o.SuccessAge))
		}
		if o.Gate > 0 {
			s.gates = append(s.gates, o.Observation)
		}
	}
	v := r.view.Load()
	for key, st := range v.states {
		s := sums[key]
		if s == nil {
			s = &sum{succeeded: never, testUntil: never}
		}
		st.peers.inFlight.Store(int32(min(s.inFlight, maxRemoteInFlight)))
		st.peers.open.Store(int32(s.open))
		st.peers.gated.Store(int32(len(s.gates)))
		st.peers.succeeded.Store(s.succeeded)
		st.peers.testUntil.Store(s.testUntil)
		st.peers.until.Store(at + int64(remoteFor))
		for _, g := range s.gates {
			r.holdGate(now, st, g.Gate, g.GateAge)
		}
	}
	r.doubt(v, at)
}

// maxRemoteInFlight bounds what is believed of peers' requests in flight.
const maxRemoteInFlight = 1 << 20

func (r *Registry) holdGate(now time.Time, st *state, remaining, age time.Duration) {
	st.mu.Lock()
	before := st.standing(now)
	// Each gateway reopens at its own moment: the jitter is drawn from what
	// differs between them, the time since this one started.
	if st.gate.Hold(now, remaining, age, fraction(mix(st.hash^uint64(st.since(now))))) {
		st.publish(now)
	}
	after := st.standing(now)
	st.mu.Unlock()
	r.changed(st, before, after)
}

// A Hint is another stamp's word on a target of its own region.
type Hint struct {
	Key      policy.Key
	Gate     time.Duration // what is left, 0 if open
	Breaker  breaker.State
	ValidFor time.Duration // no longer than this, whatever the gate says
}

// ApplyHint takes in what other stamps say of their own regions' targets. It can
// only add caution, as ApplyRemote does, and it expires.
func (r *Registry) ApplyHint(now time.Time, hints []Hint) {
	if len(hints) == 0 && !r.doubts.Load() {
		return
	}
	defer r.stir()
	at := r.since(now)
	v := r.view.Load()
	for _, h := range hints {
		st := v.states[h.Key]
		if st == nil || h.ValidFor <= 0 {
			continue
		}
		if h.Gate > 0 {
			r.holdGate(now, st, min(h.Gate, h.ValidFor), 0)
		}
		if h.Breaker != breaker.Closed {
			st.peers.hintUntil.Store(at + int64(h.ValidFor))
		} else {
			st.peers.hintUntil.Store(never)
		}
	}
	r.doubt(v, at)
}

// doubt works out, for each route, which targets the others' evidence keeps back.
func (r *Registry) doubt(v *view, at int64) {
	doubts := false
	for _, p := range v.plans {
		doubts = p.doubt(at) || doubts
	}
	r.doubts.Store(doubts)
}

// A suspicion is what others say of a target, as far as it adds to what is known
// here.
type suspicion struct {
	st             *state
	peers          int32
	tier, index    int
	failing, gated int64 // until when; never: it is not
}

// doubt keeps back at most half of the route's targets (of one: that one), those
// first of which most peers say that they fail or are throttled. What is kept back
// is still tested, and a target that is said to fail is taken when no other is
// left, so that no evidence from outside ends the service. It reports whether there
// is any.
func (p *plan) doubt(at int64) bool {
	var found []suspicion
	for i := range p.tiers {
		t := &p.tiers[i]
		for j, st := range t.states {
			s := st.suspicion(at)
			s.tier, s.index = i, j
			if s.failing > at || s.gated > at {
				found = append(found, s)
				continue
			}
			t.doubted[j].Store(never)
			t.claimed[j].Store(never)
		}
	}
	if len(found) == 0 {
		return false
	}
	slices.SortStableFunc(found, func(a, b suspicion) int {
		return cmp.Or(cmp.Compare(b.peers, a.peers), compareKeys(a.st.key, b.st.key))
	})
	kept := make(map[*state]bool)
	for _, s := range found {
		if !kept[s.st] && len(kept) >= max(1, p.count/2) {
			s.failing, s.gated = never, never
		} else {
			kept[s.st] = true
		}
		t := &p.tiers[s.tier]
		if was := t.doubted[s.index].Swap(s.failing); was <= at && s.failing > at {
			s.st.doubtDue.Store(at + int64(claimTest))
		}
		t.claimed[s.index].Store(s.gated)
	}
	return true
}

// suspicion returns what others say of the target.
func (st *state) suspicion(at int64) suspicion {
	s := suspicion{st: st, failing: never, gated: never}
	if !st.fresh(at) {
		if n := st.peers.open.Load(); n > 0 && at < st.peers.until.Load() {
			s.peers, s.failing = n, st.peers.until.Load()
		}
		s.failing = max(s.failing, st.peers.hintUntil.Load())
	}
	if until := st.gatedUntil.Load(); at < until && at >= st.ownGate.Load() {
		s.gated = until
		s.peers = max(s.peers, st.peers.gated.Load())
	}
	return s
}
