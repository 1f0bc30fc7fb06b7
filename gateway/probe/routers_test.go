package probe_test

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A router is how Front Door or Traffic Manager probes, and what it makes of it.
type router struct {
	name     string
	interval time.Duration
	// A sample is good if the answer is 200. Healthy: at least need of the last of
	// them are good.
	of, need int
	ttl      time.Duration // of the DNS answer that clients still hold
}

// routers are the settings whose arithmetic ../health/README.md shows. Traffic Manager
// tolerates so many failures in a row and is back with one success.
func routers() []router {
	return []router{
		{"Front Door, default", 30 * time.Second, 4, 3, 0},
		{"Front Door, fast", 5 * time.Second, 4, 3, 0},
		{"Traffic Manager, default", 30 * time.Second, 4, 1, time.Minute},
		{"Traffic Manager, fast", 10 * time.Second, 1, 1, 10 * time.Second},
	}
}

// probing follows a gateway as the router does, and returns when the router last
// changed its mind to what is wanted; -1: not within the limit.
type probing struct {
	router

	samples []bool
}

func (p *probing) healthy() bool {
	good := 0
	for _, ok := range p.samples {
		if ok {
			good++
		}
	}
	return good >= p.need
}

func (p *probing) until(g *gateway, healthy bool, limit time.Duration) time.Duration {
	for began := time.Now(); time.Since(began) <= limit; time.Sleep(p.interval) {
		p.samples = append(p.samples, g.code() == http.StatusOK)
		p.samples = p.samples[max(0, len(p.samples)-p.of):]
		if p.healthy() == healthy {
			return time.Since(began)
		}
	}
	return -1
}

// When each router takes a region out that died without a call, and puts it back,
// over all phases of its probes: printed. Both must happen.
func TestWhenRoutersMoveTrafficFromARegionThatDiesIdle(t *testing.T) {
	for _, r := range routers() {
		var out, back []time.Duration
		for phase := range 10 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, sweden, west)
				defer w.close()
				g := w.gates[sweden]
				p := &probing{router: r, samples: slices.Repeat([]bool{true}, r.of)}
				time.Sleep(time.Minute)
				w.set(sweden, silent)
				offset := r.interval * time.Duration(phase) / 10
				time.Sleep(offset)
				took := p.until(g, false, 10*time.Minute)
				if took < 0 {
					t.Fatalf("%s never took the region out", r.name)
				}
				out = append(out, offset+took+r.ttl)
				time.Sleep(2 * time.Minute)
				p.samples = make([]bool, r.of)
				w.set(sweden, up)
				time.Sleep(offset)
				if took = p.until(g, true, 10*time.Minute); took < 0 {
					t.Fatalf("%s never put the region back", r.name)
				}
				back = append(back, offset+took+r.ttl)
				if w.gates[west].flips.Load() != 0 {
					t.Error("the other region's answer moved")
				}
			})
		}
		// The time of the gateway's own answer, the samples it takes, and the DNS.
		bad := r.of - r.need + 1
		limit := 12*time.Second + time.Duration(bad)*r.interval + r.ttl
		if most := slices.Max(out); most > limit {
			t.Errorf("%s took the region out after %v, want at most %v", r.name, most, limit)
		}
		t.Logf("%s: out after %v to %v, back after %v to %v", r.name, slices.Min(out).Round(time.Second), slices.Max(out).Round(time.Second),
			slices.Min(back).Round(time.Second), slices.Max(back).Round(time.Second))
	}
}
