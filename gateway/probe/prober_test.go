package probe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/probe"
)

// Only what is idle is probed: nothing was heard of it within 10 s by a request.
func TestOnlyIdleBackendsAreProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, sweden)
		defer w.close()
		g, c, rng := w.gates[sweden], &client{}, rand.New(rand.NewPCG(1, 2))
		w.followFor(g, c, rng, 10*time.Minute)
		if n := w.probes.Load(); n != 0 {
			t.Errorf("%d probes of backends that clients use", n)
		}
		last := time.Now()
		for w.probes.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if idle := time.Since(last); idle < 9*time.Second || idle > 11*time.Second {
			t.Errorf("the first probe %v after the last call", idle)
		}
	})
}

// Draining stops the probing, and so does the end of a policy that wants any.
func TestDrainingAndOffStopTheProbing(t *testing.T) {
	for name, setup := range map[string]struct {
		edit func(string) string
		do   func(w *world)
	}{
		"draining": {nil, func(w *world) { w.gates[sweden].draining.Store(true) }},
		"off":      {func(p string) string { return strings.ReplaceAll(p, "credential:", "probe: off, credential:") }, func(*world) {}},
		"none required": {func(p string) string {
			return strings.ReplaceAll(p, "{name: gpt-4o, model: gpt-4o, version: \"1\"}]", "{name: gpt-4o, required: false, model: gpt-4o, version: \"1\"}]")
		}, func(*world) {}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, setup.edit, sweden)
			defer w.close()
			setup.do(w)
			time.Sleep(10 * time.Minute)
			if n := w.probes.Load(); n != 0 {
				t.Errorf("%s: %d probes", name, n)
			}
			// What is not probed counts as available, as long as it was: nothing is known.
			if got := w.gates[sweden].code(); (got == 200) == (name == "draining") {
				t.Errorf("%s: health says %d", name, got)
			}
		})
	}
}

// 403, 404 and 429 prove that a backend can be reached; 401 and 5xx do not.
func TestWhichAnswersProveReachability(t *testing.T) {
	for status, want := range map[int]probe.Outcome{
		200: probe.Reached, 302: probe.Reached, 400: probe.Reached, 403: probe.Reached, 404: probe.Reached, 429: probe.Reached,
		401: probe.Unauthorized, 500: probe.ServerError, 503: probe.ServerError,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, sweden)
			defer w.close()
			w.status.Store(int32(status))
			g := w.gates[sweden]
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(g.counts) != 1 || g.counts[want] == 0 {
				t.Errorf("%d: %v, want only %s", status, g.counts, want)
			}
			if bad := g.code() != 200; bad != (want != probe.Reached) {
				t.Errorf("%d: health says %d", status, g.code())
			}
			for _, s := range g.registry.Status(time.Now()) {
				if s.Gate != 0 || s.Identity || s.Missing || s.Suspect || s.Breaker != 0 {
					t.Errorf("%d: a probe changed the target: %+v", status, s)
				}
			}
		})
	}
}

// connect opens a connection and sends nothing.
func TestConnectSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p string) string { return strings.ReplaceAll(p, "credential:", "probe: connect, credential:") }, sweden)
		defer w.close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if g := w.gates[sweden]; w.probes.Load() != 0 || g.counts[probe.Reached] < 10 {
			t.Errorf("%d requests, outcomes %v", w.probes.Load(), g.counts)
		}
		w.set(sweden, refused)
		if took := w.gates[sweden].until(503, time.Minute); took < 0 || took > 12*time.Second {
			t.Errorf("503 after %v", took)
		}
	})
}

// A crowd is a registry of many endpoints of which nothing is used.
type crowd struct {
	mu   sync.Mutex
	news map[string]int
}

func (c *crowd) Heard(policy.Key) time.Time { return time.Time{} }
func (c *crowd) SetProbed([]string)         {}
func (c *crowd) Probed(_ time.Time, keys []policy.Key, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.news[keys[0].Origin]++
}

// At most 20 probes a second, however many backends there are: the interval
// stretches, each has its turn, and a death is still confirmed at once.
func TestTwoThousandBackendsAreProbedAt20ASecondAtMost(t *testing.T) {
	s := manyBackends(t, 2000)
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{news: map[string]int{}}
		var begun, running, most, dead atomic.Int64
		var failed sync.Map
		p := probe.New(probe.Config{
			Region: sweden, Registry: c, Snapshot: func() *policy.Snapshot { return s }, IdleAfter: 10 * time.Second,
			Draining: func() bool { return false }, Count: func(probe.Outcome) {},
			Ask: func(ctx context.Context, target *policy.Target) probe.Result {
				begun.Add(1)
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				if target.Backend == "b7" && dead.Load() != 0 {
					if at, again := failed.LoadOrStore("b7", time.Now()); again {
						failed.LoadOrStore("confirmed", time.Since(at.(time.Time)))
					}
					<-ctx.Done()
					return probe.Result{Outcome: probe.NoAnswer, Text: "answer timed out"}
				}
				time.Sleep(30 * time.Millisecond)
				return probe.Result{Outcome: probe.Reached}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		time.Sleep(10*time.Second + 7*time.Millisecond) // beside the moments at which probes begin
		for range 300 {
			before := begun.Load()
			time.Sleep(time.Second)
			if n := begun.Load() - before; n > 20 {
				t.Errorf("%d probes in a second", n)
			}
		}
		c.mu.Lock()
		if len(c.news) != 2000 {
			t.Errorf("%d of 2000 had a turn in five minutes", len(c.news))
		}
		c.mu.Unlock()
		dead.Store(1)
		time.Sleep(5 * time.Minute)
		again, ok := failed.Load("confirmed")
		if !ok || again.(time.Duration) > 5*time.Second { // 2 s for the first to time out, and what is due before it
			t.Error("a failure was not confirmed")
		}
		t.Logf("2000 endpoints: %d probes in ten minutes, at most %d at once", begun.Load(), most.Load())
		cancel()
		<-done
	})
}

func manyBackends(t *testing.T, n int) *policy.Snapshot {
	t.Helper()
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE]}\nstamps: [{region: swedencentral}]\nbackends:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {name: b%d, region: swedencentral, endpoint: \"http://127.1.%d.%d\", credential: {apiKeyFile: /run/key}, "+
			"deployments: [{name: gpt-4o, model: gpt-4o, version: \"1\", sku: Standard, tokensPerMinute: 1000}]}\n", i, i/250, i%250+1)
	}
	text.WriteString("routes: [{name: gpt-4o, model: gpt-4o, version: \"1\"}]\n" +
		"clients: [{name: payroll, keys: [{sha256: " + strings.Repeat("0a", 32) + "}], routes: [gpt-4o]}]\n")
	doc, err := policy.Decode([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A new policy is followed within a second, and none means no work.
func TestThePolicyIsFollowed(t *testing.T) {
	few, more := manyBackends(t, 1), manyBackends(t, 3)
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{news: map[string]int{}}
		var current atomic.Pointer[policy.Snapshot]
		p := probe.New(probe.Config{
			Region: sweden, Registry: c, Snapshot: current.Load, IdleAfter: 10 * time.Second,
			Draining: func() bool { return false }, Count: func(probe.Outcome) {},
			Ask: func(context.Context, *policy.Target) probe.Result { return probe.Result{Outcome: probe.Reached} },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		for _, step := range []struct {
			s    *policy.Snapshot
			want int
		}{{nil, 0}, {few, 1}, {more, 3}, {few, 1}, {nil, 0}} {
			current.Store(step.s)
			time.Sleep(time.Second)
			c.mu.Lock()
			clear(c.news)
			c.mu.Unlock()
			time.Sleep(20 * time.Second)
			c.mu.Lock()
			if len(c.news) != step.want {
				t.Errorf("%d endpoints probed, want %d", len(c.news), step.want)
			}
			c.mu.Unlock()
		}
		cancel()
		<-done
	})
}
