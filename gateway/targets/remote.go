package targets

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// remoteFor is how long what peers reported counts when nothing new comes: gossip
// that fell silent must not keep a target back, nor count requests as in flight.
const remoteFor = 10 * time.Second

// successFor is how long a success is reported. What it disproves at others is over by
// then, and a target that nobody uses has nothing to tell.
const successFor = 10 * time.Minute

// A Report is what one gateway tells others of one target: what it has seen
// itself, never what others have told it. Gossip carries it inside a stamp, the
// digest to other stamps. It holds durations and counts, no moment, so that the
// clocks of two machines are never compared.
type Report struct {
	Key policy.Key
	// Gate is what is left of the wait that the target asked the gateway for, 0 if
	// it is not throttled.
	Gate time.Duration
	// Breaker is the state for everyone; what one client alone has met stays with
	// its gateway. BreakerFor is what is left of the time open.
	Breaker    breaker.State
	BreakerFor time.Duration
	InFlight   int
	FirstByte  time.Duration // average, 0 if unknown
	SuccessAge time.Duration // since an attempt last succeeded, 0 if none has of late
	// Age is how long ago all this was seen, by the clock of who received it. The
	// times above are already those of now.
	Age time.Duration
}

// After returns what a report that held a while ago means now.
func (r Report) After(since time.Duration) Report {
	r.Age += since
	r.Gate = max(r.Gate-since, 0)
	r.BreakerFor = max(r.BreakerFor-since, 0)
	if r.SuccessAge > 0 {
		r.SuccessAge += since
	}
	return r
}

// Compare orders reports by their keys.
func (r Report) Compare(other Report) int { return compareKeys(r.Key, other.Key) }

// Idle reports whether there is nothing to tell.
func (r Report) Idle() bool {
	return r.Gate == 0 && r.Breaker == breaker.Closed && r.BreakerFor == 0 && r.InFlight == 0 && r.FirstByte == 0 && r.SuccessAge == 0
}

// Export returns what this gateway has to report, of the targets of which there
// is anything to tell, in the order of their keys. Nothing learned from others
// is among them: what peers report would come back to them as if it were new.
func (r *Registry) Export(now time.Time) []Report {
	if r.Quiet(ForGossip) && !r.exported.Load() {
		return nil // what there was to tell is over, and time alone adds nothing
	}
	var all []Report
	at := r.since(now)
	for _, st := range r.view.Load().states {
		if st.untouched() {
			continue
		}
		if o := st.report(now, at); !o.Idle() {
			all = append(all, o)
		}
	}
	r.exported.Store(len(all) > 0)
	slices.SortFunc(all, Report.Compare)
	return all
}

func (st *state) report(now time.Time, at int64) Report {
	o := Report{Key: st.key, InFlight: int(st.inFlight.Load()), FirstByte: st.firstByte(at)}
	if last := st.succeeded.Load(); last != never && at-last < int64(successFor) {
		o.SuccessAge = max(1, time.Duration(at-last))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	o.Gate = st.gate.Own(now)
	var until time.Time
	if o.Breaker, until = st.health.State(now); o.Breaker == breaker.Open {
		o.BreakerFor = until.Sub(now)
	}
	return o
}

func compareKeys(a, b policy.Key) int {
	return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Deployment, b.Deployment))
}

// peers is what the gateways of the stamp report of one target, and other stamps.
type peers struct {
	inFlight  atomic.Int32
	until     atomic.Int64 // until when inFlight and open count
	open      atomic.Int32 // peers whose breaker is open
	gated     atomic.Int32 // peers that were refused
	succeeded atomic.Int64 // the last success at a peer whose breaker is closed
	testUntil atomic.Int64 // when the last of the peers' breakers lets a test through
	hintUntil atomic.Int64 // until when another stamp's report counts that it fails
}

// ApplyRemote replaces what peers have reported by all that they report now. A peer's
// gate gates here at once, until a test of our own, 10 s later, shows better. A
// peer's breaker makes the target doubted: taken when no other is left, and not
// where an own attempt has succeeded within 10 s. Both together cover at most half
// of a route's targets. Nothing here opens, closes or ungates what own evidence
// holds.
func (r *Registry) ApplyRemote(now time.Time, all []Report) {
	type sum struct {
		inFlight, open int
		succeeded      int64
		testUntil      int64
		gates          []Report
	}
	if before := r.received.Swap(len(all) > 0); !before && len(all) == 0 && !r.doubts.Load() {
		return // nobody has anything to report, and nobody had
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
			// peer reports that for minutes, and knows no more than we do.
		} else if o.SuccessAge > 0 {
			s.succeeded = max(s.succeeded, at-int64(o.SuccessAge))
		}
		if o.Gate > 0 {
			s.gates = append(s.gates, o)
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
			r.holdGate(now, st, g.Gate, g.Age)
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
		st.copyOut(now)
	}
	after := st.standing(now)
	st.mu.Unlock()
	r.changed(st, before, after)
}

// ApplyHint takes in what other stamps report of their own regions' targets. It
// can only add caution, as ApplyRemote does, and it counts no longer than
// validFor, whatever the reports claim.
func (r *Registry) ApplyHint(now time.Time, hints []Report, validFor time.Duration) {
	if len(hints) == 0 && !r.doubts.Load() {
		return
	}
	defer r.stir()
	at := r.since(now)
	v := r.view.Load()
	for _, h := range hints {
		st := v.states[h.Key]
		if st == nil {
			continue
		}
		if h.Gate > 0 {
			r.holdGate(now, st, min(h.Gate, validFor), 0)
		}
		if h.Breaker != breaker.Closed {
			st.peers.hintUntil.Store(at + int64(validFor))
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

// A suspicion is what others report of a target, as far as it adds to what is known
// here.
type suspicion struct {
	st             *state
	peers          int32
	tier, index    int
	failing, gated int64 // until when; never: it is not
}

// doubt keeps back at most half of the route's targets (of one: that one), those
// first of which most peers report that they fail or are throttled. What is kept back
// is still tested, and a target that is reported to fail is taken when no other is
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

// suspicion returns what others report of the target.
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
