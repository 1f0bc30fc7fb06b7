package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

// A stuckWriter takes nothing until it is released.
type stuckWriter struct {
	release chan struct{}
	mu      sync.Mutex
	got     bytes.Buffer
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	<-w.release
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.Write(p)
}

func TestAStuckWriterBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuckWriter{release: make(chan struct{})}
		w := telemetry.NewAsyncWriter(out, 10)
		start := time.Now()
		for i := range 100 {
			if n, err := fmt.Fprintf(w, "line %d\n", i); n == 0 || err != nil {
				t.Fatal(n, err)
			}
			synctest.Wait()
		}
		if time.Since(start) != 0 {
			t.Errorf("blocked for %v", time.Since(start))
		}
		// Ten are queued and one is in the writer's hands.
		if w.Dropped() != 89 {
			t.Errorf("dropped %d of 100, want 89", w.Dropped())
		}
		err := w.Close(t.Context())
		if took := time.Since(start); err == nil || took != 2*time.Second {
			t.Errorf("Close: %v after %v, want an error after 2 s", err, took)
		}
		close(out.release)
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Count(out.got.String(), "\n"); got != 11 {
			t.Errorf("%d lines came through in the end, want 11", got)
		}
	})
}

func TestCloseFlushesInOrder(t *testing.T) {
	var out, want bytes.Buffer
	w := telemetry.NewAsyncWriter(&out, 1000)
	line := make([]byte, 0, 64)
	for i := range 1000 {
		line = fmt.Appendf(line[:0], "line %d\n", i) // the caller reuses its buffer
		want.Write(line)
		_, _ = w.Write(line)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Dropped() != 0 || out.String() != want.String() {
		t.Errorf("dropped %d, %d bytes of %d", w.Dropped(), out.Len(), want.Len())
	}
	// A line after Close is dropped and counted; it does not panic.
	_, _ = w.Write([]byte("late\n"))
	if w.Dropped() != 1 {
		t.Errorf("dropped %d, want the late line", w.Dropped())
	}
}

func TestLongLinesCannotFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuckWriter{release: make(chan struct{})}
		w := telemetry.NewAsyncWriter(out, 100)
		for range 100 {
			_, _ = w.Write(make([]byte, 50<<10))
		}
		if w.Dropped() != 96 { // 4 × 50 kB fit into 100 × 2 kB
			t.Errorf("dropped %d, want 96", w.Dropped())
		}
		close(out.release)
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestARefusedLineIsCounted(t *testing.T) {
	w := telemetry.NewAsyncWriter(brokenWriter{}, 10)
	_, _ = w.Write([]byte("x\n"))
	if err := w.Close(t.Context()); err != nil || w.Failed() != 1 {
		t.Errorf("%v, failed %d", err, w.Failed())
	}
}

func TestCloseHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuckWriter{release: make(chan struct{})}
		w := telemetry.NewAsyncWriter(out, 10)
		_, _ = w.Write([]byte("x\n"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(out.release)
	})
}

func TestManyWritersAndAClose(t *testing.T) {
	var out bytes.Buffer
	w := telemetry.NewAsyncWriter(&out, 64)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				_, _ = w.Write([]byte("line\n"))
			}
		})
	}
	wg.Go(func() {
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if got := uint64(strings.Count(out.String(), "\n")) + w.Dropped(); got != 4000 {
		t.Errorf("%d lines written or dropped, want 4000", got)
	}
}

func BenchmarkAsyncWriter(b *testing.B) {
	w := telemetry.NewAsyncWriter(discard{}, 1024)
	line := bytes.Repeat([]byte("x"), 400)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(line)
	}
	b.StopTimer()
	_ = w.Close(b.Context())
}
