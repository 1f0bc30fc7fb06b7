package targets

import (
	"math"
	"math/bits"
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
	// missingFor is how long a deployment that does not exist is left out.
	missingFor = 5 * time.Minute
	// nearLimit is the share of a limit below which a target is used less, and
	// headroomFor how long a share is believed: limits are windows of a minute.
	nearLimit   = 0.1
	headroomFor = 10 * time.Second
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
	latency  latency

	gatedUntil   atomic.Int64  // the gate opens
	claimed      atomic.Bool   // by peers' word alone the gate was closed when last looked at
	testAt       atomic.Int64  // a long gate may be tested; always: not
	outUntil     atomic.Int64  // breaker and identity alarm let nobody through before
	outSince     atomic.Int64  // when that last moved to a later time
	missingUntil atomic.Int64  // the deployment does not exist
	alarm        atomic.Bool   // our own credential was refused, and not accepted since
	tender       atomic.Bool   // breaker or alarm not closed: after outUntil, probes only
	strays       atomic.Uint64 // clients kept away alone, by hash modulo 64
	rampFrom     atomic.Int64  // readmitted; never: not of late
	suspectUntil atomic.Int64  // never: the last outcome was no failure
	trials       atomic.Int32  // requests that find out about a suspicion
	succeeded    atomic.Int64  // the last success
	failed       atomic.Int64  // the last failure
	headroom     atomic.Uint32 // share of the limits left, as float32 bits
	headroomTo   atomic.Int64  // until when that is believed

	peers peers

	mu       sync.Mutex // guards the fields below; never held across a call out
	gate     throttle.Gate
	claim    bool // a request tests what peers say of the gate
	health   breaker.Breaker
	identity breaker.Breaker
}

func newState(base time.Time, key policy.Key) *state {
	st := &state{
		key: key, base: base,
		health:   breaker.New(breaker.Failures()),
		identity: breaker.New(breaker.Identity()),
	}
	for _, s := range [...]string{key.Origin, key.Deployment} {
		for i := range len(s) {
			st.hash = mix(st.hash ^ uint64(s[i]))
		}
	}
	for _, a := range [...]*atomic.Int64{
		&st.gatedUntil, &st.outUntil, &st.outSince, &st.rampFrom, &st.suspectUntil, &st.succeeded, &st.failed,
		&st.headroomTo, &st.missingUntil, &st.peers.until, &st.peers.succeeded, &st.peers.hintUntil,
		&st.peers.testUntil,
	} {
		a.Store(never)
	}
	st.testAt.Store(always)
	return st
}

// advance takes over a new snapshot's word on the target.
func (st *state) advance(t *policy.Target) {
	if st.target.Swap(t) != t {
		st.missingUntil.Store(never)
	}
}

func (st *state) since(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return int64(t.Sub(st.base))
}

// publish copies what picks read out of the machines. The caller holds mu.
func (st *state) publish(now time.Time) {
	st.gatedUntil.Store(st.since(st.gate.OpensAt()))
	st.claimed.Store(st.gate.Claimed(now))
	st.testAt.Store(always)
	if due := st.gate.TestDue(now); !due.IsZero() {
		st.testAt.Store(st.since(due))
	}
	health, _ := st.health.State(now)
	identity, _ := st.identity.State(now)
	st.tender.Store(health != breaker.Closed || identity != breaker.Closed)
	out := max(st.since(st.health.BlockedUntil(now)), st.since(st.identity.BlockedUntil(now)))
	if st.outUntil.Swap(out) < out {
		st.outSince.Store(st.since(now))
	}
	st.strays.Store(st.health.Strays() | st.identity.Strays())
	st.rampFrom.Store(st.since(later(st.health.Readmitted(), st.identity.Readmitted())))
}

// A standing is what the machines say, to notice a change.
type standing struct {
	gated   bool
	health  breaker.State
	alarm   bool
	missing bool
}

// standing returns it. The caller holds mu.
func (st *state) standing(now time.Time) standing {
	health, _, _ := st.health.Speaks(now)
	return standing{
		gated:   !st.gate.Open(now),
		health:  health,
		alarm:   st.alarm.Load(),
		missing: st.since(now) < st.missingUntil.Load(),
	}
}

func (st *state) standingNow(now time.Time) standing {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.standing(now)
}

// admit takes the right to make an attempt: gate, alarm and breaker are asked
// under the lock. force passes an open breaker, one request at a time.
func (st *state) admit(now time.Time, a admission) (admitted, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	closed := !st.gate.Open(now)
	claim := closed && a.force && st.gate.Claimed(now) && !st.claim
	if due := st.gate.TestDue(now); closed && !claim && (!a.testGate || due.IsZero() || now.Before(due)) {
		return admitted{}, false
	}
	var got admitted
	var ok bool
	if got.identity, ok = st.identity.Admit(now, a.client, a.force); !ok {
		return admitted{}, false
	}
	if got.health, ok = st.health.Admit(now, a.client, a.force); !ok {
		st.identity.Observe(now, got.identity, breaker.None, 0)
		return admitted{}, false
	}
	got.claim = claim
	st.claim = st.claim || claim
	got.test = closed && !claim && st.gate.TakeTest(now)
	st.inFlight.Add(1)
	if got.probe() || st.tender.Load() {
		st.publish(now)
	}
	return got, true
}

type admission struct {
	client   uint64
	force    bool
	testGate bool
}

type admitted struct {
	health, identity breaker.Ticket
	test             bool // of a long gate
	claim            bool // of what peers say of the gate: no probe, for nothing has failed
}

func (a admitted) probe() bool { return a.test || a.health.Probe() || a.identity.Probe() }

// admits reports whether breaker and alarm would let the client pass.
func (st *state) admits(now time.Time, client uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.health.Admits(now, client) && st.identity.Admits(now, client)
}

// stray reports whether the client may be one that is kept away alone.
func (st *state) stray(client uint64) bool { return st.strays.Load()&(1<<(client&63)) != 0 }

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
