package store

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 100 * time.Millisecond
	repeatTries  = 3
)

// backoff is how long to wait before try n ≥ 1: doubling from 100 ms up to
// Timing.BackoffMax, half of it at random, so that a fleet does not come back
// in step.
func (s *Store) backoff(n int) time.Duration {
	d := min(backoffFirst<<min(n-1, 16), s.timing.BackoffMax)
	return d/2 + rand.N(d/2+1)
}

// repeat makes a call that does no harm when it takes effect twice, again if it
// fails for a reason that passes. Every try has its own time limit.
func (s *Store) repeat(ctx context.Context, call func(context.Context) error) error {
	for try := 1; ; try++ {
		err := s.limited(ctx, call)
		if err == nil || !passes(err) || try == repeatTries || !sleep(ctx, s.backoff(try)) {
			return err
		}
	}
}

func (s *Store) limited(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	return call(ctx)
}

// sleep waits, and reports false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
