package targets

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/budget"
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
	Stream bool
	// Deadline is when its total time is over; zero: unknown. It bounds how long it
	// may wait for its turn to be repeated.
	Deadline time.Time
	Backend  string // if set, the only backend that may serve it: it holds the object
}

// RequestOf is what a call of any client to a route looks like in a region.
func RequestOf(s *policy.Snapshot, route *policy.CompiledRoute, region geo.RegionID) Request {
	req := Request{Route: route, Region: region, Stateless: true}
	if rules, ok := s.Stamp(region); ok {
		req.Stamp = rules
	}
	return req
}

// The classes of targets for one request, best first. Up to suspect they decide
// within a tier; the later ones are taken when no tier has a better: see order.
const (
	clean   = pick.Best
	near    = clean + 1  // near a limit, and this request was drawn to spare it
	suspect = clean + 2  // the last outcome was a failure
	onTrial = clean + 3  // the same, and another request is finding out, or a retry could not be paid for
	full    = clean + 4  // has all the scouts that it takes, and this would be one more
	ramping = clean + 5  // readmitted, and this request is not in its share yet, or could not be repeated
	doubted = clean + 6  // peers or another stamp say that it fails
	altered = clean + 7  // answers as another model than the route's
	unfit   = pick.Never // gated, ejected, drained or missing, or this request has tried it
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
	costly    int          // failed attempts that may have cost a backend work
	gates     int          // targets that refused it
	retired   uint64       // the attempts, as bits, that met a retired model
	tiers     uint64       // the tiers, as bits, in which an attempt failed
	forced    bool         // the last attempt was let through an open breaker
	owes      bool         // the next attempt is a retry that has to be paid for
	unpaid    bool         // and could not be
	token     budget.Token // what pays for it
	stuck     bool         // Next found a target, but budget or room stand in the way
	waitEnds  time.Time    // zero: did not wait yet
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
// left, or not yet: Wait tells, and else Verdict says what to answer. Every Ticket
// must be given back by exactly one call of Observe.
func (s *Selection) Next(now time.Time, rng *rand.Rand) (Ticket, bool) {
	if s.salt == 0 {
		s.salt = rng.Uint64() | 1
	}
	s.look(now)
	if !s.pay() {
		return Ticket{}, false
	}
	if t, ok := s.find(rng); ok {
		return t, true
	}
	if s.token.Valid() {
		s.plan.budget.Return(now, s.token)
		s.token = budget.Token{}
	}
	return Ticket{}, false
}

func (s *Selection) look(now time.Time) {
	s.now, s.at, s.passiveOnce, s.stuck = now, s.reg.since(now), false, false
}

// find takes the first target of the order that admits the request. Where the
// request may wait for room at one, it does not go on to what is worse.
func (s *Selection) find(rng *rand.Rand) (Ticket, bool) {
	way := s.order()
	for at, ok := way.next(); ok; at, ok = way.next() {
		if at.mayWait {
			if s.crowded() {
				return Ticket{}, false
			}
			continue
		}
		if t, ok := s.choose(rng, at); ok {
			return t, true
		}
	}
	return s.force()
}

// crowded reports whether the request shall wait for room at a target.
func (s *Selection) crowded() bool {
	s.stuck = s.mayWait() && s.any(func(c pick.Class) bool { return c == full })
	return s.stuck
}

// hopeful reports whether a target is left that shows no sign of failing.
func (s *Selection) hopeful() bool {
	return s.any(func(c pick.Class) bool { return c <= near || c == full })
}

func (s *Selection) any(fits func(pick.Class) bool) bool {
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		for j := range t.states {
			if fits(s.class(t, j)) {
				return true
			}
		}
	}
	return false
}

// races is how often a tier is asked again when another request was quicker.
const races = 4

// choose takes a target of a step's tier: of the best class that is there, by load
// and weight.
func (s *Selection) choose(rng *rand.Rand, at step) (Ticket, bool) {
	t := &s.plan.tiers[at.tier]
	view := pick.Tier{
		Weights: t.weights,
		Turns:   t.turns,
		Worst:   at.worst,
		Class:   func(j int) pick.Class { return s.class(t, j) },
		Load:    func(j int) pick.Load { return s.load(t.states[j]) },
	}
	for range races {
		j := pick.Choose(rng, &view)
		if j < 0 {
			break
		}
		if ticket, ok := s.take(at.tier, j, admission{}); ok {
			return ticket, true
		}
	}
	return Ticket{}, false
}

func (s *Selection) load(st *state) pick.Load {
	n := int(st.inFlight.Load())
	if s.at < st.peers.until.Load() {
		n += int(st.peers.inFlight.Load())
	}
	return pick.Load{InFlight: n, FirstByte: st.pace(s.at, s.req.Stream)}
}

// class says how willingly this request takes a target.
func (s *Selection) class(t *tier, j int) pick.Class {
	st := t.states[j]
	if s.blocked(t, j) != fine || s.hasTried(st) {
		return unfit
	}
	tested := st.unproven.Load() || s.at < st.ownGate.Load() || s.honours(t, j)
	switch {
	case tested && !s.req.Stateless:
		return ramping // its failure could not be repeated: after all others
	case s.altered(st):
		return altered
	case !tested && s.at < t.doubted[j].Load() && !st.fresh(s.at) && (s.at < st.doubtDue.Load() || !s.req.Stateless):
		return doubted
	case !tested && s.draw(st, 1) >= st.share(s.at):
		return ramping
	case tested:
		return clean // somebody must find out
	case st.suspect(s.at):
		if st.trials.Load() > 0 || s.plan.budget.Left(s.now) < spareRetries {
			return onTrial
		}
		return suspect
	case s.scouts(st) && st.full():
		return full
	case s.draw(st, 2) >= st.usable(s.at):
		return near
	}
	return clean
}

// altered reports whether the target is avoided for answering as another model.
func (s *Selection) altered(st *state) bool {
	known, other := st.mismatched()
	return other && known.avoided && (s.at < known.until || !s.req.Stateless)
}

// scouts reports whether the request needs room at the target.
func (s *Selection) scouts(st *state) bool { return s.costly > 0 || st.reopening(s.at) }

// draw is this request's own draw for a target, the same each time it is asked.
func (s *Selection) draw(st *state, salt uint64) float64 {
	return fraction(mix(s.salt ^ st.hash ^ salt))
}

// take admits the request to a target and makes its ticket.
func (s *Selection) take(tierIndex, j int, how admission) (Ticket, bool) {
	t := &s.plan.tiers[tierIndex]
	st := t.states[j]
	// Where the time to wait is over, a full target takes one more scout.
	needs := s.scouts(st) && how.forced == 0
	scout := needs && st.takeRoom(s.at)
	if needs && !scout && s.mayWait() {
		s.stuck = true // another was quicker: its turn comes
		return Ticket{}, false
	}
	if how.forced == 0 && s.at >= st.ownGate.Load() && s.at < st.gatedUntil.Load() {
		how.claim = ignoreClaim
		if s.honours(t, j) {
			how.claim = testClaim
		}
	}
	got, ok := s.admit(st, how)
	if !ok {
		if scout {
			st.scouting.Add(-1)
		}
		return Ticket{}, false
	}
	return s.ticket(tierIndex, j, got, scout), true
}

func (s *Selection) ticket(tierIndex, j int, got admitted, scout bool) Ticket {
	t := &s.plan.tiers[tierIndex]
	st := t.states[j]
	trial, large := st.trial(s.at), s.large()
	if s.req.Stream {
		st.beginStream(s.at)
	}
	if s.attempts == 0 {
		s.plan.budget.First(s.now)
	}
	t.turns.Take(j)
	s.noteTests(st, s.at < t.doubted[j].Load())
	s.attempts++
	s.forced = got.forced()
	s.addTried(st)
	s.reg.stir()
	ticket := Ticket{
		Target: t.targets[j], Passive: t.passive, Tier: tierIndex,
		Probe: got.probe(), Connect: s.req.Route.Connect, FirstByte: s.req.Route.FirstByte,
		reg: s.reg, state: st, plan: s.plan, admitted: got, started: s.now, trial: trial, scout: scout,
		client: s.client, operation: s.req.Operation, tokens: s.req.Tokens, stream: s.req.Stream,
		large: large, ownGate: s.gates < mostGates && !large, token: s.token,
		draw: fraction(mix(s.salt + uint64(s.attempts))),
	}
	s.token, s.owes, s.unpaid = budget.Token{}, false, false
	return ticket
}

// large reports whether requests of this client and size are known to fit nowhere.
func (s *Selection) large() bool {
	_, found := s.plan.large.find(s.at, s.client, s.req.Tokens)
	return found
}

// noteTests puts off the next test of what peers or earlier answers say, for this
// attempt is one.
func (s *Selection) noteTests(st *state, doubted bool) {
	if doubted && s.at >= st.doubtDue.Load() {
		st.doubtDue.Store(s.at + int64(claimTest))
	}
	st.testModel(s.at)
}

// mostGates is how many targets one request may gate for everybody.
const mostGates = 2

func (s *Selection) admit(st *state, a admission) (admitted, bool) {
	a.client, a.operation = s.client, s.req.Operation
	a.testGate = a.forced == 0 && s.req.Route.ProbeLongGates
	if s.reg.hooks.Load().change == nil || !st.unproven.Load() && !st.asks(s.client) {
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

// force is for when nothing else is left: of the targets that breakers or
// exclusions keep out, the one whose last failure is the oldest takes the request,
// few at a time each. So all are tried in turn, and the first to recover is found
// soon. Targets that are throttled by peers' word alone are among them: a gateway
// asks such a one itself, once, before it turns requests away, so that a peer that
// lies cannot end the service.
func (s *Selection) force() (Ticket, bool) {
	bestTier, best, oldest := -1, 0, int64(always)
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		for j, st := range t.states {
			if !s.mayForce(t, j) || s.hasTried(st) {
				continue
			}
			if failed := st.failed.Load(); failed < oldest && st.forcible(s.now, s.client, s.req.Operation) {
				bestTier, best, oldest = i, j, failed
			}
		}
	}
	if bestTier < 0 {
		return Ticket{}, false
	}
	return s.take(bestTier, best, admission{forced: scouts, claim: testClaim})
}

// mayForce reports whether what blocks the target may be passed.
func (s *Selection) mayForce(t *tier, j int) bool {
	switch s.blocked(t, j) {
	case ejected, awaitingOwner, absent, forbiddenHere:
		return true
	case gated:
		return s.honours(t, j)
	case fine, drained, gone, elsewhere:
	}
	return false
}
