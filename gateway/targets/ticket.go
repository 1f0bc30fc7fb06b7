package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/budget"
)

// A Ticket is the right to make one attempt on one target.
type Ticket struct {
	Target *policy.Target
	// Probe: this attempt tests a target that failed. It has the route's own limits:
	// no client's request is cut for being the test.
	Probe     bool
	Connect   time.Duration
	FirstByte time.Duration // of a stream
	Passive   bool
	Tier      int

	reg       *Registry
	state     *state
	plan      *plan
	admitted  admitted
	client    uint64
	operation string
	tokens    int
	stream    bool
	started   time.Time
	draw      float64 // uniform in [0, 1), for jitter
	answered  bool
	done      bool
	trial     bool         // counted in the state's trials
	scout     bool         // counted in the state's scouts
	large     bool         // its like is known to fit no target of the route
	ownGate   bool         // a refusal gates the target, for this request has not gated too many yet
	token     budget.Token // what pays for the attempt, if it repeats a failed one
}

// Answered tells that an answer that will be passed on has begun, so that load
// and averages are right while a long stream still runs, and a probe need not
// wait for its end. Not for an answer that is a failure. At most once, before
// Observe.
func (t *Ticket) Answered(now time.Time, firstByte time.Duration) {
	st := t.state
	if st == nil || t.done || t.answered {
		return
	}
	t.begun(now, true, false)
	st.heard.Store(st.since(now))
	st.latency(t.stream).add(st.since(now), firstByte)
	st.suspectUntil.Store(never)
	if !t.admitted.probe() && !t.admitted.against {
		return
	}
	t.change(now, func() {
		if t.admitted.against {
			st.gate.Disprove(now, t.started)
		}
		if t.admitted.test {
			st.gate.Succeed(now, t.started)
		}
		st.health.Answer(now, &t.admitted.health)
		for i := range t.admitted.others {
			h := &t.admitted.others[i]
			h.exclusion.breaker.Answer(now, &h.ticket)
		}
	})
}

// Begun tells that the attempt goes on for long without an answer that is to the
// target's credit, such as a session in which the client speaks first. What waits
// for an answer waits no longer. At most once, before Observe.
func (t *Ticket) Begun(now time.Time) {
	if t.state != nil && !t.done && !t.answered {
		t.begun(now, false, false)
	}
}

// begun is called once: when there is an answer, or an outcome without one. What
// waited for either goes on.
func (t *Ticket) begun(now time.Time, answered, failed bool) {
	t.answered = true
	st := t.state
	if t.trial {
		st.trials.Add(-1)
	}
	if t.stream {
		st.endStream(st.since(now), answered || failed)
	}
	woken := 0
	if t.scout {
		st.giveRoom(answered, failed)
		woken++
		if answered {
			woken++
		}
	}
	if t.token.Valid() && !failed {
		t.plan.budget.Return(now, t.token)
		t.token = budget.Token{}
		woken++
	}
	if woken > 0 {
		t.plan.queue.wake(woken)
	}
}

// Observe records how the attempt ended and gives the ticket back.
func (t *Ticket) Observe(now time.Time, o Outcome) {
	st := t.state
	if st == nil || t.done {
		return
	}
	defer t.reg.stir()
	t.done = true
	at, answered := st.since(now), t.answered
	if !answered {
		// What cost nothing multiplied nothing, unless it was to be expected.
		failed := o.Kind.failure() && (!o.Kind.Free() || t.admitted.forced())
		t.begun(now, o.Kind == Success || o.Kind == Rejected, failed)
	}
	st.inFlight.Add(-1)
	if o.Kind.heard() {
		st.heard.Store(at)
	}
	st.noteSignals(at, o.Signals)
	switch {
	case o.Kind == Success:
		st.suspectUntil.Store(never)
		st.succeeded.Store(at)
		if !answered {
			st.latency(t.stream).add(at, o.FirstByte)
		}
	case o.Kind.failure():
		st.suspectUntil.Store(at + int64(suspectFor))
		st.failed.Store(at)
		if o.Kind == FirstByteTimeout {
			st.latency(t.stream).add(at, now.Sub(t.started))
		}
	}
	if o.Kind == Success && t.ordinary(o) {
		st.mu.Lock()
		st.health.Observe(now, t.admitted.health, breaker.Good, t.draw)
		st.mu.Unlock()
		return
	}
	t.change(now, func() { t.learn(now, o) })
}

// ordinary reports whether a success changes nothing but the count of successes:
// nothing gates the target or sets it aside, and its model has not changed. It is
// what nearly every answer is.
func (t *Ticket) ordinary(o Outcome) bool {
	st := t.state
	if st.unsettled.Load() || st.unproven.Load() || st.clientsOut.Load() != 0 || st.alarm.Load() || st.held.Load() || st.sizes.live.Load() != nil || t.plan.large.live.Load() != nil {
		return false
	}
	if t.admitted.claim || t.admitted.against || t.admitted.probe() {
		return false
	}
	known := st.served.Load()
	return o.Model == "" || known != nil && !known.testing && known.model == o.Model && known.target == st.target.Load()
}

// learn feeds the machines. The caller holds the state's mutex.
func (t *Ticket) learn(now time.Time, o Outcome) {
	st := t.state
	if t.admitted.claim && st.claimTaken.Load() == st.since(t.started) {
		st.claimTaken.Store(never)
		st.claimDue.Store(always) // copyOut says when the next one is due
	}
	switch o.Kind {
	case Success:
		if t.admitted.against {
			st.gate.Disprove(now, t.started)
		}
		st.gate.Succeed(now, t.started)
		for _, g := range st.sizes.confirmed(st.since(t.started), t.client, t.tokens) {
			g.until = st.since(now) + int64(largeFor)
			t.plan.large.add(st.since(now), g)
		}
		st.sizes.served(t.client, t.tokens)
		t.plan.large.served(t.client, t.tokens)
		st.alarm.Store(false)
		st.noteModel(st.since(now), o.Model)
	case Throttled:
		t.refused(now, o.Signals)
	default:
	}
	st.observeBreakers(now, t, o)
	if o.Kind == Success {
		st.forget(now)
	}
}

// refused gates what the refusal speaks of: the target, or only requests of this
// client that are as large, where this one alone is larger than the quota, or its
// like has gated two targets already: then it is the request that does not fit.
func (t *Ticket) refused(now time.Time, s Signals) {
	st := t.state
	quota := t.Target.TokensPerMinute
	if s.LimitTokens > 0 {
		quota = s.LimitTokens // what the backend says itself
	}
	tooLarge := quota > 0 && t.tokens > quota
	if t.ownGate && !tooLarge {
		if st.gate.Refuse(now, s, t.draw) {
			st.room.Store(firstRoom)
		}
		return
	}
	wait := max(s.RetryAfter, s.Reset, firstSizeGate)
	if tooLarge || t.large {
		wait = max(wait, leastSizeGate)
	}
	at := st.since(now)
	st.sizes.add(at, sizeGate{
		client: t.client, tokens: t.tokens, large: tooLarge, since: at, until: at + int64(wait),
	})
}

// change runs f under the state's mutex, and tells what it changed.
func (t *Ticket) change(now time.Time, f func()) {
	st := t.state
	st.mu.Lock()
	before := st.standing(now)
	f()
	after := st.standing(now)
	st.copyOut(now)
	st.mu.Unlock()
	t.reg.changed(st, before, after)
}
