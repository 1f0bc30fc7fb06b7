package health_test

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

// A clock feeds a machine, one evaluation each Period.
type clock struct {
	m   *health.Machine
	now time.Time
}

func newClock() *clock { return &clock{m: health.NewMachine(), now: epoch} }

// until evaluates the inputs for so long, and returns after how long the stamp's
// answer was what is wanted; -1: never.
func (c *clock) until(want health.Status, in health.Inputs, limit time.Duration) time.Duration {
	for began := c.now; c.now.Sub(began) <= limit; {
		c.now = c.now.Add(health.Period)
		in.Now = c.now
		c.m.Evaluate(in)
		if c.m.Summary().Stamp == want {
			return c.now.Sub(began)
		}
	}
	return -1
}

func (c *clock) hold(in health.Inputs, d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); {
		c.now = c.now.Add(health.Period)
		in.Now = c.now
		c.m.Evaluate(in)
	}
}

// After an outage of half a minute or more the stamp is back 8 s after its backends;
// after a shorter one, which may be a flap, after 40 s.
func TestTheRiseWaitsForTheHold(t *testing.T) {
	for outage, want := range map[time.Duration]time.Duration{
		5 * time.Second: 40 * time.Second, 29 * time.Second: 40 * time.Second, 30 * time.Second: 8 * time.Second, time.Hour: 8 * time.Second,
	} {
		c := newClock()
		c.m.Evaluate(well())
		c.hold(left(targets.None), outage)
		if got := c.until(health.Pass, well(), time.Hour); got != want+health.Period {
			t.Errorf("after an outage of %v it rose in %v, want %v and one period", outage, got, want)
		}
	}
}

// Good must be seen throughout: one bad look begins the hold anew.
func TestTheHoldBeginsAnewWithEachBadLook(t *testing.T) {
	c := newClock()
	c.m.Evaluate(well())
	c.hold(left(targets.None), time.Hour)
	c.hold(well(), 7*time.Second)
	c.hold(left(targets.None), health.Period) // and shows that it may flap
	if got := c.until(health.Pass, well(), time.Hour); got != 40*time.Second+health.Period {
		t.Errorf("it rose after %v", got)
	}
}

// Each fall that follows a rise within five minutes doubles the time until the
// next rise, up to five minutes; five calm minutes forgive.
func TestEachFallSoonAfterARiseDoublesTheHold(t *testing.T) {
	c := newClock()
	c.m.Evaluate(well())
	for i, seconds := range []int{8, 16, 32, 64, 128, 256, 300, 300} {
		want := time.Duration(seconds) * time.Second
		c.hold(left(targets.None), 2*time.Minute)
		if got := c.until(health.Pass, well(), time.Hour); got != want+health.Period {
			t.Errorf("rise %d after %v, want %v and a period", i, got, want)
		}
		c.hold(well(), time.Minute)
	}
	c.hold(well(), 5*time.Minute)
	c.hold(left(targets.None), 2*time.Minute)
	if got := c.until(health.Pass, well(), time.Hour); got != 8*time.Second+health.Period {
		t.Errorf("after five calm minutes: %v", got)
	}
}

// What an operator does is no flap: neither a policy nor a drain is held back by
// falls of before, nor counts as one.
func TestAPolicyAndADrainAreNoFlaps(t *testing.T) {
	flapping := func() *clock {
		c := newClock()
		c.m.Evaluate(well())
		for range 3 {
			c.hold(left(targets.None), 2*time.Minute)
			c.until(health.Pass, well(), time.Hour)
		}
		c.hold(left(targets.None), 10*time.Second)
		return c
	}
	c := flapping()
	if got := c.until(health.Pass, with(func(in *health.Inputs) { in.Policy = "another" }), time.Hour); got != 2*health.Period {
		t.Errorf("after another policy it rose in %v, want two periods", got)
	}
	for name, drain := range map[string]func(*health.Inputs){
		"gateway": func(in *health.Inputs) { in.Draining = true },
		"region":  func(in *health.Inputs) { in.RegionDrained = true },
	} {
		c := newClock()
		c.m.Evaluate(well())
		for range 5 {
			c.hold(with(drain), 10*time.Second)
			if got := c.until(health.Pass, well(), time.Hour); got != 2*health.Period {
				t.Errorf("after a drain of the %s it rose in %v, want two periods", name, got)
			}
		}
		c.hold(left(targets.None), 2*time.Minute)
		if got := c.until(health.Pass, well(), time.Hour); got != 8*time.Second+health.Period {
			t.Errorf("an outage after drains of the %s: it rose in %v", name, got)
		}
	}
}
