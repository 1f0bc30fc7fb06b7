package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// A recorder notes what ran and at which second of the drain.
type recorder struct {
	start time.Time
	names []string
	at    map[string]time.Duration
}

func newRecorder() *recorder {
	return &recorder{start: time.Now(), at: map[string]time.Duration{}}
}

func (r *recorder) note(name string) {
	r.names = append(r.names, name)
	r.at[name] = time.Since(r.start)
}

func (r *recorder) step(name string) func(context.Context) error {
	return func(context.Context) error { r.note(name); return nil }
}

// steps are all steps, with streams that end by themselves after ten seconds.
func (r *recorder) steps() lifecycle.Steps {
	return lifecycle.Steps{
		Unready:       func() { r.note("unready") },
		Notice:        20 * time.Second,
		StopAccepting: r.step("stop"),
		Finish: func(ctx context.Context) error {
			r.note("finish")
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
		Timeout:     10 * time.Minute,
		Cut:         r.step("cut"),
		LeaveGossip: r.step("leave"),
		Flush:       r.step("flush"),
		Close:       r.step("close"),
	}
}

// drained runs a drain in virtual time, cut short after hurry if that is not 0.
func drained(t *testing.T, hurry time.Duration, change func(*lifecycle.Steps, *recorder)) (*recorder, error) {
	t.Helper()
	var r *recorder
	var err error
	synctest.Test(t, func(t *testing.T) {
		r = newRecorder()
		s := r.steps()
		if change != nil {
			change(&s, r)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		if hurry > 0 {
			stop := time.AfterFunc(hurry, func() { cancel(errors.New("second signal")) })
			defer stop.Stop()
		}
		err = lifecycle.Drain(ctx, s)
	})
	return r, err
}

func TestDrainTakesItsStepsInTheWrittenOrder(t *testing.T) {
	r, err := drained(t, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"unready", "stop", "finish", "leave", "flush", "close"}; !slices.Equal(r.names, want) {
		t.Errorf("took %v, want %v", r.names, want)
	}
}

func TestLine1HealthFailsAtOnce(t *testing.T) {
	r, _ := drained(t, 0, nil)
	if r.at["unready"] != 0 {
		t.Errorf("unready after %v", r.at["unready"])
	}
}

func TestLine2NoticeIsGivenInFull(t *testing.T) {
	r, _ := drained(t, 0, nil)
	if got := r.at["stop"]; got != 20*time.Second {
		t.Errorf("stopped accepting after %v, want the 20 s of notice", got)
	}
}

func TestLine3AcceptingStopsBeforeStreamsAreWaitedFor(t *testing.T) {
	refused := errors.New("listener: already closed")
	r, err := drained(t, 0, func(s *lifecycle.Steps, r *recorder) {
		s.StopAccepting = func(context.Context) error { r.note("stop"); return refused }
	})
	if slices.Index(r.names, "stop") > slices.Index(r.names, "finish") {
		t.Errorf("order %v", r.names)
	}
	// An error does not end the drain.
	if !errors.Is(err, refused) || !slices.Contains(r.names, "close") {
		t.Errorf("took %v, error %v", r.names, err)
	}
}

func TestLine4StreamsEndByThemselves(t *testing.T) {
	r, _ := drained(t, 0, nil)
	if got := r.at["leave"]; got != 30*time.Second || slices.Contains(r.names, "cut") {
		t.Errorf("left after %v (%v), want 20 s of notice and the 10 s of the stream, uncut", got, r.names)
	}
}

func TestLine4StreamsAreCutAtTheTimeout(t *testing.T) {
	r, err := drained(t, 0, func(s *lifecycle.Steps, _ *recorder) { s.Timeout = 3 * time.Second })
	if r.at["cut"] != 23*time.Second || !errors.Is(err, lifecycle.ErrLimit) {
		t.Errorf("cut after %v, error %v; want 23 s and ErrLimit", r.at["cut"], err)
	}
	if want := []string{"unready", "stop", "finish", "cut", "leave", "flush", "close"}; !slices.Equal(r.names, want) {
		t.Errorf("took %v, want %v", r.names, want)
	}
}

func TestLine5GossipIsLeftAfterTheLastStream(t *testing.T) {
	r, err := drained(t, 0, func(s *lifecycle.Steps, r *recorder) {
		s.LeaveGossip = func(ctx context.Context) error { // peers do not answer
			r.note("leave")
			<-ctx.Done()
			return context.Cause(ctx)
		}
	})
	if got := r.at["flush"] - r.at["leave"]; got != 5*time.Second {
		t.Errorf("gossip held the drain up for %v, want the step limit of 5 s", got)
	}
	if err == nil || !strings.Contains(err.Error(), "leave gossip") {
		t.Errorf("error %v does not name the step", err)
	}
}

func TestLine6FlushComesBeforeClose(t *testing.T) {
	r, _ := drained(t, 0, nil)
	if slices.Index(r.names, "flush") > slices.Index(r.names, "close") {
		t.Errorf("order %v", r.names)
	}
}

func TestLine7CloseIsBoundedThoughItIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		start := time.Now()
		err := lifecycle.Drain(t.Context(), lifecycle.Steps{
			Close:     func(context.Context) error { <-release; return nil },
			StepLimit: 2 * time.Second,
		})
		if took := time.Since(start); took > 2*time.Second+200*time.Millisecond || !errors.Is(err, lifecycle.ErrLimit) {
			t.Errorf("took %v, error %v", took, err)
		}
		close(release)
	})
}

func TestASecondSignalCutsTheDrainShort(t *testing.T) {
	for name, tc := range map[string]struct {
		hurry   time.Duration
		stopped time.Duration
		cut     time.Duration
	}{
		"during the notice":   {5 * time.Second, 5 * time.Second, 5 * time.Second},
		"while streams run":   {25 * time.Second, 20 * time.Second, 25 * time.Second},
		"a nanosecond before": {30*time.Second - time.Nanosecond, 20 * time.Second, 30*time.Second - time.Nanosecond},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := drained(t, tc.hurry, nil)
			if r.at["stop"] != tc.stopped || r.at["cut"] != tc.cut || r.at["close"] != tc.cut {
				t.Errorf("stopped at %v, cut at %v, closed at %v", r.at["stop"], r.at["cut"], r.at["close"])
			}
			if err == nil || !strings.Contains(err.Error(), "second signal") {
				t.Errorf("error %v does not say why streams were cut", err)
			}
			if want := []string{"unready", "stop", "finish", "cut", "leave", "flush", "close"}; !slices.Equal(r.names, want) {
				t.Errorf("took %v, want every step", r.names)
			}
		})
	}
}

func TestAHurriedStepGetsAFifthOfItsTime(t *testing.T) {
	r, _ := drained(t, time.Second, func(s *lifecycle.Steps, r *recorder) {
		s.LeaveGossip = func(ctx context.Context) error { r.note("leave"); <-ctx.Done(); return nil }
	})
	if got := r.at["flush"] - r.at["leave"]; got != time.Second {
		t.Errorf("the step had %v, want 1 s", got)
	}
}

func TestEachStepIsReportedWithItsTime(t *testing.T) {
	var reports []lifecycle.StepReport
	_, _ = drained(t, 0, func(s *lifecycle.Steps, _ *recorder) {
		s.Report = func(r lifecycle.StepReport) { reports = append(reports, r) }
	})
	if len(reports) != 7 || reports[1].Step != "notice" || reports[1].Took != 20*time.Second {
		t.Errorf("reports %v", reports)
	}
}

func TestADrainOfNothingEndsAtOnce(t *testing.T) {
	if err := lifecycle.Drain(t.Context(), lifecycle.Steps{}); err != nil {
		t.Error(err)
	}
}
