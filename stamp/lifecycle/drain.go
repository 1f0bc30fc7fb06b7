package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrDraining is the cause to cancel a stream or WebSocket with when it is cut
// because the process ends; whoever serves it then ends it honestly (WebSocket
// close 1001, an error event and the end of an SSE stream).
var ErrDraining = errors.New("the gateway is draining")

// Steps is what a drain does, in the order of the fields. A nil step is left
// out. The contexts are bounded: a step that ignores its own is left behind.
type Steps struct {
	// Unready makes the readiness and the stamp health fail at once, tells the
	// service manager, and has answers on kept-alive connections say
	// Connection: close, so that callers move on by themselves. It must not block.
	Unready func()
	// Notice is how long balancers are given to see it; new work is still taken.
	Notice time.Duration
	// StopAccepting closes the listeners and idle connections, and returns
	// without waiting for requests in flight.
	StopAccepting func(context.Context) error
	// Finish waits until nothing is in flight, or its context ends: after
	// Timeout, or when the drain is cut short.
	Finish  func(context.Context) error
	Timeout time.Duration
	// Cut ends what Finish left: WebSockets are closed with 1001, streams get
	// their closing error event. It is called only if Finish returned an error.
	Cut func(context.Context) error
	// LeaveGossip says goodbye, so that peers need not find out.
	LeaveGossip func(context.Context) error
	// Flush writes out logs and counts.
	Flush func(context.Context) error
	// Close closes clients and stores, and the servers for good.
	Close func(context.Context) error

	// StepLimit bounds StopAccepting, Cut and each step after it; 5 s if zero,
	// and a fifth of that once the drain was cut short.
	StepLimit time.Duration
	// Report, if set, is told of each step when it ends.
	Report func(StepReport)
}

// A StepReport says how a step of a drain went.
type StepReport struct {
	Step string
	Took time.Duration
	Err  error
}

// defaultStepLimit is longer than memberlist's leave and etcd's revoke take
// when the other side answers.
const defaultStepLimit = 5 * time.Second

// Drain takes no new work, finishes what runs, and closes. It returns when all
// steps have ended, with their errors joined. When ctx ends, on a second signal,
// the drain is cut short: it waits for nobody any more, but every step is still
// taken.
func Drain(ctx context.Context, s Steps) error {
	d := &drain{Steps: s}
	d.do(ctx, "unready", d.unready)
	d.do(ctx, "notice", d.notice)
	d.do(ctx, "stop accepting", d.within(s.StopAccepting))
	d.do(ctx, "finish", d.finish)
	d.do(ctx, "leave gossip", d.within(s.LeaveGossip))
	d.do(ctx, "flush", d.within(s.Flush))
	d.do(ctx, "close", d.within(s.Close))
	return errors.Join(d.errs...)
}

type drain struct {
	Steps
	errs []error
}

// do takes one step, reports it, and keeps its error.
func (d *drain) do(ctx context.Context, name string, f func(context.Context) error) {
	start := time.Now()
	err := f(ctx)
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("drain: %s: %w", name, err))
	}
	if d.Report != nil {
		d.Report(StepReport{Step: name, Took: time.Since(start), Err: err})
	}
}

func (d *drain) unready(context.Context) error {
	if d.Unready != nil {
		d.Unready()
	}
	return nil
}

func (d *drain) notice(ctx context.Context) error {
	t := time.NewTimer(d.Notice)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// finish lets what runs come to its end, and cuts what does not.
func (d *drain) finish(ctx context.Context) error {
	if d.Finish == nil {
		return nil
	}
	wait, cancel := context.WithTimeoutCause(ctx, d.Timeout, ErrLimit)
	defer cancel()
	err := bounded(wait, d.Finish)
	if err == nil {
		return nil
	}
	return errors.Join(err, d.within(d.Cut)(ctx))
}

// within bounds a step that does not wait for clients. It outlives a second
// signal, which only shortens it.
func (d *drain) within(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if f == nil {
			return nil
		}
		limit := d.StepLimit
		if limit <= 0 {
			limit = defaultStepLimit
		}
		if ctx.Err() != nil {
			limit /= 5
		}
		step, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, ErrLimit)
		defer cancel()
		return bounded(step, f)
	}
}
