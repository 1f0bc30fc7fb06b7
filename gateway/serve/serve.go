// Package serve is the one way of a request through the gateway, from its head to
// its line in the log. Its stages, each a method of visit, are in their order
//
//	admit        who calls, under which policy              admit.go
//	operation    what is asked for                          operation.go
//	body         the body, read and scanned                 body.go
//	route        the route, and whether it is granted       route.go
//	references   places outside that the request names      route.go
//	pin          the backend that owns a named object       route.go, a seam
//	variant      which variant of the route serves          route.go, a seam
//	lease        what is reserved of the client's limits    route.go, a seam
//	park         a large body goes to a file                body.go
//	attempts     targets are tried                          attempts.go
//
// and at the end, whatever happened, the lease is settled and the request recorded
// (record.go). What a stage refuses is a *refusal.Error; only answer.go turns it into
// an answer.
//
// It opens no connection, decides nothing about targets, and never sees a server of
// HTTP: requests and clients come as values of the package message. A request's
// error is logged here and nowhere else. Only the gateway's wiring uses it.
package serve

import (
	"context"
	"math/rand/v2"
	"net/http"
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
	"github.com/stampgate/stampgate/gateway/refusal"
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
	Spool    Spool
	Seams    Seams
	Metrics  *Metrics
	Log      zerolog.Logger
}

// Spool is where large bodies are kept while they are served.
type Spool struct {
	Dir    string             // on a disk; "": they are kept in memory
	Above  int64              // bytes: what is not larger stays in memory
	Budget *bytebudget.Budget // of bytes in files: what is beyond it stays in memory
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
	// Transforms returns what changes the answer on its way to the client.
	Transforms func(c *relay.Call) []relay.Transform
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
	text     []byte           // of the body, to be looked at; nil: nobody may any more
	textHeld int64            // of the hold, for text
	tokens   int              // what a limit on tokens counts of the request; 0: unknown
	backend  string           // set by pin
	settle   func(*relay.Result)
	leave    []func()
	bytesIn  int
	answered bool // no stage follows
	returned bool // the stages have
	result   relay.Result
}

// Serve serves one request. It returns when the client has its answer, or has gone.
func (p *Pipeline) Serve(ctx context.Context, client message.Client, r *message.Request) {
	p.Inflight.Add()
	defer p.Inflight.Done()
	v := &visit{Pipeline: p, ctx: ctx, request: r, client: client, start: time.Now(), requestID: requestID(r.Header)}
	defer v.end()
	err := v.stages()
	v.returned = true
	if err != nil {
		v.refuse(err)
	}
}

// stages takes the request through the stages, until one refuses or answers it.
func (v *visit) stages() error {
	for _, stage := range [...]func(*visit) error{
		(*visit).admit, (*visit).operation, (*visit).body, (*visit).route, (*visit).references,
		(*visit).pin, (*visit).variant, (*visit).lease, (*visit).park, (*visit).attempts,
	} {
		if err := stage(v); err != nil || v.answered {
			return err
		}
	}
	return nil
}

// end settles and records the request, and gives back what the stages have taken,
// the last first. It runs also where a stage panics: nothing may stay taken for that.
func (v *visit) end() {
	if !v.returned {
		v.result.Status, v.result.Outcome, v.result.Aborted = http.StatusInternalServerError, refusal.Internal.String(), true
	}
	if v.settle != nil {
		v.settle(&v.result)
	}
	v.record()
	for _, leave := range slices.Backward(v.leave) {
		leave()
	}
	v.hold.Release()
	if v.result.Aborted {
		// What the client got is not complete: the connection ends here, so that
		// it cannot be taken for complete.
		v.client.Abort()
	}
}
