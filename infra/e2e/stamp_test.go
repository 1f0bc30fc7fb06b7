package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// pace is how long a caller of traffic waits between two calls.
const pace = 10 * time.Millisecond

// Traffic is callers that make one plain call after another, each at its own
// gateway and with the keys in turn.
type traffic struct {
	stop  chan struct{}
	wg    sync.WaitGroup
	calls atomic.Int64
	mu    sync.Mutex // guards wrong
	wrong []string   // answers that were not 200
}

// startTraffic starts one caller for each gateway.
func startTraffic(t testing.TB, s *e2e.Stack, all ...*e2e.Gateway) *traffic {
	t.Helper()
	tr := &traffic{stop: make(chan struct{})}
	keys := make([]string, 0, len(s.Keys))
	for _, k := range s.Keys {
		keys = append(keys, k)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: e2e.Limit}
	t.Cleanup(client.CloseIdleConnections)
	for _, g := range all {
		tr.wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-tr.stop:
					return
				case <-tick.C:
				}
				if text := callOnce(client, g, keys[n%len(keys)]); text != "" {
					tr.mu.Lock()
					tr.wrong = append(tr.wrong, g.Name+": "+text)
					tr.mu.Unlock()
				}
				tr.calls.Add(1)
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

// callOnce makes a plain call and says what was wrong with its answer.
func callOnce(client *http.Client, g *e2e.Gateway, key string) string {
	req, err := http.NewRequest(http.MethodPost, g.URL+chatPath, strings.NewReader(chatBody(false)))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("api-key", key)
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Sprintf("status %d, %v: %s", resp.StatusCode, err, text)
	}
	return ""
}

func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.wg.Wait()
}

// more waits for n more calls.
func (tr *traffic) more(s *e2e.Stack, n int64) {
	s.T.Helper()
	before := tr.calls.Load()
	s.Await(fmt.Sprintf("%d more calls", n), func() bool { return tr.calls.Load() >= before+n })
}

// wantAllServed ends the traffic and fails the test if a call was not served.
func (tr *traffic) wantAllServed(t *testing.T) {
	t.Helper()
	tr.end()
	if len(tr.wrong) > 0 {
		t.Errorf("%d of %d calls were not served; the first: %s", len(tr.wrong), tr.calls.Load(), strings.Join(tr.wrong[:min(3, len(tr.wrong))], "; "))
	}
}

// target returns what a gateway says of a target of chat calls.
func target(s *e2e.Stack, g *e2e.Gateway, backend string) targets.Status {
	s.T.Helper()
	for _, ts := range s.Status(g).Targets {
		if ts.Backend == backend && ts.Deployment == "gpt-4o" {
			return ts
		}
	}
	s.T.Fatalf("%s has no target on %s", g.Name, backend)
	return targets.Status{}
}

// setFault has an instance misbehave.
func setFault(t testing.TB, s *e2e.Stack, instance string, f ...azuresim.Fault) {
	t.Helper()
	if err := s.Sim.Instance(instance).SetFault(f...); err != nil {
		t.Fatal(err)
	}
}

func after(records []azuresim.Record, from time.Time) (out []azuresim.Record) {
	for _, r := range records {
		if r.Start.After(from) {
			out = append(out, r)
		}
	}
	return out
}
