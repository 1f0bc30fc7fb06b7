package targets

import (
	"slices"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
)

// Evidence, and the one rule for it. Whatever sets a target aside — failures, a
// refused credential, a forbidden operation, a missing deployment, a retired
// model — is a breaker, and so: what one client alone can cause changes only what
// that client gets; a target leaves for all on evidence of two clients with no
// success between; the first time is short and grows; one success clears it. An
// outcome is charged to the target only if the target caused it.

// An aspect is what a target may be set aside for.
type aspect uint8

const (
	failing    aspect = iota // failures
	identity                 // our credential is refused
	forbidden                // our identity may not do one operation
	missing                  // the deployment does not exist
	retirement               // the model is no longer served
)

// An exclusion is a reason, beside failures, for which a target may be set aside.
// Few targets ever have one: it is made with the first evidence.
type exclusion struct {
	aspect    aspect
	operation string // of forbidden: the only one that it concerns
	breaker   breaker.Breaker
}

// concerns reports whether a request for the operation has to ask.
func (x *exclusion) concerns(operation string) bool {
	return x.aspect != forbidden || x.operation == operation
}

func newExclusion(about aspect, operation string) *exclusion {
	switch about {
	case identity:
		return &exclusion{about, "", breaker.New(breaker.Identity())}
	case forbidden:
		return &exclusion{about, operation, breaker.New(breaker.Operation())}
	case missing:
		return &exclusion{about, "", breaker.New(breaker.Deployment())}
	case retirement:
		return &exclusion{about, "", breaker.New(breaker.Retirement())}
	case failing:
	}
	panic("targets: failures have a breaker of their own, not an exclusion")
}

// evidence says what a kind is evidence of, and how much.
func evidence(k Kind) (aspect, breaker.Evidence) {
	switch k {
	case Success:
		return failing, breaker.Good
	case ConnectFailed, TLSFailed:
		return failing, breaker.Hard
	case ServerError, FirstByteTimeout, Broken:
		return failing, breaker.Content
	case GaveUp, Unfit:
		return failing, breaker.Weak
	case IdentityRefused:
		return identity, breaker.Content
	case OperationForbidden:
		return forbidden, breaker.Content
	case DeploymentMissing:
		return missing, breaker.Content
	case Retired:
		return retirement, breaker.Content
	case Throttled, Lost, Rejected, Canceled, OutOfTime, LocalFault:
	}
	return failing, breaker.None
}

// A held ticket is an exclusion's admission of an attempt.
type held struct {
	exclusion *exclusion
	ticket    breaker.Ticket
}

// admitted is what an attempt was let through by.
type admitted struct {
	health  breaker.Ticket
	others  []held
	test    bool // of a long gate
	claim   bool // the one test of what peers say of the gate: no probe, for nothing has failed
	against bool // peers say that the target is throttled
}

func (a *admitted) probe() bool {
	if a.test || a.health.Probe() {
		return true
	}
	for _, h := range a.others {
		if h.ticket.Probe() {
			return true
		}
	}
	return false
}

// forced reports whether the attempt was let through while it should not have been.
func (a *admitted) forced() bool {
	if a.health.Forced() {
		return true
	}
	for _, h := range a.others {
		if h.ticket.Forced() {
			return true
		}
	}
	return false
}

// admitBreakers asks the breaker and every exclusion that concerns the request.
// The caller holds mu.
func (st *state) admitBreakers(now time.Time, a admission, got *admitted) bool {
	var ok bool
	if got.health, ok = st.health.Admit(now, a.client, a.forced); !ok {
		return false
	}
	for _, x := range st.exclusions {
		if !x.concerns(a.operation) {
			continue
		}
		ticket, ok := x.breaker.Admit(now, a.client, a.forced)
		if !ok {
			st.health.Observe(now, got.health, breaker.None, 0)
			for _, h := range got.others {
				h.exclusion.breaker.Observe(now, h.ticket, breaker.None, 0)
			}
			return false
		}
		got.others = append(got.others, held{x, ticket})
	}
	return true
}

// observeBreakers tells all of them how the attempt ended. The caller holds mu.
func (st *state) observeBreakers(now time.Time, t *Ticket, o Outcome) {
	about, e := evidence(o.Kind)
	if o.Kind == IdentityRefused && !st.refusedAgain(o) {
		e = breaker.None
	}
	of := func(a aspect) breaker.Evidence {
		if e == breaker.Good || a == about {
			return e
		}
		return breaker.None
	}
	st.health.Observe(now, t.admitted.health, of(failing), t.draw)
	told := about == failing
	for _, h := range t.admitted.others {
		h.exclusion.breaker.Observe(now, h.ticket, of(h.exclusion.aspect), t.draw)
		told = told || h.exclusion.aspect == about
	}
	if !told && e != breaker.None {
		st.exclusion(about, t.operation).breaker.Note(now, t.client, e, t.draw)
	}
}

// forget drops the exclusions that a success has left without anything to say, so
// that a target which was once in trouble costs no more than another. The caller
// holds mu.
func (st *state) forget(now time.Time) {
	st.exclusions = slices.DeleteFunc(st.exclusions, func(x *exclusion) bool {
		whole, _ := x.breaker.State(now)
		return whole == breaker.Closed && x.breaker.Share(now) == 1 && !x.breaker.KeepsAway(now)
	})
}

// exclusion returns the one of an aspect, and makes it if there is none yet. The
// caller holds mu.
func (st *state) exclusion(about aspect, operation string) *exclusion {
	for _, x := range st.exclusions {
		if x.aspect == about && x.concerns(operation) {
			return x
		}
	}
	x := newExclusion(about, operation)
	st.exclusions = append(st.exclusions, x)
	return x
}

// refusedAgain reports whether a credential was refused that is newer than the one
// whose refusal raised the alarm: only then is it more than a credential that ran
// out. The caller holds mu.
func (st *state) refusedAgain(o Outcome) bool {
	if !st.alarm.Load() {
		st.alarm.Store(true)
		st.refused = o.Credential
	}
	return o.Credential == 0 || o.Credential > st.refused
}

// refuses names the aspect that keeps this client's request away, where an
// exclusion or the breaker does.
func (st *state) refuses(now time.Time, client uint64, operation string) (aspect, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.health.Admits(now, client) {
		return failing, true
	}
	for _, x := range st.exclusions {
		if x.concerns(operation) && !x.breaker.Admits(now, client) {
			return x.aspect, true
		}
	}
	return failing, false
}

// scouts is how many unanswered attempts at a time a target may have that is set
// aside, when nothing else is left.
const scouts = 3

// forcible reports whether a request may be let through an open breaker now.
func (st *state) forcible(now time.Time, client uint64, operation string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.gate.Clear(now) && (st.claimBusy(st.since(now)) || !st.gate.Claimed(now)) {
		return false
	}
	if st.health.MustWait(now, client, scouts) {
		return false
	}
	for _, x := range st.exclusions {
		if x.concerns(operation) && x.breaker.MustWait(now, client, scouts) {
			return false
		}
	}
	return true
}

// copyBreakers copies what picks read out of the breakers. The caller holds mu.
func (st *state) copyBreakers(now time.Time) {
	whole, _ := st.health.State(now)
	unproven, clients := whole != breaker.Closed, st.health.Strays()
	out, outFor, readmitted := st.health.BlockedUntil(now), failing, st.health.Readmitted()
	for _, x := range st.exclusions {
		state, _ := x.breaker.State(now)
		clients |= x.breaker.Strays()
		if x.aspect == forbidden { // not for everybody: who asks for it has to ask the lock
			if state != breaker.Closed {
				clients = ^uint64(0)
			}
			continue
		}
		unproven = unproven || state != breaker.Closed
		readmitted = later(readmitted, x.breaker.Readmitted())
		if until := x.breaker.BlockedUntil(now); until.After(out) {
			out, outFor = until, x.aspect
		}
	}
	st.unproven.Store(unproven)
	st.held.Store(len(st.exclusions) > 0)
	st.clientsOut.Store(clients)
	st.rampFrom.Store(st.since(readmitted))
	st.outFor.Store(uint32(outFor))
	if at := st.since(out); st.outUntil.Swap(at) < at {
		st.outSince.Store(st.since(now))
	}
}

// says returns what status and hooks tell of an aspect: whether the target counts
// as set aside for it. The caller holds mu.
func (st *state) says(now time.Time, about aspect) bool {
	for _, x := range st.exclusions {
		if x.aspect == about {
			if s, _, _ := x.breaker.Effective(now); s != breaker.Closed {
				return true
			}
		}
	}
	return false
}
