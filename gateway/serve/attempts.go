package serve

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/targets"
)

// attempts tries targets until the client has an answer, or nothing is left to try.
func (v *visit) attempts() error {
	v.answered = true
	v.run()
	if v.match.Operation.WebSocket {
		v.bytesIn = int(v.result.BytesIn)
	}
	if v.result.Refusal != nil {
		return v.result.Refusal
	}
	return nil
}

// run carries the exchange out. Its result is there even where something panics.
func (v *visit) run() {
	x := exchange{Exchange: v.Relay.Begin(&v.call, v.client), call: &v.call}
	defer func() {
		x.End()
		v.result = x.Result
	}()
	v.try(x)
}

// try is the loop of attempts, of a plain call, a stream and a session alike.
func (v *visit) try(x exchange) {
	ctx, cancel := context.WithTimeoutCause(v.call.Context, v.call.Route.Total, relay.ErrTotal)
	defer cancel()
	rng := v.random.Get().(*rand.Rand)
	defer v.random.Put(rng)

	sel := v.Registry.Begin(v.demand(x.Started()))
	for {
		ticket, ok := sel.Next(time.Now(), rng)
		if !ok {
			if wait, may := sel.Wait(time.Now()); may && awaitTurn(ctx, wait) {
				continue
			}
			x.nothingLeft(ctx, sel.Verdict(time.Now()))
			return
		}
		o := x.observed(ctx, &ticket)
		if o.Kind == targets.IdentityRefused {
			v.Rejected(ticket.Target)
		}
		switch {
		case x.Settled():
			return
		case x.ended(ctx, o):
			x.finish(ctx, o)
			return
		case x.Spent() || !sel.MayRetry(time.Now(), o):
			x.last(ctx, &sel, o)
			return
		}
	}
}

// observed makes one attempt, and tells the target how it ended. What panics is a
// fault of our own, and the target must not stay taken for it.
func (x exchange) observed(ctx context.Context, t *targets.Ticket) targets.Outcome {
	o := targets.Outcome{Kind: targets.LocalFault}
	defer func() { t.Observe(time.Now(), o) }()
	o = x.Try(ctx, t)
	return o
}

// demand is what the choice of targets has to know of the call.
func (v *visit) demand(start time.Time) targets.Request {
	c := &v.call
	rules, ok := v.snapshot.Stamp(v.Region)
	if !ok {
		rules = &policy.StampRules{Region: v.Region}
	}
	return targets.Request{
		Route: c.Route, Stamp: rules, Region: v.Region, Client: v.caller.Name, Backend: v.backend,
		Stateless: c.Stateless, Deadline: start.Add(c.Route.Total), Operation: c.Match.Operation.Name,
		Tokens: v.tokens, Stream: c.Stream,
	}
}

// awaitTurn waits for the request's turn to repeat, and reports whether its client
// and its time are still there.
func awaitTurn(ctx context.Context, w targets.Wait) bool {
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

// An exchange is what an exchange of relay becomes when its attempts have ended.
type exchange struct {
	*relay.Exchange

	call *relay.Call
}

// ended reports whether the last outcome is the call's: bytes have gone to the
// client, the backend's answer is final, or the time or the client is gone.
func (x exchange) ended(ctx context.Context, o targets.Outcome) bool {
	return x.Committed() || o.Kind.Final() || ctx.Err() != nil ||
		time.Since(x.Started()) >= x.call.Route.Total // the context may be told a moment later
}

// last ends a call of which no other attempt may follow. Where all that came were
// refusals that cost nothing, no target is left; else the last one failed.
func (x exchange) last(ctx context.Context, sel *targets.Selection, o targets.Outcome) {
	if o.Kind.Free() && x.Failure() == nil {
		x.nothingLeft(ctx, sel.Verdict(time.Now()))
		return
	}
	x.finish(ctx, o)
}

// finish turns the last outcome into the result of the call.
func (x exchange) finish(ctx context.Context, o targets.Outcome) {
	switch {
	case x.Committed() && o.Kind == targets.Success:
		x.Outcome = relay.OutcomeOK
		return
	case x.Committed() && o.Kind == targets.Rejected:
		x.Outcome = relay.OutcomeRejected
		return
	}
	cause, cut := x.Cut()
	if !cut {
		cause = causeOf(ctx, o)
	}
	x.Outcome = cause.Reply().Result()
	switch {
	case cause == refusal.ClientGone:
		x.Aborted = true
	case x.Committed():
		x.Aborted = true
		if !cut {
			x.Outcome = relay.OutcomeBrokenOff
		}
	default:
		x.Refuse(refusal.New(cause))
	}
}

// causeOf says why the last attempt leaves the client without an answer.
func causeOf(ctx context.Context, o targets.Outcome) refusal.Cause {
	switch {
	case o.Kind == targets.Canceled:
		return refusal.ClientGone
	case o.Kind == targets.LocalFault:
		return refusal.LacksResources
	case errors.Is(context.Cause(ctx), relay.ErrTotal), o.Kind == targets.OutOfTime, o.Kind == targets.FirstByteTimeout:
		return refusal.UpstreamTimeout
	}
	return refusal.UpstreamFailed
}

// nothingLeft answers when no target can be picked (any more).
func (x exchange) nothingLeft(ctx context.Context, v targets.Verdict) {
	refuse := func(c refusal.Cause, after time.Duration) {
		x.Outcome = c.Reply().Result()
		x.Refuse(&refusal.Error{Cause: c, After: after})
	}
	switch failure := x.Failure(); {
	case x.call.Context.Err() != nil: // the client left, the gateway ends, or a policy ended the call, while it waited
		x.finish(ctx, targets.Outcome{Kind: targets.Canceled})
	case ctx.Err() != nil:
		x.finish(ctx, targets.Outcome{Kind: targets.OutOfTime})
	case failure != nil && v.Unpaid:
		x.finish(ctx, *failure)
	case v.AllThrottled:
		refuse(refusal.Throttled, v.RetryAfter)
	case v.AllRetired:
		refuse(refusal.ModelRetired, 0)
	case failure != nil:
		x.finish(ctx, *failure)
	default:
		refuse(refusal.NoBackend, max(v.RetryAfter, time.Second))
	}
}
