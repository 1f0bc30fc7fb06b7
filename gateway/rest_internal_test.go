package gateway

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/orders"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// large makes the parts of a gateway that work at rest, with a policy of so many
// backends of ten deployments each, and a route for every ten of those.
func large(tb testing.TB, backends int) *gateway {
	tb.Helper()
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE]}\nstamps: [{region: swedencentral}]\nbackends:\n")
	for b := range backends {
		fmt.Fprintf(&text, "  - {name: b%d, region: swedencentral, endpoint: \"https://b%d.openai.azure.com\", credential: {apiKeyEnv: REST_KEY}, deployments: [", b, b)
		for d := range 10 {
			fmt.Fprintf(&text, "{name: d%d, model: m%d-%d, version: \"1\", sku: Standard}, ", d, b/10, d)
		}
		text.WriteString("]}\n")
	}
	text.WriteString("routes:\n")
	for group := range (backends + 9) / 10 {
		for d := range 10 {
			fmt.Fprintf(&text, "  - {name: r%d-%d, model: m%d-%d, version: \"1\"}\n", group, d, group, d)
		}
	}
	tb.Setenv("REST_KEY", "0123456789abcdef0123456789abcdef")
	file := filepath.Join(tb.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	g := &gateway{cfg: Config{Boundary: "eu", Region: "swedencentral", Name: "g"}, log: zerolog.Nop()}
	g.registry, g.machine, g.credentials = targets.New("swedencentral"), health.NewMachine(), credential.New(credential.Config{Log: g.log})
	g.pools = upstream.New("eu", upstream.Dialer{})
	tb.Cleanup(g.pools.Close)
	g.drains = orders.New("g", "swedencentral", g.registry)
	g.follower = follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}, Prepare: g.prepare, Log: g.log,
	})
	g.watch = health.NewWatch(health.WatchConfig{
		Machine: g.machine, Registry: g.registry, Region: "swedencentral", Snapshot: g.follower.Snapshot,
		CredentialsUsable: g.credentials.Reaches, Draining: g.drains.Gateway, RegionDrained: g.drains.Region,
	})
	if err := g.follower.ReadFile(file); err != nil {
		tb.Fatal(err)
	}
	return g
}

// BenchmarkAtRest is what a gateway with 20,000 targets does when nobody calls:
// an evaluation of health twice a second, a report to gossip each second, and a
// digest each two.
func BenchmarkAtRest(b *testing.B) {
	g := large(b, 2000)
	now := time.Now()
	g.watch.Look(now)
	for name, work := range map[string]func(){
		"health": func() { now = now.Add(health.Period); g.watch.Look(now) },
		"gossip": func() { g.registry.ApplyRemote(now, nil); g.registry.Export(now) },
		"digest": func() { g.registry.Cautions(now, g.cfg.Region) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}

// A gateway at rest does nothing for its targets, however many there are: what it
// does twice a second, each second and each two allocates next to nothing, and
// looks at no target.
func TestAtRestNothingIsDone(t *testing.T) {
	g := large(t, 200)
	now := time.Now()
	tick := func() {
		now = now.Add(health.Period)
		g.evaluate(now)
	}
	gossip := func() { g.registry.ApplyRemote(now, nil); g.registry.Export(now) }
	digest := func() { g.registry.Cautions(now, g.cfg.Region) }
	for range 3 { // so that all is settled
		tick()
		gossip()
		digest()
	}
	for name, tt := range map[string]struct {
		work func()
		most float64 // allocations, for 2,000 targets on 200 routes
	}{"health": {tick, 8}, "gossip": {gossip, 0}, "digest": {digest, 0}} {
		if n := testing.AllocsPerRun(100, tt.work); n > tt.most {
			t.Errorf("%s: %v allocations at rest, want at most %v", name, n, tt.most)
		}
	}
	if s := g.machine.Summary(); s.Stamp != health.Pass || len(s.Routes) != 200 {
		t.Errorf("stamp %v with %d routes", s.Stamp, len(s.Routes))
	}
}

// P8: what happens after a rest shows at once, whatever it is, and so does its end.
func TestP8WhatHappensAfterARestShows(t *testing.T) {
	const route = "r0-0"
	all := make(map[string]bool)
	for b := range 10 {
		all[fmt.Sprintf("b%d", b)] = true
	}
	for name, tt := range map[string]struct {
		happen func(g *gateway, now time.Time)
		want   targets.Availability
		over   func(g *gateway, now time.Time) time.Time
	}{
		"drained": {
			func(g *gateway, _ time.Time) { g.registry.SetDrained(all, nil) }, targets.None,
			func(g *gateway, now time.Time) time.Time { g.registry.SetDrained(nil, nil); return now },
		},
		"unreachable": {
			func(g *gateway, now time.Time) {
				probeAll(g, now, "refused")
				probeAll(g, now.Add(time.Second), "refused")
			}, targets.None,
			func(g *gateway, now time.Time) time.Time { probeAll(g, now, ""); return now },
		},
		"throttled": {
			func(g *gateway, now time.Time) { throttleAll(g, now) }, targets.AllThrottled,
			func(_ *gateway, now time.Time) time.Time { return now.Add(time.Minute) },
		},
		"throttled, peers say": {
			func(g *gateway, now time.Time) {
				var said []targets.Report
				for t := range g.follower.Snapshot().Targets() {
					said = append(said, targets.Report{Key: t.Key, Gate: 20 * time.Second})
				}
				g.registry.ApplyRemote(now, said)
			}, targets.OwnAvailable, // peers' word covers half of a route's targets
			func(_ *gateway, now time.Time) time.Time { return now.Add(time.Minute) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := large(t, 10)
			now := time.Now()
			left := func() targets.Availability {
				now = now.Add(health.Period)
				g.evaluate(now)
				for _, r := range g.machine.Summary().Routes {
					if r.Name == route {
						return r.Availability
					}
				}
				return targets.None
			}
			for range 4 {
				if got := left(); got != targets.OwnAvailable {
					t.Fatalf("at rest: %v", got)
				}
			}
			tt.happen(g, now)
			for range 4 {
				if got := left(); got != tt.want {
					t.Errorf("afterwards: %v, want %v", got, tt.want)
				}
			}
			now = tt.over(g, now)
			for range 4 {
				if got := left(); got != targets.OwnAvailable {
					t.Errorf("when it is over: %v", got)
				}
			}
		})
	}
}

func probeAll(g *gateway, now time.Time, failure string) {
	var origins []string
	keys := map[string][]policy.Key{}
	for t := range g.follower.Snapshot().Targets() {
		if keys[t.Key.Origin] == nil {
			origins = append(origins, t.Key.Origin)
		}
		keys[t.Key.Origin] = append(keys[t.Key.Origin], t.Key)
	}
	g.registry.SetProbed(origins)
	for _, origin := range origins {
		g.registry.Probed(now, keys[origin], failure)
	}
}

func throttleAll(g *gateway, now time.Time) {
	s := g.follower.Snapshot()
	for r := range s.Routes() {
		for n := range 20 { // of several clients: one alone gates two at most
			req := targets.RequestOf(s, r, "swedencentral")
			req.Client = fmt.Sprint("client-", n)
			sel := g.registry.Begin(req)
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			for {
				ticket, ok := sel.Next(now, rng)
				if !ok {
					break
				}
				ticket.Observe(now, targets.Outcome{Kind: targets.Throttled, Signals: targets.Signals{RetryAfter: 20 * time.Second}})
			}
		}
	}
}
