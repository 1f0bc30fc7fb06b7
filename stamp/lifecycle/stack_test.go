package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/lifecycle"
)

func TestUnwindUndoesTheNewestFirst(t *testing.T) {
	var s lifecycle.Stack
	var order []string
	for _, name := range []string{"store", "listener", "gossip"} {
		s.Push(name, func(context.Context) error { order = append(order, name); return nil })
	}
	if err := s.Unwind(time.Second); err != nil {
		t.Fatal(err)
	}
	if want := []string{"gossip", "listener", "store"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	// A second unwinding, as by a defer after an explicit one, does nothing.
	if err := s.Unwind(time.Second); err != nil || len(order) != 3 {
		t.Errorf("undid again: %v, %v", order, err)
	}
}

func TestUnwindJoinsErrorsAndGoesOn(t *testing.T) {
	var s lifecycle.Stack
	first, second := errors.New("one"), errors.New("two")
	ran := false
	s.Push("a", func(context.Context) error { return first })
	s.Push("b", func(context.Context) error { ran = true; return nil })
	s.Push("c", func(context.Context) error { return second })
	err := s.Unwind(time.Second)
	if !errors.Is(err, first) || !errors.Is(err, second) || !ran {
		t.Errorf("got %v (b ran: %v), want both errors", err, ran)
	}
	if want := "c: two\na: one"; err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
}

func TestUnwindIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		var late error
		release := make(chan struct{})
		s.Push("quick", func(ctx context.Context) error { late = ctx.Err(); return nil })
		s.Push("deaf", func(context.Context) error { <-release; return nil })
		s.Push("obedient", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		start := time.Now()
		err := s.Unwind(3 * time.Second)
		if took := time.Since(start); took < 3*time.Second || took > 3*time.Second+300*time.Millisecond {
			t.Errorf("took %v, want the limit and two graces at most", took)
		}
		// What comes after the limit still runs, and can see that it is late.
		if late == nil {
			t.Error("the last step did not run with an ended context")
		}
		for _, name := range []string{"deaf", "obedient"} {
			if !errors.Is(err, lifecycle.ErrLimit) || !strings.Contains(err.Error(), name+": ") {
				t.Errorf("%v does not tell of %s", err, name)
			}
		}
		close(release)
	})
}

func TestPushFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		n := 0
		for i := range 50 {
			go s.Push(fmt.Sprint(i), func(context.Context) error { n++; return nil })
		}
		synctest.Wait()
		if err := s.Unwind(time.Second); err != nil || n != 50 {
			t.Errorf("undid %d of 50: %v", n, err)
		}
	})
}
