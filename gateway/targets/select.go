package targets

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/pick"
	"github.com/stampgate/stampgate/geo"
)

// A Request is what picking needs to know of a call.
type Request struct {
	Route     *policy.CompiledRoute
	Stamp     *policy.StampRules // nil: passive regions may be used for any reason
	Region    geo.RegionID
	Client    string // the client's name: evidence of a failure is counted by client
	Stateless bool   // repeating it does no harm but cost
	// Operation names what is asked for, as package operation does. 403 sets
	// aside one operation of a target, not the target.
	Operation string
	// Tokens is the size of the request as a limit on tokens counts it: the prompt,
	// estimated, and the most that may be answered. 0: unknown.
	Tokens int
	// Stream: an event stream was asked for, so that the first byte is due within
	// the route's firstByte. A plain answer begins when it is complete.
	Stream  bool
	Backend string // if set, the only backend that may serve it: it holds the object
}

// The classes of targets for one request, best first. Up to suspect they decide
// within a tier; ramping and doubted ones are taken when no tier has a better.
const (
	clean   = pick.Best
	near    = clean + 1  // near a limit, and this request was drawn to spare it
	suspect = clean + 2  // the last outcome was a failure
	tried   = clean + 3  // the same, and another request finds out, or the retry could not be paid for
	ramping = clean + 4  // readmitted, and this request is not in its share yet
	doubted = clean + 5  // peers or another stamp say that it fails
	unfit   = pick.Never // gated, ejected, drained, missing or tried
)

// A Selection walks through the targets of one request, each at most once. It
// is used by one goroutine.
type Selection struct {
	reg    *Registry
	req    Request
	plan   *plan
	client uint64
	salt   uint64 // the request's own randomness, so that its draws do not change between two looks

	attempts  int
	costly    int  // failed attempts that may have cost a backend work
	forced    bool // the last attempt was let through an open breaker
	withdrawn bool // a retry was taken from the budget for the next attempt
	tried     [triedInline]*state
	triedMore []*state

	at          int64 // now, in the registry's nanoseconds
	now         time.Time
	passiveOnce bool // whether passiveOK is worked out, once for each Next
	passiveOK   bool
}

const triedInline = 16

// spareRetries must be left in the budget for a request to try a target that
// just failed while others could serve it: its own retry, and those of two more
// that try another such target at the same moment.
const spareRetries = 3

// Begin starts the selection of a request.
func (r *Registry) Begin(req Request) Selection {
	return Selection{reg: r, req: req, plan: r.plan(req.Route, req.Region), client: r.client(req.Client)}
}

// Next picks the target of the next attempt. It returns false when nothing is
// left: then Verdict says what to answer. Every Ticket must be given back by
// exactly one call of Observe.
func (s *Selection) Next(now time.Time, rng *rand.Rand) (Ticket, bool) {
	if s.attempts == 0 {
		s.salt = rng.Uint64()
	}
	s.look(now)
	// Each walk goes through all tiers, down to one class. A request that has cost
	// one backend work already first looks everywhere, the passive tiers too, for a
	// target that did not just fail, before it tries one that did: with every
	// target of the own region failing, its second attempt is then the last, and
	// the retry budget lasts until the breakers have opened.
	worst := [...]pick.Class{near, suspect, tried, ramping, doubted}
	first := 1
	if s.costly > 0 {
		first = 0
	}
	for _, w := range worst[first:] {
		if t, ok := s.walk(rng, w); ok {
			return t, true
		}
	}
	if t, ok := s.force(); ok {
		return t, true
	}
	if s.withdrawn {
		s.plan.budget.Return(now)
		s.withdrawn = false
	}
	return Ticket{}, false
}

func (s *Selection) look(now time.Time) {
	s.now, s.at, s.passiveOnce = now, s.reg.since(now), false
}

// races is how often a tier is asked again when another request was quicker.
const races = 4

// walk takes a target of the first tier that has one up to the class.
func (s *Selection) walk(rng *rand.Rand, worst pick.Class) (Ticket, bool) {
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		view := pick.Tier{
			Weights: t.weights,
			Worst:   worst,
			Class:   func(j int) pick.Class { return s.class(t, j) },
			Load:    func(j int) pick.Load { return s.load(t.states[j]) },
		}
		for range races {
			j := pick.Choose(rng, &view)
			if j < 0 {
				break
			}
			if ticket, ok := s.take(i, j, false); ok {
				return ticket, true
			}
		}
	}
	return Ticket{}, false
}

func (s *Selection) load(st *state) pick.Load {
	n := int(st.inFlight.Load())
	if s.at < st.peers.until.Load() {
		n += int(st.peers.inFlight.Load())
	}
	return pick.Load{InFlight: n, FirstByte: st.latency.read(s.at)}
}

// class says how willingly this request takes a target.
func (s *Selection) class(t *tier, j int) pick.Class {
	st := t.states[j]
	if s.blocked(t, j) != fine || s.hasTried(st) {
		return unfit
	}
	tested := st.tender.Load() || s.at < st.gatedUntil.Load()
	switch {
	case tested && !s.req.Stateless:
		return ramping // its failure could not be repeated: after all others
	case !tested && s.at < t.doubted[j].Load() && !st.fresh(s.at):
		return doubted
	case !tested && s.draw(st, 1) >= st.share(s.at):
		return ramping
	case tested:
		return clean // somebody must find out
	case st.suspect(s.at):
		if st.trials.Load() > 0 || s.plan.budget.Left(s.now) < spareRetries {
			return tried
		}
		return suspect
	case s.draw(st, 2) >= st.usable(s.at):
		return near
	}
	return clean
}

// draw is this request's own draw for a target, the same each time it is asked.
func (s *Selection) draw(st *state, salt uint64) float64 {
	return fraction(mix(s.salt ^ st.hash ^ salt))
}

// take admits the request to a target and makes its ticket.
func (s *Selection) take(tierIndex, j int, force bool) (Ticket, bool) {
	t := &s.plan.tiers[tierIndex]
	st := t.states[j]
	got, ok := s.admit(st, force)
	if !ok {
		return Ticket{}, false
	}
	trial := st.trial(s.at)
	if s.attempts == 0 {
		s.plan.budget.First(s.now)
	}
	s.attempts++
	s.withdrawn = false
	s.forced = got.health.Forced() || got.identity.Forced()
	s.addTried(st)
	ticket := Ticket{
		Target: t.targets[j], Passive: t.passive, Tier: tierIndex,
		Probe: got.probe(), Connect: s.req.Route.Connect, FirstByte: s.req.Route.FirstByte,
		reg: s.reg, state: st, admitted: got, started: s.now, trial: trial,
		draw: fraction(mix(s.salt + uint64(s.attempts))),
	}
	if ticket.Probe {
		ticket.Connect = min(ticket.Connect, probeConnect)
		ticket.FirstByte = min(ticket.FirstByte, probeFirstByte)
	}
	return ticket, true
}

func (s *Selection) admit(st *state, force bool) (admitted, bool) {
	a := admission{client: s.client, force: force, testGate: !force && s.req.Route.ProbeLongGates}
	if s.reg.hooks.Load().change == nil || !st.tender.Load() && !st.stray(s.client) {
		return st.admit(s.now, a)
	}
	before := st.standingNow(s.now)
	got, ok := st.admit(s.now, a)
	s.reg.changed(st, before, st.standingNow(s.now))
	return got, ok
}

func (s *Selection) hasTried(st *state) bool {
	n := min(s.attempts, triedInline)
	return slices.Contains(s.tried[:n], st) || slices.Contains(s.triedMore, st)
}

// addTried is called with attempts already counted.
func (s *Selection) addTried(st *state) {
	if s.attempts <= triedInline {
		s.tried[s.attempts-1] = st
		return
	}
	s.triedMore = append(s.triedMore, st)
}

// force is for when nothing else is left: of the targets that breakers or alarms
// keep out, the one whose last failure is the oldest takes the request, one at a
// time each. So all are tried in turn, and the first to recover is found soon.
// Targets that are throttled by peers' word alone are among them: a gateway asks
// such a one itself, once, before it turns requests away, so that a peer that
// lies cannot end the service.
func (s *Selection) force() (Ticket, bool) {
	bestTier, best, oldest := -1, 0, int64(always)
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		for j, st := range t.states {
			w := s.blocked(t, j)
			if w != ejected && w != awaitingOwner && (w != gated || !st.claimed.Load()) || s.hasTried(st) {
				continue
			}
			if failed := st.failed.Load(); failed < oldest && st.forcible(s.now, s.client) {
				bestTier, best, oldest = i, j, failed
			}
		}
	}
	if bestTier < 0 {
		return Ticket{}, false
	}
	return s.take(bestTier, best, true)
}

// MayRetry reports whether another attempt may follow one that ended with o:
// by the kind of the outcome, by the attempts already made, and by the retry
// budget of the route, from which it withdraws. Call it once for each attempt.
func (s *Selection) MayRetry(now time.Time, o Outcome) bool {
	switch {
	case !o.Kind.failure() && !o.Kind.refusal():
		return false
	case o.Kind == Throttled, o.Kind == DeploymentMissing:
		return true
	case o.Kind.refusal() && !s.forced:
		s.plan.budget.Free(now)
		return true
	case o.Kind.refusal():
		// It cost nothing, but the target was known to fail: an outage in which
		// every request tries every target would multiply the load all the same.
		return s.withdraw(now)
	}
	s.costly++
	if s.costly >= maxAttempts(s.req.Route) || !s.repeatable(o) {
		return false
	}
	return s.withdraw(now)
}

// repeatable: a request that may have reached the backend in full is repeated
// only if that does no harm, and, where no answer came, if the policy agrees.
func (s *Selection) repeatable(o Outcome) bool {
	switch {
	case !o.Sent:
		return true
	case !s.req.Stateless:
		return false
	case o.Kind == ServerError:
		return true // it was answered: nothing ambiguous about it
	}
	return s.req.Route.RepeatAmbiguous
}

func (s *Selection) withdraw(now time.Time) bool {
	if s.forced {
		s.withdrawn = s.plan.budget.WithdrawKnownBad(now)
	} else {
		s.withdrawn = s.plan.budget.Withdraw(now)
	}
	if f := s.reg.hooks.Load().budgetSpent; f != nil && !s.withdrawn {
		f(s.req.Route.Name)
	}
	return s.withdrawn
}

func maxAttempts(r *policy.CompiledRoute) int {
	if r.MaxAttempts <= 0 {
		return 3
	}
	return r.MaxAttempts
}
