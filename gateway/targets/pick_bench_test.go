package targets

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// tiersOf makes tiers of targets with weight 1: one tier for each count.
func tiersOf(counts ...int) []policy.CompiledTier {
	var tiers []policy.CompiledTier
	for i, n := range counts {
		var t policy.CompiledTier
		for j := range n {
			name := fmt.Sprintf("t%d-%d", i, j)
			t.Targets = append(t.Targets, &policy.Target{
				Key:     policy.Key{Origin: "https://" + name + ".example", Deployment: "d"},
				Backend: name, Deployment: "d", Weight: 1,
			})
		}
		tiers = append(tiers, t)
	}
	return tiers
}

func testRoute() *policy.CompiledRoute {
	return &policy.CompiledRoute{
		Name: "r", Connect: 2 * time.Second, FirstByte: 30 * time.Second, MaxAttempts: 3,
		RepeatAmbiguous: true, ProbeLongGates: true,
	}
}

const here = "swedencentral"

func BenchmarkNext(b *testing.B) {
	for _, n := range []int{2, 8, 1000} {
		for _, out := range []float64{0, 0.5, 0.95} {
			b.Run(fmt.Sprintf("targets=%d/gated=%.0f%%", n, out*100), func(b *testing.B) {
				r, route := New(""), testRoute()
				r.addPlan(route, here, tiersOf(n))
				now := time.Now()
				rng := rand.New(rand.NewPCG(1, 2))
				for _, st := range r.view.Load().states {
					if rng.Float64() < out {
						st.gate.Refuse(now, Signals{RetryAfter: time.Hour, HasRetryAfter: true}, 0)
						st.copyOut(now)
					}
				}
				req := Request{Route: route, Region: here, Client: "payroll", Stateless: true}
				b.ReportAllocs()
				for b.Loop() {
					s := r.Begin(req)
					t, ok := s.Next(now, rng)
					if ok {
						t.Observe(now, Outcome{Kind: Success, FirstByte: time.Second})
					}
				}
			})
		}
	}
}

func BenchmarkNextParallel(b *testing.B) {
	r, route := New(""), testRoute()
	r.addPlan(route, here, tiersOf(8))
	now := time.Now()
	req := Request{Route: route, Region: here, Client: "payroll", Stateless: true}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, 2))
		for pb.Next() {
			s := r.Begin(req)
			if t, ok := s.Next(now, rng); ok {
				t.Observe(now, Outcome{Kind: Success, FirstByte: time.Second})
			}
		}
	})
}
