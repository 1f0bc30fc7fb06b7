package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lineBytes is what a line is expected to take: a queue of n lines never
	// holds more than n × lineBytes, however long single lines are.
	lineBytes = 2048
	// keepBytes is the largest buffer that is kept for another line.
	keepBytes = 16 << 10
	// closeLimit bounds Close when its context has no end of its own.
	closeLimit = 2 * time.Second
)

// An AsyncWriter hands lines to a slow writer in another goroutine. Write never
// blocks: when the queue is full the line is dropped and counted, because a
// full disk or a stuck pipe must not slow a request down. Alert on Dropped.
//
// NewAsyncWriter starts the goroutine and Close ends it. Lines that are queued
// when the process dies without Close are lost.
type AsyncWriter struct {
	out     io.Writer
	queue   chan []byte
	limit   int64 // bytes
	held    atomic.Int64
	dropped atomic.Uint64
	failed  atomic.Uint64
	buffers sync.Pool
	done    chan struct{}

	mu     sync.RWMutex // guards closed; read-held while a line is queued, which never blocks
	closed bool
}

// NewAsyncWriter returns a writer that queues up to size lines for w.
func NewAsyncWriter(w io.Writer, size int) *AsyncWriter {
	size = max(size, 1)
	a := &AsyncWriter{
		out:   w,
		queue: make(chan []byte, size),
		limit: int64(size) * lineBytes,
		done:  make(chan struct{}),
	}
	go a.run()
	return a
}

// Write queues a copy of p, or drops it. It always reports success: a logger
// can do nothing about a failure.
func (a *AsyncWriter) Write(p []byte) (int, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		a.dropped.Add(1)
		return len(p), nil
	}
	if a.held.Add(int64(len(p))) > a.limit {
		a.held.Add(-int64(len(p)))
		a.dropped.Add(1)
		return len(p), nil
	}
	buf, _ := a.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	line := append((*buf)[:0], p...)
	select {
	case a.queue <- line:
	default:
		a.held.Add(-int64(len(p)))
		a.dropped.Add(1)
		a.recycle(line)
	}
	return len(p), nil
}

// Dropped returns how many lines were dropped because the queue was full or
// the writer closed.
func (a *AsyncWriter) Dropped() uint64 { return a.dropped.Load() }

// Failed returns how many lines the underlying writer refused.
func (a *AsyncWriter) Failed() uint64 { return a.failed.Load() }

// Close writes what is queued and ends the goroutine. It waits until ctx ends,
// and at most two seconds if ctx never does; after that the lines left are lost
// and the goroutine ends when the write it is stuck in returns. It may be
// called again.
func (a *AsyncWriter) Close(ctx context.Context) error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.queue)
	}
	a.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, closeLimit, errors.New("the writer is stuck"))
		defer cancel()
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush the log, %d lines left: %w", len(a.queue), context.Cause(ctx))
	}
}

func (a *AsyncWriter) run() {
	defer close(a.done)
	for line := range a.queue {
		if _, err := a.out.Write(line); err != nil {
			a.failed.Add(1)
		}
		a.held.Add(-int64(len(line)))
		a.recycle(line)
	}
}

func (a *AsyncWriter) recycle(line []byte) {
	if cap(line) <= keepBytes {
		a.buffers.Put(&line)
	}
}
