// Package proxy carries an admitted request to a backend and the answer back:
// attempts inside one deadline, failover before the first byte, streaming as it
// arrives, cancellation, and the fenced dialer.
//
// What an answer means is the package answer's to say. A target is charged only
// with what it caused: not with our own time limits, a slow client, or what this
// machine lacks.
//
// It is the only package of the gateway that opens a connection to a backend,
// and it opens none that a geo.Fence of its own boundary has not admitted. It
// decides nothing about routing: that is the package targets. It never logs,
// and never keeps anything of a prompt or an answer beyond the request. Only
// gateway/api calls it.
package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/sse"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// Credentials puts the gateway's own proof into a request to a backend. It is
// an interface so that tests of the proxy need no identity provider.
type Credentials interface {
	// Apply sets the header that the target's backend expects. It does not block.
	// The generation grows with each renewal of the credential.
	Apply(t *policy.Target, h http.Header) (generation uint64, err error)
	// Rejected tells that the backend refused the proof.
	Rejected(t *policy.Target)
}

// Config is what a Proxy is made of.
type Config struct {
	Boundary    geo.Boundary
	Region      geo.RegionID
	Registry    *targets.Registry
	Credentials Credentials
	Dialer      upstream.Dialer
	UserAgent   string
	// KeepAlive is how long a stream may be quiet before the client is sent a
	// comment; 15 s if zero (Front Door cuts a stream that idles for 30 s).
	KeepAlive time.Duration
	// SessionHold is how long the client's upgrade waits for the first message of
	// its session's backend; 1 s if zero.
	SessionHold time.Duration
	// WriteTimeout is how long a client may take to accept one write, and a backend a
	// piece of a session; 60 s if zero.
	WriteTimeout time.Duration
}

// A Proxy serves calls. Its methods may be used by any number of goroutines.
type Proxy struct {
	cfg     Config
	pools   *upstream.Pools
	names   names
	random  sync.Pool // of *rand.Rand: one request at a time uses one
	buffers sync.Pool // of *[]byte, each readSize long
}

const (
	defaultKeepAlive   = 15 * time.Second
	defaultSessionHold = time.Second
	// readSize is one read of an answer: a TLS record is at most 16 kB.
	readSize = 16 << 10
	// defaultWriteTimeout is for one write.
	defaultWriteTimeout = 60 * time.Second
)

// New returns a proxy. It does no I/O. Close ends its idle connections.
func New(cfg Config) *Proxy {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	if cfg.SessionHold == 0 {
		cfg.SessionHold = defaultSessionHold
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	return &Proxy{
		cfg:   cfg,
		pools: upstream.New(cfg.Boundary, cfg.Dialer),
		random: sync.Pool{New: func() any {
			return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		}},
		buffers: sync.Pool{New: func() any { return new(make([]byte, readSize)) }},
	}
}

// Advance closes the connections to backends that the snapshot no longer names.
// Requests that run on them finish.
func (p *Proxy) Advance(s *policy.Snapshot) { p.pools.Advance(s) }

// Probe finds out whether the target's endpoint can be reached. It carries our own
// credential and nothing of any client.
func (p *Proxy) Probe(ctx context.Context, t *policy.Target) probe.Result {
	return p.pools.Probe(ctx, t, func(h http.Header) error {
		h["User-Agent"] = []string{p.cfg.UserAgent}
		_, err := p.cfg.Credentials.Apply(t, h)
		return err
	})
}

// Close closes idle connections to backends.
func (p *Proxy) Close() { p.pools.Close() }

// A Call is an admitted request.
type Call struct {
	Context   context.Context //nolint:containedctx // the request's own, for the length of Serve
	Match     operation.Match
	Body      []byte         // as the client sent it, already scanned
	Scan      operation.Body // what the scan found
	Header    http.Header    // the client's; only an allowed few go on
	Route     *policy.CompiledRoute
	Stamp     *policy.StampRules
	Client    string
	RequestID string
	// References says what messages of a session may refer to; of other calls the
	// body was checked.
	References *policy.References
	// Running is the call's note among those that run, whose context Context is;
	// nil: no policy ends it.
	Running *running.Call
	// Stateless: repeating the request on another backend does no harm but cost.
	Stateless bool
	// Stream: an event stream was asked for, or a session.
	Stream bool
	// Tokens estimates what a limit on tokens counts of the request; 0: unknown.
	Tokens int
	// ListTargets: the result lists the target of each attempt.
	ListTargets bool
	// Hold bounds what is held of the answer; nil: without bounds.
	Hold *bytebudget.Hold
	// BeforeHeader is called with the answer's header just before it is sent.
	BeforeHeader func(h http.Header, r *Result)
}

// A Result says how a call went.
type Result struct {
	Attempts  int
	Target    *policy.Target   // of the last attempt; nil if none was made
	Targets   []*policy.Target // of each attempt in order, if the call wants them listed
	Tier      int
	Passive   bool
	Status    int           // sent to the client; 0 if nothing was
	FirstByte time.Duration // from the start of the call to the first byte of the answer
	BytesOut  int64
	BytesIn   int64  // of a session's messages; a body's length is known to the caller
	Outcome   string // a closed set: see the Outcome constants
	// Refusal, if set, is to be written by the caller: nothing was sent yet.
	Refusal *Refusal
	// Aborted: the answer was cut. The caller must break the connection off so
	// that nobody takes the answer for complete.
	Aborted bool
	Err     error // for the log; never holds text of the client or the backend
}

// The outcomes of a call.
const (
	OutcomeOK         = "ok"          // a complete answer was passed on
	OutcomeRejected   = "rejected"    // the backend's 4xx was passed on
	OutcomeThrottled  = "throttled"   // every target is gated
	OutcomeNoBackend  = "no_backend"  // nothing is left inside the boundary
	OutcomeRetired    = "retired"     // the model is retired on every target
	OutcomeOverloaded = "overloaded"  // this machine lacks something
	OutcomeFailed     = "failed"      // attempts used up
	OutcomeTimeout    = "timeout"     // attempts used up, the last by time, or the time was up
	OutcomeBrokenOff  = "broken_off"  // ended after the first byte
	OutcomeClientGone = "client_gone" // the client hung up
	OutcomeDrained    = "drained"     // cut because the gateway ends
	OutcomeRevoked    = "revoked"     // ended because the policy no longer allows it
)

// A Refusal is an answer of the gateway itself.
type Refusal struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration // 0: no header
	// NoRetry: the gateway has done what can be done; x-should-retry: false
	// keeps SDKs from multiplying that.
	NoRetry bool
}

// Serve carries out a call. It returns when the answer has been passed on, or
// nothing can be.
func (p *Proxy) Serve(w http.ResponseWriter, c *Call) Result {
	return p.serve(w, c, func(ctx context.Context, x *exchange, t *targets.Ticket) (targets.Outcome, bool) {
		return x.attempt(ctx, t), false
	})
}

// serve is the loop of attempts and nothing else. try reports whether the result
// is settled, whatever the outcome.
func (p *Proxy) serve(w http.ResponseWriter, c *Call, try func(context.Context, *exchange, *targets.Ticket) (targets.Outcome, bool)) Result {
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Route.Total, errTotal)
	defer cancel()
	rng := p.random.Get().(*rand.Rand)
	defer p.random.Put(rng)

	x := newExchange(p, c, w)
	x.startEarly()
	defer x.early.take()
	session := c.Match.Operation.WebSocket
	sel := p.cfg.Registry.Begin(targets.Request{
		Route: c.Route, Stamp: c.Stamp, Region: p.cfg.Region,
		Client: c.Client, Stateless: c.Stateless || session, Deadline: x.start.Add(c.Route.Total),
		Operation: c.Match.Operation.Name, Tokens: c.Tokens, Stream: c.Stream || session,
	})
	for {
		ticket, ok := sel.Next(time.Now(), rng)
		if !ok {
			if wait, may := sel.Wait(time.Now()); may && x.wait(ctx, wait) {
				continue
			}
			return x.nothingLeft(ctx, sel.Verdict(time.Now()))
		}
		o, settled := try(ctx, x, &ticket)
		c.Running.At(nil)
		ticket.Observe(time.Now(), o)
		if o.Kind == targets.IdentityRefused {
			p.cfg.Credentials.Rejected(ticket.Target)
		}
		switch {
		case settled:
			return x.result
		case x.ended(ctx, o):
			return x.finish(ctx, o)
		case !sel.MayRetry(time.Now(), o):
			return x.last(ctx, &sel, o)
		}
	}
}

// wait waits for the request's turn to repeat, and reports whether its client and
// its time are still there.
func (x *exchange) wait(ctx context.Context, w targets.Wait) bool {
	defer w.Done()
	timer := time.NewTimer(w.After)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.Turn:
	case <-timer.C:
	}
	return true
}

// ended reports whether no other attempt can follow: bytes have gone to the
// client, the backend's answer is final, or the time or the client is gone.
func (x *exchange) ended(ctx context.Context, o targets.Outcome) bool {
	return x.committed || o.Kind.Final() || ctx.Err() != nil ||
		time.Since(x.start) >= x.call.Route.Total // the context may be told a moment later
}

// last ends a call of which no other attempt may follow. Where all that came were
// refusals that cost nothing, no target is left; else the last one failed.
func (x *exchange) last(ctx context.Context, sel *targets.Selection, o targets.Outcome) Result {
	if o.Kind.Free() && x.costly == nil {
		return x.nothingLeft(ctx, sel.Verdict(time.Now()))
	}
	return x.finish(ctx, o)
}

// finish turns the last outcome into the result of the call.
func (x *exchange) finish(ctx context.Context, o targets.Outcome) Result {
	r := &x.result
	switch {
	case x.committed && (o.Kind == targets.Success || o.Kind == targets.Rejected):
		r.Outcome = OutcomeOK
		if o.Kind == targets.Rejected {
			r.Outcome = OutcomeRejected
		}
	case x.revoked() != nil:
		x.revokedResult()
	case x.draining():
		r.Outcome, r.Aborted = OutcomeDrained, x.committed
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusServiceUnavailable, Code: "draining",
			Message: "The gateway is stopping. Send the request again.", RetryAfter: time.Second,
		})
	case o.Kind == targets.Canceled:
		r.Outcome, r.Aborted = OutcomeClientGone, true
	case x.committed:
		r.Outcome, r.Aborted = OutcomeBrokenOff, true
	case o.Kind == targets.LocalFault:
		r.Outcome = OutcomeOverloaded
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusServiceUnavailable, Code: "overloaded",
			Message: "The gateway lacks resources for this request at the moment.", RetryAfter: time.Second,
		})
	case errors.Is(context.Cause(ctx), errTotal) || o.Kind == targets.OutOfTime || o.Kind == targets.FirstByteTimeout:
		r.Outcome = OutcomeTimeout
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusGatewayTimeout, Code: "upstream_timeout",
			Message: "No backend answered in time.", NoRetry: true,
		})
	default:
		r.Outcome = OutcomeFailed
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusBadGateway, Code: "upstream_failed",
			Message: "The backends that could serve this request failed.", NoRetry: true,
		})
	}
	return *r
}

// nothingLeft answers when no target can be picked (any more).
func (x *exchange) nothingLeft(ctx context.Context, v targets.Verdict) Result {
	r := &x.result
	switch {
	case x.call.Context.Err() != nil: // the client left, the gateway ends, or a policy ended the call, while it waited
		return x.finish(ctx, targets.Outcome{Kind: targets.Canceled})
	case ctx.Err() != nil:
		return x.finish(ctx, targets.Outcome{Kind: targets.OutOfTime})
	case x.costly != nil && v.Unpaid:
		return x.finish(ctx, *x.costly)
	case v.AllThrottled:
		r.Outcome = OutcomeThrottled
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusTooManyRequests, Code: "throttled",
			Message:    "Every deployment that can serve this request is at its limit.",
			RetryAfter: v.RetryAfter,
		})
	case v.AllRetired:
		r.Outcome = OutcomeRetired
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusGone, Code: "model_retired", NoRetry: true,
			Message: "The model was retired in every deployment of this route. Use another route.",
		})
	case x.costly != nil:
		return x.finish(ctx, *x.costly)
	default:
		r.Outcome = OutcomeNoBackend
		r.Refusal = x.refuse(Refusal{
			Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary",
			Message:    "No backend inside the boundary can serve this request now.",
			RetryAfter: max(v.RetryAfter, time.Second),
		})
	}
	return *r
}

// refuse leaves the refusal to the caller, or tells a client that has the head of
// a stream by an event, after which the connection ends.
func (x *exchange) refuse(r Refusal) *Refusal {
	if x.committed {
		return nil
	}
	if !x.early.take() {
		return &r
	}
	x.committed, x.result.Status, x.result.Aborted = true, http.StatusOK, true
	_ = x.write(sse.ErrorFrame(x.call.Match.Operation.ErrorForm, r.Code, r.Message), true) // the connection ends anyway
	return nil
}

// Error names the refusal for a log. The message is written for clients.
func (r *Refusal) Error() string { return r.Code }
