package relay

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/sse"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// An Exchange is the state of one call. It is used by one goroutine.
type Exchange struct {
	// Result is how the call went so far.
	Result

	relay  *Relay
	call   *Call
	client message.Client
	start  time.Time
	early  *earlyHead // nil: the call has none
	// committed: the head of an answer has gone to the client. No other attempt
	// may follow.
	committed bool
	settled   bool // by a session: the result says how it ended
	// costly is the first failure of an attempt that a backend may have worked
	// for; it is the answer when nothing else is left to try.
	costly *targets.Outcome
}

// Begin begins an exchange. End must follow.
func (r *Relay) Begin(c *Call, client message.Client) *Exchange {
	x := &Exchange{relay: r, call: c, client: client, start: time.Now()}
	x.startEarly()
	return x
}

// End ends what the exchange still runs.
func (x *Exchange) End() { x.early.take() }

// Started is when the exchange began.
func (x *Exchange) Started() time.Time { return x.start }

// Committed reports whether the client has the head of an answer: no other attempt
// may follow.
func (x *Exchange) Committed() bool { return x.committed }

// Spent reports whether the body has gone to a backend and cannot be sent again.
func (x *Exchange) Spent() bool { return x.call.Body != nil && x.call.Body.Spent() }

// Settled reports whether the result is final, whatever the last attempt's outcome.
func (x *Exchange) Settled() bool { return x.settled }

// Failure returns the first failure of an attempt that a backend may have worked
// for; nil if there was none.
func (x *Exchange) Failure() *targets.Outcome { return x.costly }

// Try makes one attempt on the ticket's target and says how it ended. Ending ctx
// ends it.
func (x *Exchange) Try(ctx context.Context, t *targets.Ticket) targets.Outcome {
	defer x.call.Running.At(nil)
	if !x.begin(t) {
		return targets.Outcome{Kind: targets.Canceled}
	}
	a := &attempt{Exchange: x, ticket: t}
	if x.call.Match.Operation.WebSocket {
		return a.relaySession(ctx)
	}
	cancel := a.arm(ctx, x.call.Stream)
	defer cancel(nil)
	defer a.watchdog.Stop()

	o := a.run()
	x.note(o)
	return o
}

// begin notes the ticket's target as the one that is asked, and reports whether
// the policy in force lets it be.
func (x *Exchange) begin(t *targets.Ticket) bool {
	if !x.call.Running.At(t.Target) {
		return false
	}
	x.early.begun()
	x.Attempts++
	x.Target, x.Tier, x.Passive = t.Target, t.Tier, t.Passive
	if x.call.ListTargets {
		x.Targets = append(x.Targets, t.Target)
	}
	return true
}

// note keeps the first failure with which the call may end.
func (x *Exchange) note(o targets.Outcome) {
	switch o.Kind {
	case targets.ServerError, targets.FirstByteTimeout, targets.Broken, targets.GaveUp:
		if x.costly == nil && o.Sent {
			first := o // of its own, so that only a failure allocates
			x.costly = &first
		}
	default:
	}
}

// Refuse leaves the refusal to the caller, or tells a client that has the head of
// a stream by an event, after which the connection ends.
func (x *Exchange) Refuse(e *refusal.Error) {
	if x.committed {
		return
	}
	if !x.early.take() {
		x.Refusal = e
		return
	}
	x.committed, x.Status, x.Aborted = true, http.StatusOK, true
	told := e.Reply()
	_ = x.write(sse.ErrorFrame(x.call.Match.Operation.ErrorForm, told.Code, told.Message), true) // the connection ends anyway
}

// Cut returns why the call is being ended from outside: by a new policy, which is
// noted for the log, or because the gateway stops. Neither is the client's doing.
func (x *Exchange) Cut() (refusal.Cause, bool) {
	if why := x.revoked(); why != nil {
		x.Err = why
		return revocation(why), true
	}
	return refusal.Draining, errors.Is(context.Cause(x.call.Context), lifecycle.ErrDraining)
}

// revoked is why a new policy has ended the call, nil if none has.
func (x *Exchange) revoked() error {
	if x.call.Context.Err() == nil {
		return nil
	}
	return running.Ended(x.call.Context)
}

// revocation names the cause of a call that a policy ended.
func revocation(why error) refusal.Cause {
	switch {
	case errors.Is(why, running.ErrTarget):
		return refusal.BackendLeft
	case errors.Is(why, running.ErrRoute):
		return refusal.RouteRemoved
	case errors.Is(why, running.ErrGrant):
		return refusal.GrantWithdrawn
	}
	return refusal.CredentialWithdrawn
}

// write passes bytes on and counts them.
func (x *Exchange) write(p []byte, flush bool) error {
	n, err := x.send(p, flush)
	x.BytesOut += int64(n)
	return err
}

// send writes to the client. One that does not take the bytes in time is gone.
func (x *Exchange) send(p []byte, flush bool) (int, error) {
	limit := x.relay.cfg.WriteTimeout
	if x.revoked() != nil {
		limit = running.LastWords
	}
	_ = x.client.SetWriteDeadline(time.Now().Add(limit)) // in-memory clients of tests have none
	n, err := x.client.Write(p)
	if err == nil && flush {
		err = x.client.Flush()
	}
	return n, err
}

// Why an answer did not reach its client, for the log.
var (
	errClientSlow = errors.New("the client did not take a piece of its answer in time")
	errClientLeft = errors.New("the client's connection ended before it had its answer")
)

// clientGone is the outcome when the client no longer takes the answer.
func (a *attempt) clientGone(err error) targets.Outcome {
	a.Err = errClientLeft
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.Err = errClientSlow
	}
	if a.call.Context.Err() == nil {
		a.Aborted = true
	}
	return a.outcome(targets.Canceled)
}
