package serve_test

import (
	"fmt"
	"io"
	"math"
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

// The operator's weights rule the split on real sockets too: 8:1:1, where the heavy
// target takes three times as long, gives it 80 % of the calls, within 2 percentage
// points over a thousand; before it got 2 to 14 %.
func TestWeightsRuleWhereTheHeavyTargetIsSlower(t *testing.T) {
	var hits [3]atomic.Int64
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE]}\nstamps: [{region: swedencentral}]\nbackends:\n")
	for i, weight := range []int{8, 1, 1} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			hits[i].Add(1)
			delay := 20 * time.Millisecond
			if i == 0 {
				delay = 60 * time.Millisecond
			}
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, goodAnswer)
		}))
		t.Cleanup(s.Close)
		fmt.Fprintf(&text, "  - {name: b%d, region: swedencentral, endpoint: %q, credential: {apiKeyFile: /run/key}, deployments: "+
			"[{name: gpt-4o, model: gpt-4o, version: \"1\", sku: Standard, weight: %d}]}\n", i, s.URL, weight)
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
	r := &rig{t: t, registry: targets.New("swedencentral"), snapshot: snapshot, results: make(chan relay.Result, 10)}
	r.build(setup{})
	r.registry.Advance(snapshot)
	defer r.pools.Close()
	var wg sync.WaitGroup
	var next atomic.Int64
	const calls = 1000
	for range 25 {
		wg.Go(func() {
			for next.Add(1) <= calls {
				if res := r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody)); res.Outcome != relay.OutcomeOK {
					t.Error(res.Outcome, res.Err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("8:1:1, at 60, 20 and 20 ms: %d, %d, %d of %d", hits[0].Load(), hits[1].Load(), hits[2].Load(), calls)
	for i, want := range []float64{800, 100, 100} {
		if got := float64(hits[i].Load()); math.Abs(got-want) > 20 {
			t.Errorf("target %d: %.0f of %d calls, want %.0f ± 20", i, got, calls, want)
		}
	}
}
