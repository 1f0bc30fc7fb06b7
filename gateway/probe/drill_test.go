package probe_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/geo"
)

const (
	sweden = geo.RegionID("swedencentral")
	west   = geo.RegionID("westeurope")
)

// P8 without traffic: a region that dies idle shows within 12 s, one that comes
// back within 15 s, at every phase of the prober and in every way of being dead.
func TestARegionThatDiesIdleShowsWithin12SecondsAndItsReturnWithin15(t *testing.T) {
	for name, way := range map[string]int32{"refused": refused, "silent": silent, "failing": failing} {
		var fell, rose time.Duration
		for phase := range 20 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, sweden)
				defer w.close()
				g := w.gates[sweden]
				time.Sleep(30*time.Second + time.Duration(phase)*263*time.Millisecond)
				if g.code() != http.StatusOK || g.flips.Load() != 0 {
					t.Errorf("%s: %d, %d flips while all was well", name, g.code(), g.flips.Load())
				}
				w.set(sweden, way)
				down := g.until(http.StatusServiceUnavailable, time.Minute)
				time.Sleep(2 * time.Minute)
				if g.code() != http.StatusServiceUnavailable || g.rises.Load() != 0 {
					t.Errorf("%s: %d, %d rises with everything dead", name, g.code(), g.rises.Load())
				}
				time.Sleep(time.Duration(phase) * 263 * time.Millisecond)
				w.set(sweden, up)
				back := g.until(http.StatusOK, time.Minute)
				if down < 0 || down > 12*time.Second || back < 0 || back > 15*time.Second {
					t.Errorf("%s, phase %d: 503 after %v, 200 after %v", name, phase, down, back)
				}
				fell, rose = max(fell, down), max(rose, back)
			})
		}
		t.Logf("%s: 503 at most %v after a region died idle, 200 at most %v after it came back", name, fell, rose)
	}
}

// A region that dies just after a client's last call is found out when it has
// been idle for 10 s; how long a short outage lasts beyond its end is printed.
func TestARegionThatDiesRightAfterACall(t *testing.T) {
	for name, way := range map[string]int32{"refused": refused, "silent": silent} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, sweden)
			defer w.close()
			g, c, rng := w.gates[sweden], &client{}, rand.New(rand.NewPCG(1, 2))
			time.Sleep(30 * time.Second)
			for range 4 { // one on each backend at least, most likely
				g.call(c, "payroll", rng)
			}
			w.set(sweden, way)
			down := g.until(http.StatusServiceUnavailable, time.Minute)
			w.set(sweden, up)
			back := g.until(http.StatusOK, 2*time.Minute)
			t.Logf("%s: 503 after %v; back at once, 200 after %v", name, down, back)
			if down < 0 || down > 18*time.Second || back < 0 || back > 50*time.Second {
				t.Errorf("%s: 503 after %v, 200 after %v", name, down, back)
			}
		})
	}
}

// A client that follows health while everything is dead learns it once: before,
// half-open targets counted as available, and it sent 544 requests in two minutes,
// of which 544 failed, over 39 flips.
func TestEverythingDeadAndAClientThatFollowsHealth(t *testing.T) {
	for name, way := range map[string]int32{"refused": refused, "silent": silent, "failing": failing} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, sweden)
			defer w.close()
			g, c, rng := w.gates[sweden], &client{}, rand.New(rand.NewPCG(1, 2))
			w.followFor(g, c, rng, 30*time.Second)
			w.set(sweden, way)
			*c = client{}
			w.followFor(g, c, rng, 10*time.Minute)
			t.Logf("%s: %d requests sent in ten minutes, %d failed; %d flips, %d rises", name, c.sent, c.failed, g.flips.Load(), g.rises.Load())
			if g.rises.Load() > 1 {
				t.Errorf("%s: %d rises", name, g.rises.Load())
			}
			if g.code() != http.StatusServiceUnavailable {
				t.Errorf("%s: %d with everything dead", name, g.code())
			}
		})
	}
}

// followFor has two clients call, five times a second together, while health
// says 200.
func (w *world) followFor(g *gateway, c *client, rng *rand.Rand, d time.Duration) {
	for end, n := time.Now().Add(d), 0; time.Now().Before(end); n++ {
		if g.code() == http.StatusOK {
			g.call(c, fmt.Sprint("client-", n%2), rng)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// A backend that flaps flips the published answer at most twice in ten minutes.
func TestAFlappingBackendFlipsAtMostTwice(t *testing.T) {
	for _, way := range []int32{refused, silent} {
		for _, traffic := range []bool{false, true} {
			for _, seconds := range []int{1, 2, 3, 5, 7, 10, 12, 15, 17, 20, 30, 45, 60, 90, 120, 200} {
				half := time.Duration(seconds) * time.Second
				flips := flap(t, way, traffic, half)
				t.Logf("up and down for %v each, silent %v, a client that follows health %v: %d flips in 10 minutes", half, way == silent, traffic, flips)
				if flips > 2 && half <= 20*time.Second {
					t.Errorf("half-periods of %v, traffic %v: %d flips", half, traffic, flips)
				}
			}
		}
	}
}

func flap(t *testing.T, way int32, traffic bool, half time.Duration) (flips int32) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, sweden)
		defer w.close()
		g, c, rng := w.gates[sweden], &client{}, rand.New(rand.NewPCG(1, 2))
		time.Sleep(time.Minute)
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			for _, state := range []int32{way, up} {
				w.set(sweden, state)
				if traffic {
					w.followFor(g, c, rng, half)
				} else {
					time.Sleep(half)
				}
			}
		}
		flips = g.flips.Load()
	})
	return flips
}

// Two regions without a call for an hour: neither answer moves. One dies: the
// other stands.
func TestRegionsNeverFailTogetherForLackOfTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, sweden, west)
		defer w.close()
		a, b := w.gates[sweden], w.gates[west]
		time.Sleep(time.Hour)
		if n := a.flips.Load() + b.flips.Load(); n != 0 || a.code() != 200 || b.code() != 200 {
			t.Errorf("an hour without traffic: %d flips, %d and %d", n, a.code(), b.code())
		}
		w.set(sweden, silent)
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if b.code() != http.StatusOK {
				t.Fatal("the other region failed as well")
			}
		}
		if a.code() != http.StatusServiceUnavailable {
			t.Error("the dead region says that it is well")
		}
		synctest.Wait()
		t.Logf("probes in two hours, two gateways and four backends: %d answered, by outcome %v and %v", w.probes.Load(), a.counts, b.counts)
	})
}
