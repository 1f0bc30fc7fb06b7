// Package serve is the one way of a request through the gateway, from its head to
// its line in the log. Its stages, in their order, are
//
//	admit → operation → body → route → pin → variant → lease → attempts → settle
//
// each a method of visit in a file of its own. What a stage refuses is a
// *refusal.Error; only answer.go turns it into an answer.
//
// It opens no connection, decides nothing about targets, and never sees a server of
// HTTP: requests and clients come as values of the package message. A request's
// error is logged here and nowhere else. Only the gateway's wiring uses it.
package serve

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// Config is what a Pipeline is made of.
type Config struct {
	Boundary geo.Boundary
	Region   geo.RegionID
	Name     string
	// Snapshot returns the policy in force, nil before the first. A request asks
	// once and keeps it to its end.
	Snapshot func() *policy.Snapshot
	Auth     auth.Authenticator
	Registry *targets.Registry
	Relay    *relay.Relay
	// Rejected tells that a backend refused our credential.
	Rejected func(*policy.Target)
	Inflight *lifecycle.Inflight
	Running  *running.Set // of the calls that are served
	// Draining: answers ask the client to open a new connection.
	Draining    func() bool
	FrontDoorID []string // of which X-Azure-FDID must name one; empty: not checked
	// WriteTimeout is how long a client may take to accept a piece of its answer.
	WriteTimeout time.Duration
	// Budget bounds the bytes that requests hold, and Sessions the WebSockets of
	// each client.
	Budget   *bytebudget.Budget
	Sessions *edge.Counter[string]
	Seams    Seams
	Metrics  *Metrics
	Log      zerolog.Logger
}

// Seams are the stages that not every gateway has. Each may be nil.
type Seams struct {
	// Pin returns the backend that owns the object which the request names: only it
	// may be asked. "" is for any. An error refuses the request.
	Pin func(ctx context.Context, c *relay.Call) (backend string, err error)
	// Variant returns which of a route's variants serves the request. It is a route of
	// its own to everything that follows: a request never crosses from one to another.
	Variant func(c *relay.Call, client string) *policy.CompiledRoute
	// Lease reserves what the request may use of its client's limits, before anything
	// is sent. Settle, which is never nil without an error, is called once, when the
	// request has ended, however it did. An error refuses the request.
	Lease func(ctx context.Context, c *relay.Call, client string) (settle func(*relay.Result), err error)
}

// A Pipeline serves requests. Its methods may be used by any number of goroutines.
type Pipeline struct {
	Config

	random sync.Pool // of *rand.Rand: one request at a time uses one
}

// New returns a pipeline. It does no I/O.
func New(cfg Config) *Pipeline {
	return &Pipeline{Config: cfg, random: sync.Pool{New: func() any {
		return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}}}
}

// A visit is one request on its way; it ends as a line in the log.
type visit struct {
	*Pipeline

	ctx       context.Context //nolint:containedctx // the request's own, as long as it is served
	request   *message.Request
	client    message.Client
	start     time.Time
	requestID string

	snapshot *policy.Snapshot // set by admit
	caller   policy.Caller
	hold     *bytebudget.Hold // nil until the caller is known
	match    operation.Match  // set by operation
	call     relay.Call       // set by body and route, read by all that follow
	text     []byte           // of the body, to be looked at
	tokens   int              // what a limit on tokens counts of the request; 0: unknown
	backend  string           // set by pin
	settle   func(*relay.Result)
	leave    []func()
	bytesIn  int
	answered bool // no stage follows
	result   relay.Result
}

// Serve serves one request. It returns when the client has its answer, or has gone.
func (p *Pipeline) Serve(ctx context.Context, client message.Client, r *message.Request) {
	p.Inflight.Add()
	defer p.Inflight.Done()
	v := &visit{Pipeline: p, ctx: ctx, request: r, client: client, start: time.Now(), requestID: requestID(r.Header)}
	defer v.end()
	if err := v.stages(); err != nil {
		v.refuse(err)
	}
	v.record()
	if v.result.Aborted {
		// What the client got is not complete: the connection ends here, so that
		// it cannot be taken for complete.
		client.Abort()
	}
}

// stages takes the request through the stages, until one refuses or answers it.
func (v *visit) stages() error {
	for _, stage := range [...]func(*visit) error{
		(*visit).admit, (*visit).operation, (*visit).body, (*visit).route, (*visit).references,
		(*visit).pin, (*visit).variant, (*visit).lease, (*visit).attempts,
	} {
		if err := stage(v); err != nil || v.answered {
			return err
		}
	}
	return nil
}

// end gives back what the stages have taken, the last first.
func (v *visit) end() {
	if v.settle != nil {
		v.settle(&v.result)
	}
	for _, leave := range slices.Backward(v.leave) {
		leave()
	}
	v.hold.Release()
}
