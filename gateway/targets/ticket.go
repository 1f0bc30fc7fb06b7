package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// The short limits of a probe: a target that failed has less time to prove
// itself than one that is trusted.
const (
	probeConnect   = time.Second
	probeFirstByte = 10 * time.Second
)

// A Ticket is the right to make one attempt on one target.
type Ticket struct {
	Target *policy.Target
	// Probe: this attempt tests a target that failed. Connect and FirstByte are
	// then shorter than the route's.
	Probe     bool
	Connect   time.Duration
	FirstByte time.Duration
	Passive   bool
	Tier      int

	reg      *Registry
	state    *state
	admitted admitted
	started  time.Time
	draw     float64 // uniform in [0, 1), for jitter
	answered bool
	done     bool
	trial    bool // counted in the state's trials
}

// endTrial is called once there is an answer, or an outcome.
func (t *Ticket) endTrial() {
	if t.trial {
		t.trial = false
		t.state.trials.Add(-1)
	}
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
	t.answered = true
	t.endTrial()
	st.latency.add(st.since(now), firstByte)
	st.suspectUntil.Store(never)
	if !t.admitted.probe() && !t.admitted.claim {
		return
	}
	t.change(now, func() {
		if t.admitted.claim {
			st.gate.Disprove(now, t.started)
		}
		if t.admitted.test {
			st.gate.Succeed(now, t.started)
		}
		st.health.Answer(now, &t.admitted.health)
		st.identity.Answer(now, &t.admitted.identity)
	})
}

// Observe records how the attempt ended and gives the ticket back.
func (t *Ticket) Observe(now time.Time, o Outcome) {
	st := t.state
	if st == nil || t.done {
		return
	}
	t.done = true
	t.endTrial()
	st.inFlight.Add(-1)
	at := st.since(now)
	st.noteSignals(at, o.Signals)
	switch {
	case o.Kind == Success:
		st.suspectUntil.Store(never)
		st.succeeded.Store(at)
		if !t.answered {
			st.latency.add(at, o.FirstByte)
		}
	case o.Kind.failure():
		st.suspectUntil.Store(at + int64(suspectFor))
		st.failed.Store(at)
		if o.Kind == FirstByteTimeout {
			st.latency.add(at, now.Sub(t.started))
		}
	}
	t.change(now, func() { t.learn(now, o) })
}

// learn feeds the machines. The caller holds the state's mutex.
func (t *Ticket) learn(now time.Time, o Outcome) {
	st := t.state
	health, identity := evidence(o.Kind)
	if t.admitted.claim {
		st.claim = false
	}
	switch o.Kind {
	case Success:
		if t.admitted.claim {
			st.gate.Disprove(now, t.started)
		}
		st.gate.Succeed(now, t.started)
	case Throttled:
		st.gate.Refuse(now, o.Signals, t.draw)
	case IdentityRefused:
		st.alarm.Store(true)
	case DeploymentMissing:
		st.missingUntil.Store(st.since(now) + int64(missingFor))
	case ConnectFailed, TLSFailed, ServerError, FirstByteTimeout, Broken, GaveUp, Unfit,
		OperationForbidden, Retired, Rejected, Canceled, OutOfTime, LocalFault:
	}
	if identity == breaker.Good {
		st.alarm.Store(false)
	}
	st.health.Observe(now, t.admitted.health, health, t.draw)
	st.identity.Observe(now, t.admitted.identity, identity, t.draw)
}

// evidence says what a kind means to the breaker and to the identity alarm.
func evidence(k Kind) (health, identity breaker.Evidence) {
	switch k {
	case Success:
		return breaker.Good, breaker.Good
	case Rejected:
		return breaker.Alive, breaker.Good
	case Throttled:
		return breaker.Alive, breaker.None
	case ConnectFailed, TLSFailed:
		return breaker.Hard, breaker.None
	case ServerError, FirstByteTimeout, Broken:
		return breaker.Content, breaker.None
	case IdentityRefused:
		return breaker.None, breaker.Content
	case GaveUp, Unfit, OperationForbidden, DeploymentMissing, Retired, Canceled, OutOfTime, LocalFault:
	}
	return breaker.None, breaker.None
}

// change runs f under the state's mutex, and tells what it changed.
func (t *Ticket) change(now time.Time, f func()) {
	st := t.state
	st.mu.Lock()
	before := st.standing(now)
	f()
	after := st.standing(now)
	st.publish(now)
	st.mu.Unlock()
	t.reg.changed(st, before, after)
}
