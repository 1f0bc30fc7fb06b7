package lifecycle_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/lifecycle"
)

func TestWaitReturnsWhenTheLastPieceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f lifecycle.Inflight
		start := time.Now()
		for i := range 10 {
			f.Add()
			time.AfterFunc(time.Duration(i)*time.Second, f.Done)
		}
		if err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 9*time.Second || f.Count() != 0 {
			t.Errorf("waited %v, %d left", took, f.Count())
		}
	})
}

func TestWaitCountsWhatIsAddedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f lifecycle.Inflight
		f.Add()
		time.AfterFunc(time.Second, func() { f.Add(); f.Done() })
		time.AfterFunc(2*time.Second, func() { f.Add(); f.Done(); f.Done() })
		start := time.Now()
		if err := f.Wait(t.Context()); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f lifecycle.Inflight
		f.Add()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, lifecycle.ErrLimit)
		defer cancel()
		if err := f.Wait(ctx); !errors.Is(err, lifecycle.ErrLimit) || f.Count() != 1 {
			t.Errorf("%v, count %d", err, f.Count())
		}
	})
}

func TestWaitOnNothingReturnsAtOnce(t *testing.T) {
	var f lifecycle.Inflight
	if err := f.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// No wake-up may be lost, whatever the interleaving: a lost one shows as a test
// that hangs.
func TestNoWakeUpIsLost(t *testing.T) {
	for range 2000 {
		var f lifecycle.Inflight
		var wg sync.WaitGroup
		for range 1 + rand.IntN(4) {
			f.Add()
			wg.Go(f.Done)
		}
		for range 2 {
			wg.Go(func() {
				if err := f.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestOneDoneTooManyIsOurBug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var f lifecycle.Inflight
	f.Done()
}

func BenchmarkInflight(b *testing.B) {
	var f lifecycle.Inflight
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.Add()
			f.Done()
		}
	})
}
