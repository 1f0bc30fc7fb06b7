package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"
)

// Inflight counts the work that is running, so that a drain can wait for its
// end. Add and Done cost one atomic operation each. The zero value is ready to
// use. Unlike a sync.WaitGroup it may be added to while someone waits: a
// request that arrives during the notice period is served.
type Inflight struct {
	n       atomic.Int64
	waiting atomic.Int32 // callers of Wait; Done looks at it only when n reaches zero

	mu   sync.Mutex // guards idle
	idle chan struct{}
}

// Add counts one piece of work. Each Add needs exactly one Done.
func (f *Inflight) Add() { f.n.Add(1) }

// Done counts it as ended.
func (f *Inflight) Done() {
	switch n := f.n.Add(-1); {
	case n < 0:
		panic("lifecycle: Inflight.Done was called more often than Add")
	case n == 0 && f.waiting.Load() > 0:
		f.wake()
	}
}

// Count returns how much is running.
func (f *Inflight) Count() int { return int(f.n.Load()) }

// Wait returns nil when nothing is running, or the cause of ctx's end.
func (f *Inflight) Wait(ctx context.Context) error {
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	for {
		idle := f.next()
		// Looked at after waiting was raised and the channel taken: a Done
		// that reaches zero from here on closes that channel.
		if f.n.Load() == 0 {
			return nil
		}
		select {
		case <-idle: // may be late news: look again
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next returns the channel that the next wake closes.
func (f *Inflight) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idle == nil {
		f.idle = make(chan struct{})
	}
	return f.idle
}

func (f *Inflight) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}
