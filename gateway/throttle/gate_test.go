package throttle

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func after(d time.Duration) Signals { return Signals{RetryAfter: d, HasRetryAfter: true} }

func TestGateEndsExactlyAtItsTime(t *testing.T) {
	var g Gate
	if !g.Clear(noon) {
		t.Fatal("a new gate is closed")
	}
	if !g.Refuse(noon, after(20*time.Second), 0) {
		t.Error("the gate was open, and is said to have been closed")
	}
	for _, c := range []struct {
		at   time.Duration
		open bool
	}{{0, false}, {20*time.Second - 1, false}, {20 * time.Second, true}} {
		if got := g.Clear(noon.Add(c.at)); got != c.open {
			t.Errorf("%v after the refusal: open = %t", c.at, got)
		}
	}
	if got := g.OpensIn(noon.Add(19 * time.Second)); got != time.Second {
		t.Errorf("opens in %v, want 1s", got)
	}
}

func TestJitterSpreadsTheReopening(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		draw float64
		want time.Duration // beyond the wait
	}{
		{20 * time.Second, 0.5, 500 * time.Millisecond}, // at most a second
		{time.Second, 0.5, 50 * time.Millisecond},       // at most a tenth
		{20 * time.Second, 0, 0},
		{20 * time.Second, 1, 0}, // not a draw from [0, 1)
	} {
		var g Gate
		g.Refuse(noon, after(c.wait), c.draw)
		if got := g.OpensAt().Sub(noon) - c.wait; got != c.want {
			t.Errorf("wait %v, draw %v: jitter %v, want %v", c.wait, c.draw, got, c.want)
		}
		if own := g.Own(noon); own != c.wait {
			t.Errorf("published: %v, want %v without the jitter", own, c.wait)
		}
	}
}

// Gossip repeats a gate every second. Were each time another draw, all gateways
// would end up at the largest.
func TestJitterIsDrawnOnce(t *testing.T) {
	var g Gate
	g.Hold(noon, 20*time.Second, 0, 0.1)
	want := g.OpensAt()
	for i := range 15 {
		past := time.Duration(i) * time.Second
		g.Hold(noon.Add(past), 20*time.Second-past, 0, 0.9)
	}
	if !g.OpensAt().Equal(want) {
		t.Errorf("moved by %v", g.OpensAt().Sub(want))
	}
}

func TestLatestDeadlineWins(t *testing.T) {
	var g Gate
	g.Refuse(noon, after(30*time.Second), 0)
	if g.Refuse(noon.Add(time.Second), after(2*time.Second), 0) {
		t.Error("the gate was closed, and is said to have been open")
	}
	if got := g.OpensAt().Sub(noon); got != 30*time.Second {
		t.Errorf("a smaller wait moved the deadline to %v", got)
	}
	g.Refuse(noon.Add(time.Second), after(40*time.Second), 0)
	if got := g.OpensAt().Sub(noon); got != 41*time.Second {
		t.Errorf("a later deadline moved it to %v, want 41s", got)
	}
}

func TestGuessDoublesWhereNoTimeIsNamed(t *testing.T) {
	var g Gate
	now := noon
	for i, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		want := time.Duration(seconds) * time.Second
		g.Refuse(now, Signals{}, 0)
		g.Refuse(now, Signals{}, 0) // a second one of the same wave does not double
		if got := g.OpensIn(now); got != want {
			t.Fatalf("refusal %d: guess %v, want %v", i+1, got, want)
		}
		now = g.OpensAt()
	}
	if g.Succeed(now.Add(2), now.Add(1)) {
		t.Error("an open gate is said to have been opened")
	}
	g.Refuse(now.Add(3), Signals{}, 0)
	if got := g.OpensIn(now.Add(3)); got != time.Second {
		t.Errorf("after a success: %v, want 1s again", got)
	}
}

func TestResetCountsWhereNoWaitIsNamed(t *testing.T) {
	var g Gate
	g.Refuse(noon, Signals{Reset: 6 * time.Second, RemainingTokens: 0, RemainingRequests: -1, Utilization: -1}, 0)
	if got := g.OpensIn(noon); got != 6*time.Second {
		t.Errorf("got %v, want the reset's 6s", got)
	}
}

// A backend that always asks for one millisecond would be asked a thousand
// times a second.
func TestWaitsOfMillisecondsAreBelievedLessEachTime(t *testing.T) {
	var g Gate
	now := noon
	for i, ms := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 512} {
		want := time.Duration(ms) * time.Millisecond
		g.Refuse(now, after(time.Millisecond), 0)
		if got := g.OpensIn(now); got != want {
			t.Fatalf("refusal %d: %v, want %v", i+1, got, want)
		}
		now = g.OpensAt()
	}
}

func TestLongGateIsTestedAfterAMinuteAndThenEveryTwoByOneRequest(t *testing.T) {
	var g Gate
	g.Refuse(noon, after(24*time.Hour), 0)
	if g.TakeTest(noon.Add(time.Minute - 1)) {
		t.Error("tested one nanosecond early")
	}
	if !g.TakeTest(noon.Add(time.Minute)) {
		t.Error("not tested after a minute")
	}
	if g.TakeTest(noon.Add(time.Minute)) {
		t.Error("two requests test at once")
	}
	g.Refuse(noon.Add(time.Minute+1), after(time.Minute), 0)
	if got := g.OpensAt().Sub(noon); got != 24*time.Hour {
		t.Errorf("a shorter wait shortened the gate to %v", got)
	}
	if g.TakeTest(noon.Add(3*time.Minute-1)) || !g.TakeTest(noon.Add(3*time.Minute)) {
		t.Error("the second test is not at three minutes")
	}
	started := noon.Add(3 * time.Minute)
	if !g.Succeed(started.Add(time.Second), started) || !g.Clear(started.Add(time.Second)) {
		t.Error("a test that succeeded does not open the gate")
	}
}

// Those who waited for a gate come back together. What it lets through grows for
// half of the wait, within a second and ten; a success has no such effect.
func TestOpenedGateRamps(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		50 * time.Millisecond: time.Second, 8 * time.Second: 4 * time.Second, time.Hour: 10 * time.Second,
	} {
		var g Gate
		g.Refuse(noon, after(wait), 0)
		if got := g.RampEnds().Sub(g.OpensAt()); got != want {
			t.Errorf("after a wait of %v the ramp lasts %v, want %v", wait, got, want)
		}
		g.Succeed(noon.Add(2), noon.Add(1))
		if !g.RampEnds().IsZero() {
			t.Error("a gate that a success has opened ramps")
		}
	}
}

func TestShortGateIsNotTested(t *testing.T) {
	var g Gate
	g.Refuse(noon, after(2*time.Minute), 0)
	if !g.TestDue(noon).IsZero() {
		t.Error("a wait of exactly two minutes counts as long")
	}
}

func TestSuccessOfAnEarlierAttemptOpensNothing(t *testing.T) {
	var g Gate
	g.Refuse(noon, after(20*time.Second), 0)
	if g.Succeed(noon.Add(time.Second), noon.Add(-time.Minute)) || g.Clear(noon.Add(time.Second)) {
		t.Error("a long stream that ended opened the gate")
	}
	if g.Succeed(noon.Add(time.Second), noon) {
		t.Error("an attempt that began with the refused one opened the gate")
	}
}

func TestPeersGateAddsCautionOnly(t *testing.T) {
	var g Gate
	if !g.Hold(noon, 10*time.Second, 0, 0) || g.Clear(noon.Add(10*time.Second-1)) || !g.Clear(noon.Add(10*time.Second)) {
		t.Error("a peer's gate does not hold for its ten seconds")
	}
	if g.Own(noon) != 0 {
		t.Error("a peer's gate is published as our own")
	}
	g.Refuse(noon, after(30*time.Second), 0)
	if g.Hold(noon, 5*time.Second, 0, 0) || g.OpensIn(noon) != 30*time.Second {
		t.Error("a peer shortened the gate")
	}
	if own := g.Own(noon.Add(10 * time.Second)); own != 20*time.Second {
		t.Errorf("published %v, want 20s", own)
	}
}

// A peer keeps publishing a day-long gate that our own test has disproved.
func TestOwnSuccessOutweighsAPeersOlderGate(t *testing.T) {
	var g Gate
	g.Hold(noon, 24*time.Hour, time.Second, 0)
	at := noon.Add(2 * time.Minute)
	if !g.TakeTest(at) || !g.Succeed(at.Add(time.Second), at) {
		t.Fatal("the test did not open the gate")
	}
	later := at.Add(2 * time.Second)
	if g.Hold(later, 23*time.Hour, later.Sub(noon), 0) {
		t.Error("the disproved gate came back")
	}
	if !g.Hold(later, time.Minute, time.Second-1, 0) {
		t.Error("a newer gate is refused")
	}
}

func TestDeadlineNeverMovesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g Gate
		now := noon
		latest := time.Time{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Minute)).Draw(t, "pause")))
			wait := time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "wait"))
			draw := rapid.Float64Range(0, 0.999).Draw(t, "draw")
			before := g.OpensAt()
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				g.Refuse(now, after(wait), draw)
				if wait >= time.Second && latest.Before(now.Add(min(wait, MaxWait))) {
					latest = now.Add(min(wait, MaxWait))
				}
			case 1:
				g.Hold(now, wait, 0, draw)
				if wait > 0 && latest.Before(now.Add(min(wait, MaxWait))) {
					latest = now.Add(min(wait, MaxWait))
				}
			case 2:
				g.Succeed(now, noon.Add(-time.Hour))
			case 3:
				g.TakeTest(now)
			}
			if g.OpensAt().Before(before) {
				t.Fatalf("moved back from %v to %v", before, g.OpensAt())
			}
			if now.Before(latest) && g.Clear(now) {
				t.Fatalf("open at %v although a deadline at %v was named", now, latest)
			}
			if limit := now.Add(MaxWait + maxJitter); g.OpensAt().After(limit) {
				t.Fatalf("closed until %v, beyond any bound", g.OpensAt())
			}
		}
	})
}
