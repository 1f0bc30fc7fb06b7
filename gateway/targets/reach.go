package targets

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// IdleAfter is how long after the last attempt a target counts as idle: then a
// probe may say what no request does.
const IdleAfter = 10 * time.Second

const (
	// A failed probe counts once another has failed within confirmWithin: one lost
	// packet can fail it. One is enough where the last request failed as well, or
	// where the endpoint was lost within flapsWithin. They need not follow each other:
	// a backend that comes and goes is often up again at the second.
	confirmWithin = 30 * time.Second
	// An endpoint that is lost again within flapsWithin of its return flaps: the
	// next time it must be reached without a failure for steadyFor, then for twice
	// as long, up to steadyMax.
	flapsWithin = 5 * time.Minute
	steadyFor   = 30 * time.Second
	steadyMax   = 5 * time.Minute
)

// reaches is what probes know of the endpoints, by origin. It belongs to health
// alone: no pick reads it. It lies outside the snapshots, so that a new policy
// forgets nothing; what no policy names is dropped.
type reaches struct {
	mu    sync.Mutex // guards known; never held across a call out
	known map[string]reach
}

// A reach is what probes know of one endpoint. Times are nanoseconds since the
// registry's base.
type reach struct {
	reached  int64  // the last probe that was answered; never: none
	failed   int64  // the last probe that failed; never: none
	failures int    // in a row, up to now
	why      string // the last one failed
	lost     bool   // confirmed, and not back for long enough
	flaps    int    // how often it was lost again soon after its return
	since    int64  // while lost: since when every probe was answered
	returned int64  // when it was last back; never: it was never lost
}

// last returns when the endpoint was last probed; never: not yet.
func (rc *reach) last() int64 { return max(rc.reached, rc.failed) }

// unreachable reports whether probes say so, and no request has succeeded since.
func (rc *reach) unreachable(succeeded int64) bool { return rc.lost && succeeded <= rc.failed }

// steady is how long every probe must be answered before the endpoint is back.
func (rc *reach) steady() time.Duration {
	if rc.flaps == 0 {
		return 0
	}
	return min(steadyFor<<min(rc.flaps-1, 8), steadyMax)
}

// answered takes a probe that was answered.
func (rc *reach) answered(at int64) {
	if rc.failures > 0 {
		rc.since = at
	}
	rc.reached, rc.failures, rc.why = at, 0, ""
	if rc.lost && time.Duration(at-rc.since) >= rc.steady() {
		rc.lost, rc.returned = false, at
	}
}

// fails takes a probe that failed; doubted: so did the last request.
func (rc *reach) fails(at int64, why string, doubted bool) {
	confirmed := rc.failed != never && at-rc.failed <= int64(confirmWithin)
	rc.failed, rc.failures, rc.why = at, rc.failures+1, why
	again := rc.returned != never && at-rc.returned <= int64(flapsWithin)
	if rc.lost || !confirmed && !doubted && !again {
		return
	}
	if rc.lost = true; again {
		rc.flaps++
	} else {
		rc.flaps = 0
	}
}

// SetProbed says which endpoints (scheme://host[:port]) somebody probes. What was
// known of others is dropped: nothing would ever disprove it.
func (r *Registry) SetProbed(origins []string) {
	known := make(map[string]reach, len(origins))
	r.reaches.mu.Lock()
	defer r.reaches.mu.Unlock()
	for _, origin := range origins {
		rc, ok := r.reaches.known[origin]
		if !ok {
			rc = reach{reached: never, failed: never, returned: never}
		}
		known[origin] = rc
	}
	r.reaches.known = known
	r.stir()
}

// Probed records how a probe of an endpoint ended, which has the targets given:
// failure says in words why it could not be reached, and is "" where it could. It
// changes what health says and nothing else: no gate, no breaker, no pick.
func (r *Registry) Probed(now time.Time, keys []policy.Key, failure string) {
	if len(keys) == 0 {
		return
	}
	doubted := failure != "" && slices.ContainsFunc(keys, r.doubted)
	r.reaches.mu.Lock()
	defer r.reaches.mu.Unlock()
	rc, ok := r.reaches.known[keys[0].Origin]
	if !ok {
		return // of a policy that is no longer in force
	}
	if failure == "" {
		rc.answered(r.since(now))
	} else {
		rc.fails(r.since(now), failure, doubted)
		defer r.stir() // a success makes nothing worse
	}
	r.reaches.known[keys[0].Origin] = rc
}

// doubted reports whether the last request that taught something of the target
// failed.
func (r *Registry) doubted(key policy.Key) bool {
	st := r.view.Load().states[key]
	return st != nil && st.failed.Load() > st.succeeded.Load()
}

// Heard returns when the target last answered a request of this gateway, or failed
// to; the zero time if it never has. A request that merely waits there, or whose
// client gave up, says nothing.
func (r *Registry) Heard(key policy.Key) time.Time {
	st := r.view.Load().states[key]
	if st == nil || st.heard.Load() == never {
		return time.Time{}
	}
	return r.base.Add(time.Duration(st.heard.Load()))
}

// reachOf returns what probes know of an endpoint, and whether anybody probes it.
func (r *Registry) reachOf(origin string) (reach, bool) {
	r.reaches.mu.Lock()
	defer r.reaches.mu.Unlock()
	rc, ok := r.reaches.known[origin]
	return rc, ok
}

// halfOpenSince returns since when a breaker or an exclusion waits for something
// to succeed; false where none does. The open time must be over. It also looks at
// those of a client that is alone on the target.
func (st *state) halfOpenSince(now time.Time) (int64, bool) {
	since := int64(never)
	if st.unproven.Load() {
		since = st.outUntil.Load()
	}
	if st.clientsOut.Load() == 0 {
		return since, since != never
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	ask := func(b *breaker.Breaker) {
		if state, until, _ := b.Effective(now); state == breaker.HalfOpen {
			since = max(since, st.since(until))
		}
	}
	ask(&st.health)
	for _, x := range st.exclusions {
		if x.aspect != forbidden { // that is one operation's affair
			ask(&x.breaker)
		}
	}
	return since, since != never
}

// notProven reports whether the target failed, its open time is over, and nothing
// has succeeded since: no request, for that would have closed the breaker, and no
// probe. Where nobody probes, only a request can tell, and none comes to a stamp
// that says no: there it counts as proven.
func (st *state) notProven(now time.Time, rc reach) bool {
	since, waits := st.halfOpenSince(now)
	return waits && rc.reached < since
}

// reachText says in words what probes have to do with the target, "" if nothing,
// and whether they find it unreachable.
func (r *Registry) reachText(st *state, now time.Time) (text string, unreachable bool) {
	rc, probed := r.reachOf(st.key.Origin)
	if !probed {
		return "", false
	}
	at := r.since(now)
	ago := "not probed yet"
	if last := rc.last(); last != never {
		ago = fmt.Sprintf("probed %d s ago", time.Duration(at-last)/time.Second)
	}
	switch {
	case !rc.unreachable(st.succeeded.Load()):
	case rc.failures > 0:
		return fmt.Sprintf("unreachable, last probe %d s ago: %s", time.Duration(at-rc.failed)/time.Second, rc.why), true
	default:
		return fmt.Sprintf("flaps, reached for %d s of the %d s that it takes to count", time.Duration(at-rc.since)/time.Second, rc.steady()/time.Second), true
	}
	since, waits := st.halfOpenSince(now)
	used := st.heard.Load()
	switch {
	case at < st.outUntil.Load(): // the breaker says enough
		return "", false
	case waits && rc.reached < since:
		return "half-open, not proven yet", false
	case waits:
		return "half-open, " + ago, false
	case used != never && at-used < int64(IdleAfter):
		return "", false
	case rc.failures > 0:
		return "idle, " + ago + ", not confirmed yet: " + rc.why, false
	}
	return "idle, " + ago, false
}
