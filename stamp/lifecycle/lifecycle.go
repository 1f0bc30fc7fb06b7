// Package lifecycle starts a process up and takes it down in order: a stack of
// undo steps, the drain with its seven written steps, a count of the work in
// flight, and the service manager's notifications.
//
// It knows nothing of HTTP, gossip or stores: what each step does is passed in.
// It starts no goroutine that outlives the call, apart from an undo step that
// ignores its context. Every process may use it.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrLimit is the cause given to a step that takes longer than it may.
var ErrLimit = errors.New("took longer than it may")

// A Stack holds how to undo what start-up has done. The zero value is empty and
// ready to use, by any number of goroutines.
type Stack struct {
	mu    sync.Mutex // guards steps; never held while a step runs
	steps []step
}

type step struct {
	name string
	undo func(context.Context) error
}

// Push records how to undo what was just done. Call it right after each step
// that can be undone, so that a later failure rolls back exactly what ran.
func (s *Stack) Push(name string, undo func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, undo})
}

// Unwind undoes everything, newest first, and empties the stack. All steps
// share the limit; when it has passed, the steps that are left still run, with
// a context that has ended, so that what can be closed at once is closed. A
// step that ignores its context is left behind. The caller's context has ended
// as a rule, so Unwind makes its own.
func (s *Stack) Unwind(limit time.Duration) error {
	s.mu.Lock()
	steps := s.steps
	s.steps = nil
	s.mu.Unlock()

	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, ErrLimit)
	defer cancel()
	var errs []error
	for _, st := range slices.Backward(steps) {
		if err := bounded(ctx, st.undo); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", st.name, err))
		}
	}
	return errors.Join(errs...)
}

// grace is what a step gets after its context has ended before it is left
// behind: enough for a close that does not wait for anyone.
const grace = 100 * time.Millisecond

// bounded runs f and returns soon after ctx ends, whether f heeds it or not.
func bounded(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return context.Cause(ctx)
	}
}
