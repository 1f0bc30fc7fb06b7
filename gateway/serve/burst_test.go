package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/targets"
)

// A region is three backends on real sockets. While it is down a request is held
// until all of a burst have come, or 2 s have passed, and then fails.
type region struct {
	urls  []string
	delay atomic.Int64 // of an answer, ns
	reset bool         // break off instead of answering 500
	hits  atomic.Int64
	down  atomic.Bool

	hold    int64
	held    atomic.Int64
	release chan struct{}
	once    sync.Once
}

func newRegion(t *testing.T, delay time.Duration, hold int) *region {
	g := &region{hold: int64(hold), release: make(chan struct{})}
	g.delay.Store(int64(delay))
	for range 3 {
		s := httptest.NewServer(g)
		t.Cleanup(s.Close)
		g.urls = append(g.urls, s.URL)
	}
	return g
}

func (g *region) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	g.hits.Add(1)
	if !g.down.Load() {
		select {
		case <-time.After(time.Duration(g.delay.Load())):
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, goodAnswer)
		return
	}
	if g.held.Add(1) >= g.hold {
		g.once.Do(func() { close(g.release) })
	}
	select {
	case <-g.release:
	case <-time.After(2 * time.Second):
	}
	if g.reset {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusInternalServerError)
}

// twoRegions is a boundary of an own region and a passive one.
func twoRegions(t *testing.T, own, passive *region) *policy.Snapshot {
	t.Helper()
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE, NL, IE]}\n" +
		"stamps: [{region: swedencentral, fallback: [westeurope]}, {region: westeurope, fallback: []}]\nbackends:\n")
	for name, g := range map[string]*region{"swedencentral": own, "westeurope": passive} {
		for i, u := range g.urls {
			fmt.Fprintf(&text, "  - {name: %s-%d, region: %s, endpoint: %q, credential: {apiKeyFile: /run/key}, deployments: "+
				"[{name: gpt-4o, model: gpt-4o, version: \"1\", sku: Standard, tokensPerMinute: 1000}]}\n", name, i, name, u)
		}
	}
	text.WriteString("routes: [{name: gpt-4o, model: gpt-4o, version: \"1\"}]\n" +
		"clients: [{name: payroll, keys: [{sha256: " + strings.Repeat("0a", 32) + "}], routes: [gpt-4o]}]\n")
	doc, err := policy.Decode([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := policy.Compile(doc, policy.Options{Serial: 1, AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// A burst is so many requests of ten clients at once, after so many that were
// served, while the own region begins to fail.
type burst struct {
	requests, warm int
	reset          bool
	bothDown       bool
	delay          time.Duration // of the passive region's answers
}

// A tally is what came of it.
type tally struct {
	served, failed   int
	attempts         int
	slowest          time.Duration
	atOwn, atPassive int64
	afterwards       int // of ten requests one by one, the served
}

func (b burst) run(t *testing.T) tally {
	t.Helper()
	own, passive := newRegion(t, 5*time.Millisecond, b.requests), newRegion(t, b.delay, 1)
	own.reset, passive.reset = b.reset, b.reset
	snapshot := twoRegions(t, own, passive)
	r := &rig{t: t, registry: targets.New("swedencentral"), snapshot: snapshot, results: make(chan relay.Result, 10)}
	r.build(setup{})
	r.registry.Advance(snapshot)
	defer r.pools.Close()
	do := func(i int) relay.Result {
		c := r.call(t.Context(), http.Header{}, plainBody)
		c.Client = fmt.Sprint("c", i%10)
		return r.serve(newSink(), c)
	}
	for i := range b.warm {
		if res := do(i); res.Outcome != relay.OutcomeOK {
			t.Fatalf("before the outage: %s, %v", res.Outcome, res.Err)
		}
	}
	own.down.Store(true)
	passive.down.Store(b.bothDown)
	own.hits.Store(0)
	passive.hits.Store(0)
	var sum tally
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range b.requests {
		wg.Go(func() {
			start := time.Now()
			res := do(i)
			mu.Lock()
			defer mu.Unlock()
			sum.attempts += res.Attempts
			sum.slowest = max(sum.slowest, time.Since(start))
			if res.Outcome == relay.OutcomeOK {
				sum.served++
			} else {
				sum.failed++
			}
		})
	}
	wg.Wait()
	sum.atOwn, sum.atPassive = own.hits.Load(), passive.hits.Load()
	own.once.Do(func() { close(own.release) })
	passive.delay.Store(0)
	for i := range 10 {
		if do(i).Outcome == relay.OutcomeOK {
			sum.afterwards++
		}
	}
	return sum
}

func (b burst) String() string {
	how := "500"
	if b.reset {
		how = "reset"
	}
	return fmt.Sprintf("%d requests, %d before, %s, answers of %v", b.requests, b.warm, how, b.delay)
}

// P4: all targets of the own region begin to fail with a burst in flight, and the
// passive region is well: at most 0.5 % of the requests are lost, none takes longer
// than 5 s, and the failing region is not hit by a wave of repeats.
func TestP4RegionThatFailsAsAWholeUnderABurst(t *testing.T) {
	all, lost := 0, 0
	for _, reset := range []bool{false, true} {
		for _, warm := range []int{0, 200} {
			for _, n := range []int{50, 200, 1000} {
				b := burst{requests: n, warm: warm, reset: reset, delay: 200 * time.Millisecond}
				got := b.run(t)
				t.Logf("%v: %+v", b, got)
				all, lost = all+n, lost+got.failed
				if got.slowest > raceFactor*5*time.Second {
					t.Errorf("%v: the slowest took %v", b, got.slowest)
				}
				// P6, with the three scouts for each of the three targets.
				if most := int64(1.1*float64(n)) + 9 + 10; got.atOwn > most {
					t.Errorf("%v: the failing region got %d requests, want at most %d", b, got.atOwn, most)
				}
				if got.afterwards != 10 {
					t.Errorf("%v: of ten requests afterwards %d were served", b, got.afterwards)
				}
			}
		}
	}
	t.Logf("lost %d of %d", lost, all)
	if float64(lost) > 0.005*float64(all) {
		t.Errorf("lost %d of %d requests, want at most 0.5 %%", lost, all)
	}
}

// P6: with both regions down a burst is not multiplied, and nobody waits in vain.
func TestP6BurstIsNotMultipliedWhenBothRegionsFail(t *testing.T) {
	for _, n := range []int{200, 1000} {
		b := burst{requests: n, bothDown: true, delay: 5 * time.Millisecond}
		got := b.run(t)
		t.Logf("%v: %+v", b, got)
		if most := 1.1*float64(n) + 18 + 10; float64(got.attempts) > most {
			t.Errorf("%v: %d attempts, want at most %.0f", b, got.attempts, most)
		}
	}
}
