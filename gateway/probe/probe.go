// Package probe finds out whether idle backends can be reached, so that health
// tells the truth when no client calls. A probe is free: it lists models or only
// connects, carries nothing of any client and runs no model.
//
// Each gateway probes for itself, and only backends of required routes of which no
// request of its own has heard for 10 s, at most 20 a second over all. Any answer
// but 5xx and 401 proves that the backend can be reached, and nothing else: a probe
// opens and closes no breaker, sets and clears no gate and moves no request. It
// tells the registry, and only health reads that.
//
// The package opens no connection: the pools of upstream make the probe, through
// the fenced dialer, in its words. The gateway's wiring runs it.
package probe

import (
	"context"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// Outcome is how a probe ended: a closed set, for metrics.
type Outcome string

// The outcomes.
const (
	Reached       Outcome = "reached"       // an answer that is not one of those below, or a connection where only that is asked
	ServerError   Outcome = "server_error"  // 5xx
	Unauthorized  Outcome = "unauthorized"  // 401
	ConnectFailed Outcome = "connect"       // no TCP connection in time
	TLSFailed     Outcome = "tls"           // no TLS session
	NoAnswer      Outcome = "no_answer"     // sent, and no answer came, or a broken one
	NoCredential  Outcome = "no_credential" //nolint:gosec // the word, not one: there is nothing to send, and nothing was sent
	Unknown       Outcome = "unknown"       // given up, or a fault of this machine: says nothing of the backend
)

// Outcomes are all of them.
func Outcomes() []Outcome {
	return []Outcome{Reached, ServerError, Unauthorized, ConnectFailed, TLSFailed, NoAnswer, NoCredential, Unknown}
}

// A Result is what one probe found. Text says in words what went wrong; "" if
// nothing. It holds no text of the backend.
type Result struct {
	Outcome Outcome
	Text    string
}

// The times of probing. A region that dies idle shows within 11 s: Interval, a
// probe that hangs for Timeout, confirmIn, another, and three evaluations of
// health (1.5 s). One that comes back is noticed within Timeout + failingEvery.
const (
	// Timeout bounds a probe as a whole, from the dial to the end of the answer.
	Timeout = 2 * time.Second
	// Interval is the longest time between two probes of an endpoint that answers;
	// jitter takes up to a fifth of it.
	Interval = 5 * time.Second
	// confirmIn is how soon a failed probe is repeated: before that it counts for
	// nothing, because one lost packet can fail it.
	confirmIn = 500 * time.Millisecond
	// An endpoint of which a probe failed within closely is looked at once in
	// closeInterval though it answers: one that comes and goes every two seconds
	// can be up at each probe of a slower one.
	closeInterval = time.Second
	closely       = time.Minute
	// failingEvery is the time between two probes of an endpoint known to be gone.
	failingEvery = 3 * time.Second
	// spacing makes it at most 20 a second. With more than 80 endpoints the
	// intervals stretch to 16 a second, 18 after jitter, so that a confirmation need
	// not queue.
	spacing   = time.Second / 20
	perSecond = 16
	// lookAt bounds the endpoints that one turn may put off because they are in use.
	lookAt = 64
	// turn is how often a policy is looked for: a new one may name other endpoints.
	turn = 500 * time.Millisecond
)

// Registry is what the prober knows and tells of targets. It is an interface so
// that the prober's own tests need no policy in force.
type Registry interface {
	// Heard returns when the target last answered a request, or failed to.
	Heard(key policy.Key) time.Time
	// SetProbed names the endpoints that are probed from now on.
	SetProbed(origins []string)
	// Probed takes what a probe of the targets' one endpoint found; failure is "" if
	// it was reached.
	Probed(now time.Time, keys []policy.Key, failure string)
}

// Config is what a Prober needs.
type Config struct {
	Region   geo.RegionID
	Registry Registry
	// Snapshot returns the policy in force, nil while there is none.
	Snapshot func() *policy.Snapshot
	// Ask makes one probe. It must end when ctx does.
	Ask func(ctx context.Context, t *policy.Target) Result
	// Draining: no probe begins while it says so.
	Draining func() bool
	// Count is told of each probe that ended.
	Count func(Outcome)
	// IdleAfter is how long after the last request an endpoint is probed.
	IdleAfter time.Duration
}
