package serve_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/serve"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// A wholeSetup describes a pipeline with all its stages.
type wholeSetup struct {
	dialer  upstream.Dialer
	real    []string            // endpoints of the first backends
	limit   int64               // of the bytes that are held; 64 MiB if zero
	client  int64               // of them, by one client
	seats   int                 // sessions of a client; -1: none
	change  func(*serve.Config) // before the pipeline is made
	policy  func(string) string // changes the policy's text
	body    time.Duration       // that a body may take; a minute if zero
	without bool                // no policy is in force
	drains  bool                // the gateway is draining
}

// A whole is the pipeline as the gateway makes it, behind net/http.
type whole struct {
	t        testing.TB
	key      string // of the client payroll, which may use gpt-4o and other
	handler  http.Handler
	registry *prometheus.Registry
	targets  *targets.Registry
	inflight lifecycle.Inflight
	running  running.Set
	budget   *bytebudget.Budget
	draining atomic.Bool

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

// Write implements io.Writer for the log.
func (w *whole) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// wholePolicy has two backends for gpt-4o, of which b0 comes first, one for other
// and one for a route that payroll may not use.
func wholePolicy(endpoints []string, key string) string {
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE, US]}\nstamps: [{region: swedencentral}]\n" +
		"externalReferences: refuse\notherBoundaries: {us: \"https://us.example.com\"}\ndebugHeaders: true\nbackends:\n")
	for n := range 4 {
		endpoint := fmt.Sprintf("http://127.0.0.1:%d", n+1)
		if n < len(endpoints) {
			endpoint = endpoints[n]
		}
		fmt.Fprintf(&text, "  - {name: b%d, region: swedencentral, endpoint: %q, addresses: [], credential: {apiKeyFile: /run/key}, "+
			"deployments: [{name: dep-%d, model: gpt-4o, version: \"1\", sku: Standard, tokensPerMinute: 100000}]}\n", n, endpoint, n)
	}
	const timeouts = `model: gpt-4o, version: "1", timeouts: {connect: 1s, firstByte: 5s, idle: 5s, total: 20s}`
	fmt.Fprintf(&text, "routes:\n  - {name: gpt-4o, %s, tiers: [{targets: [b0/dep-0]}, {targets: [b1/dep-1]}]}\n", timeouts)
	fmt.Fprintf(&text, "  - {name: other, %s, tiers: [{targets: [b2/dep-2]}]}\n", timeouts)
	fmt.Fprintf(&text, "  - {name: secret, %s, tiers: [{targets: [b3/dep-3]}]}\n", timeouts)
	fmt.Fprintf(&text, "clients:\n  - {name: payroll, keys: [{sha256: %x}], routes: [gpt-4o, other]}\n", sha256.Sum256([]byte(key)))
	text.WriteString("  - {name: board, keys: [{sha256: " + strings.Repeat("0a", 32) + "}], routes: [secret]}\n")
	return text.String()
}

func newWhole(t testing.TB, s wholeSetup) *whole {
	t.Helper()
	key, err := auth.NewKey("eu")
	if err != nil {
		t.Fatal(err)
	}
	text := wholePolicy(s.real, key)
	if s.policy != nil {
		text = s.policy(text)
	}
	doc, err := policy.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	snapshot, err := policy.Compile(doc, policy.Options{Serial: 7, AllowLoopback: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	w := &whole{t: t, key: key, registry: prometheus.NewRegistry(), targets: targets.New("swedencentral")}
	w.build(s, snapshot)
	return w
}

func (w *whole) build(s wholeSetup, snapshot *policy.Snapshot) {
	orElse := func(n, otherwise int64) int64 {
		if n == 0 {
			return otherwise
		}
		return n
	}
	w.targets.Advance(snapshot)
	w.budget = bytebudget.New(orElse(s.limit, 64<<20), orElse(s.client, 64<<20))
	w.draining.Store(s.drains)
	pools := upstream.New("eu", s.dialer)
	w.t.Cleanup(pools.Close)
	cfg := serve.Config{
		Boundary: "eu", Region: geo.RegionID("swedencentral"), Name: "gw-1",
		Snapshot: func() *policy.Snapshot {
			if s.without {
				return nil
			}
			return snapshot
		},
		Auth: auth.Authenticator{Own: "eu"}, Registry: w.targets,
		Relay:    relay.New(relay.Config{Pools: pools, Credentials: secrets{}, UserAgent: "stampgate/test", SessionHold: 20 * time.Millisecond, KeepAlive: 3 * time.Second}),
		Rejected: func(*policy.Target) {}, Inflight: &w.inflight, Running: &w.running, Draining: w.draining.Load,
		WriteTimeout: time.Minute, Budget: w.budget, Sessions: edge.NewCounter[string](int(max(0, orElse(int64(s.seats), 10)))),
		Metrics: serve.NewMetrics(w.registry), Log: zerolog.New(w),
	}
	if s.change != nil {
		s.change(&cfg)
	}
	w.handler = edge.Handler(serve.New(cfg).Serve, time.Duration(orElse(int64(s.body), int64(time.Minute))))
}

// inMemory is a whole pipeline whose backends answer in memory.
func inMemory(t testing.TB, do script, s wholeSetup) (*whole, *backend) {
	t.Helper()
	var b *backend
	s.dialer, b = memory(t, do)
	return newWhole(t, s), b
}

// wellAnswered is a backend's script that answers every request.
func wellAnswered(_ int, c net.Conn) bool {
	_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
	return err == nil
}

// request is a good request of the client payroll.
func (w *whole) request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Api-Key", w.key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Request-Id", "request-of-the-client")
	return r
}

// do serves a request in memory, and returns the answer.
func (w *whole) do(r *http.Request) reply {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return reply{rec.Result(), rec.Body.String(), nil}
}

// front serves the pipeline on a real socket.
func (w *whole) front() *httptest.Server {
	s := httptest.NewServer(w.handler)
	w.t.Cleanup(s.Close)
	return s
}

// ended awaits the end of every request.
func (w *whole) ended() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := w.inflight.Wait(ctx); err != nil {
		w.t.Fatal("a request does not end")
	}
}

// lines are the log's, without the times in them.
func (w *whole) lines() []map[string]any {
	w.t.Helper()
	w.ended()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatal(err)
		}
		delete(fields, "duration_ms")
		delete(fields, "first_byte_ms")
		all = append(all, fields)
	}
	return all
}

// count is what a counter says under these labels, as name="value" in order, and
// over all labels.
func (w *whole) count(metric, labels string) (n, all float64) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			var text []string
			for _, l := range m.GetLabel() {
				text = append(text, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			all += m.GetCounter().GetValue()
			if strings.Join(text, ",") == labels {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n, all
}
