package targets

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/throttle"
)

// The numbers of a target's state.
const (
	// suspectFor is how long a target is taken only after the clean ones of its
	// tier when its last outcome was a failure.
	suspectFor = 5 * time.Second
	// nearLimit is the share of a limit below which a target is used less, and
	// headroomFor how long a share is believed: limits are windows of a minute.
	nearLimit   = 0.1
	headroomFor = 10 * time.Second
	// claimTest is for how long peers' word that a target is throttled is taken
	// without a test of our own.
	claimTest = 10 * time.Second
)

// never and always are moments before and after everything.
const (
	never  = math.MinInt64
	always = math.MaxInt64
)

// A state is what is known of one target. What a pick reads is atomic, so that
// looking at a thousand targets takes no lock; what decides is under the mutex,
// and admit asks it again. Times in atomics are nanoseconds since base.
type state struct {
	key  policy.Key
	base time.Time
	hash uint64 // of the key, for per-request draws

	target   atomic.Pointer[policy.Target] // of the newest snapshot that named it
	inFlight atomic.Int32
	streams  latency
	plain    latency

	gatedUntil   atomic.Int64  // the gate opens, peers' word included
	ownGate      atomic.Int64  // it opens by refusals seen here
	gateRampTo   atomic.Int64  // what an opened gate lets through grows until then
	claimTaken   atomic.Int64  // a test of peers' word on the gate began, and has not ended
	claimDue     atomic.Int64  // peers' word alone gates, and may be tested then; always: it does not
	unsettled    atomic.Bool   // a success has something to change at the gate
	doubtDue     atomic.Int64  // peers' word that it fails may be tested then
	testAt       atomic.Int64  // a long gate may be tested; always: not
	outUntil     atomic.Int64  // breaker and exclusions let nobody through before
	outFor       atomic.Uint32 // the aspect of which that is
	outSince     atomic.Int64  // when that last moved to a later time
	unproven     atomic.Bool   // one of them is not closed: after outUntil, tests only
	clientsOut   atomic.Uint64 // clients that must ask under the lock, by hash modulo 64
	held         atomic.Bool   // there are exclusions, be they closed
	alarm        atomic.Bool   // our own credential was refused, and not accepted since
	rampFrom     atomic.Int64  // readmitted; never: not of late
	suspectUntil atomic.Int64  // never: the last outcome was no failure
	trials       atomic.Int32  // requests that find out about a suspicion
	succeeded    atomic.Int64  // the last success
	failed       atomic.Int64  // the last failure
	heard        atomic.Int64  // the last answer or failure: when anything was learned of it
	headroom     atomic.Uint32 // share of the limits left, as float32 bits
	headroomTo   atomic.Int64  // until when that is believed

	unanswered atomic.Int32 // streams that were asked for and have not begun
	quietSince atomic.Int64 // when one last began, or was asked for alone
	scouting   atomic.Int32 // attempts without an answer that need room
	scouted    atomic.Int64 // when one last began
	room       atomic.Int32 // how many of those at a time

	sizes  sizeGates
	served atomic.Pointer[served] // nil: no answer has named its model

	peers peers

	mu         sync.Mutex // guards the fields below; never held across a call out
	gate       throttle.Gate
	health     breaker.Breaker
	exclusions []*exclusion
	refused    uint64 // the credential whose refusal raised the alarm
}

func newState(base time.Time, key policy.Key) *state {
	st := &state{key: key, base: base, health: breaker.New(breaker.Failures())}
	for _, s := range [...]string{key.Origin, key.Deployment} {
		for i := range len(s) {
			st.hash = mix(st.hash ^ uint64(s[i]))
		}
	}
	for _, a := range [...]*atomic.Int64{
		&st.gatedUntil, &st.ownGate, &st.gateRampTo, &st.outUntil, &st.outSince, &st.rampFrom, &st.suspectUntil,
		&st.succeeded, &st.failed, &st.headroomTo, &st.peers.until, &st.peers.succeeded, &st.peers.hintUntil,
		&st.peers.testUntil, &st.claimTaken, &st.heard,
	} {
		a.Store(never)
	}
	st.testAt.Store(always)
	st.claimDue.Store(always)
	st.room.Store(firstRoom)
	return st
}

// advance takes over a new snapshot's word on the target. A deployment that was
// missing, or a model that was retired, gets another chance.
func (st *state) advance(now time.Time, t *policy.Target) {
	if st.target.Swap(t) == t {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.exclusions = slices.DeleteFunc(st.exclusions, func(x *exclusion) bool {
		return x.aspect == missing || x.aspect == retirement
	})
	st.copyOut(now)
}

func (st *state) since(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return int64(t.Sub(st.base))
}

// copyOut copies what picks read out of the machines. The caller holds mu.
func (st *state) copyOut(now time.Time) {
	st.gatedUntil.Store(st.since(st.gate.OpensAt()))
	st.ownGate.Store(st.since(st.gate.OwnOpensAt()))
	st.unsettled.Store(!st.gate.Settled(now))
	st.gateRampTo.Store(st.since(st.gate.RampEnds()))
	st.copyClaim(now)
	st.testAt.Store(always)
	if due := st.gate.TestDue(now); !due.IsZero() {
		st.testAt.Store(st.since(due))
	}
	st.copyBreakers(now)
}

// latency is that of the kind of answer.
func (st *state) latency(stream bool) *latency {
	if stream {
		return &st.streams
	}
	return &st.plain
}

// firstByte is the average for people: of streams, else of plain answers.
func (st *state) firstByte(at int64) time.Duration {
	if d := st.streams.read(at); d > 0 {
		return d
	}
	return st.plain.read(at)
}

// copyClaim says when peers' word may be tested: claimTest after it began to be
// all that gates the target, which may lie ahead, and after the last test began.
// The caller holds mu.
func (st *state) copyClaim(now time.Time) {
	if !st.gate.OpensAt().After(st.gate.OwnOpensAt()) {
		st.claimDue.Store(always)
		return
	}
	alone := max(st.since(now), st.ownGate.Load())
	if taken := st.claimTaken.Load(); taken != never {
		st.claimDue.Store(taken + int64(claimTest))
	} else if due := st.claimDue.Load(); due == always || due < alone {
		st.claimDue.Store(alone + int64(claimTest))
	}
}

// claimBusy reports whether a test of peers' word runs that began not long ago. An
// answer may take minutes, and nobody shall wait for it.
func (st *state) claimBusy(at int64) bool {
	taken := st.claimTaken.Load()
	return taken != never && at-taken < int64(claimTest)
}

// A standing is what the machines say, to notice a change.
type standing struct {
	gated     bool
	health    breaker.State
	alarm     bool
	missing   bool
	retired   bool
	forbidden bool
	model     bool // answers are of another model
}

// standing returns it. The caller holds mu.
func (st *state) standing(now time.Time) standing {
	health, _, _ := st.health.Effective(now)
	_, other := st.mismatched()
	return standing{
		gated:  !st.gate.Clear(now),
		health: health,
		alarm:  st.alarm.Load(), missing: st.says(now, missing), retired: st.says(now, retirement),
		forbidden: st.says(now, forbidden), model: other,
	}
}

func (st *state) standingNow(now time.Time) standing {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.standing(now)
}

// An admission is what a request asks of a target.
type admission struct {
	client    uint64
	operation string
	forced    int  // not 0: also through an open breaker, so many at a time
	testGate  bool // a long gate may be tested
	// peers' word that the target is throttled: respect it, test it, or, where it
	// covers too many targets, ignore it.
	claim claimUse
}

type claimUse uint8

const (
	respectClaim claimUse = iota
	testClaim
	ignoreClaim
)

// admit takes the right to make an attempt: gate, breaker and exclusions are asked
// under the lock.
func (st *state) admit(now time.Time, a admission) (admitted, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var got admitted
	closed := !st.gate.Clear(now)
	if closed && st.gate.Claimed(now) {
		got.against = a.claim != respectClaim
		got.claim = a.claim == testClaim
		if got.claim && st.claimBusy(st.since(now)) {
			return admitted{}, false
		}
	}
	if due := st.gate.TestDue(now); closed && !got.against && (!a.testGate || due.IsZero() || now.Before(due)) {
		return admitted{}, false
	}
	if !st.admitBreakers(now, a, &got) {
		return admitted{}, false
	}
	if got.claim {
		st.claimTaken.Store(st.since(now))
	}
	got.test = closed && !got.against && st.gate.TakeTest(now)
	st.inFlight.Add(1)
	if got.claim || got.probe() || st.unproven.Load() {
		st.copyOut(now)
	}
	return got, true
}

// asks reports whether the client may be one that is kept away alone.
func (st *state) asks(client uint64) bool { return st.clientsOut.Load()&(1<<(client&63)) != 0 }

// share returns the part of its usual work that a readmitted target gets.
func (st *state) share(at int64) float64 {
	from := st.rampFrom.Load()
	if from == never {
		return 1
	}
	return breaker.ShareAfter(time.Duration(at - from))
}

// freshFor is how long an own success outweighs what peers say.
const freshFor = 10 * time.Second

// fresh reports whether an attempt of our own has succeeded of late.
func (st *state) fresh(at int64) bool {
	last := st.succeeded.Load()
	return last != never && at-last < int64(freshFor)
}

func (st *state) suspect(at int64) bool { return at < st.suspectUntil.Load() }

// trial counts a request that tries a target whose last outcome was a failure,
// and reports whether it is one: until its answer the others rather go elsewhere,
// so that one request finds out, not many. A suspicion that has run out begins
// anew for them.
func (st *state) trial(at int64) bool {
	until := st.suspectUntil.Load()
	if until == never {
		return false
	}
	if at >= until {
		st.suspectUntil.CompareAndSwap(until, at+int64(suspectFor))
	}
	st.trials.Add(1)
	return true
}

// usable returns the share of requests that should use a target near a limit: 1
// down to 10 % of headroom, then falling to a tenth.
func (st *state) usable(at int64) float64 {
	if at >= st.headroomTo.Load() {
		return 1
	}
	left := float64(math.Float32frombits(st.headroom.Load()))
	if left >= nearLimit {
		return 1
	}
	return max(left/nearLimit, nearLimit)
}

func (st *state) noteSignals(at int64, s Signals) {
	left, said := s.Headroom()
	if !said {
		return
	}
	st.headroom.Store(math.Float32bits(float32(left)))
	st.headroomTo.Store(at + int64(headroomFor))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mix scrambles a number (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// fraction turns a scrambled number into one in [0, 1).
func fraction(x uint64) float64 {
	return float64(bits.Reverse64(x)>>11) / (1 << 53)
}
