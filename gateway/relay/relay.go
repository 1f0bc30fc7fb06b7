// Package relay makes one attempt on one target, and passes the answer on to the
// client: a plain answer, an event stream, or the messages of a WebSocket.
//
// An Exchange is one admitted request. Each Try sends it to a target, judges what
// comes by the package answer, and passes on what is the client's: whole where it
// can be held, so that a broken answer is a failed attempt like any other, else as it
// arrives. What a target caused is charged to it and nothing else: not our own time
// limits, a slow client, or what this machine lacks.
//
// It chooses no target and does not decide whether to try again: that is the loop of
// serve, its only user. It opens no connection, never logs, and keeps nothing of a
// prompt or an answer beyond the request.
package relay

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// Credentials puts the gateway's own proof into a request to a backend. It is
// an interface so that tests need no identity provider.
type Credentials interface {
	// Apply sets the header that the target's backend expects. It does not block.
	// The generation grows with each renewal of the credential.
	Apply(t *policy.Target, h http.Header) (generation uint64, err error)
}

// Config is what a Relay is made of.
type Config struct {
	Pools       *upstream.Pools
	Credentials Credentials
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

// A Relay is what exchanges share. Its methods may be used by any number of
// goroutines.
type Relay struct {
	cfg     Config
	names   names
	buffers sync.Pool // of *[]byte, each readSize long
	heads   sync.Pool // of *message.Header, for the head of an answer
}

const (
	defaultKeepAlive    = 15 * time.Second
	defaultSessionHold  = time.Second
	defaultWriteTimeout = 60 * time.Second
	// readSize is one read of an answer: a TLS record is at most 16 kB.
	readSize = 16 << 10
)

// New returns a relay. It does no I/O.
func New(cfg Config) *Relay {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	if cfg.SessionHold == 0 {
		cfg.SessionHold = defaultSessionHold
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	return &Relay{
		cfg:     cfg,
		buffers: sync.Pool{New: func() any { return new(make([]byte, readSize)) }},
		heads:   sync.Pool{New: func() any { return new(make(message.Header, 0, headFields)) }},
	}
}

// A Call is an admitted request.
type Call struct {
	Context context.Context //nolint:containedctx // the request's own, as long as it is served
	Request *message.Request
	Match   operation.Match
	Body    body.Source    // as the client sent it, already scanned; nil: a session
	Scan    operation.Body // what the scan found
	Route   *policy.CompiledRoute
	// RequestID is what a backend is told as the request's id.
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
	// ListTargets: the result lists the target of each attempt.
	ListTargets bool
	// Hold bounds what is held of the answer; nil: without bounds.
	Hold *bytebudget.Hold
	// Transforms change the answer on its way, in this order.
	Transforms []Transform
	// Head, if set, adds the gateway's own fields to the head of an answer.
	Head func(h message.Header, r *Result) message.Header
}

// RulesOfReferences is what the policy says now: a session outlives many, and a
// slow body some.
func (c *Call) RulesOfReferences() *policy.References {
	if s := c.Running.Policy(); s != nil {
		return s.References()
	}
	return c.References
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
	Outcome   string // a closed set: see the Outcome constants here and in refusal
	// Refusal, if set, is to be written by the caller: nothing was sent yet.
	Refusal *refusal.Error
	// Aborted: the answer was cut. The caller must break the connection off so
	// that nobody takes the answer for complete.
	Aborted bool
	Err     error // for the log; never holds text of the client or the backend
}

// The outcomes of a call that a backend answered; the package refusal has those of
// the others.
const (
	OutcomeOK        = "ok"         // a complete answer was passed on
	OutcomeRejected  = "rejected"   // the backend's 4xx was passed on
	OutcomeBrokenOff = "broken_off" // ended after the first byte
)
