package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	bodies "github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
)

const (
	chatPath  = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
	plainBody = `{"messages":[{"role":"user","content":"Hello"}]}`
	chatBody  = `{"messages":[{"role":"user","content":"Hello"}],"stream":true}`
	storeBody = `{"messages":[{"role":"user","content":"Hello"}],"store":true}`

	goodAnswer = `{"choices":[{"message":{"content":"Hi"}}]}`
	event      = `data: {"choices":[{"delta":{"content":"Hi"}}]}` + "\n\n"
	prelude    = `data: {"choices":[],"prompt_filter_results":[]}` + "\n\n"
	done       = "data: [DONE]\n\n"
)

// A setup describes a proxy and its boundary. Each endpoint is a backend in a
// tier of its own, so that they are tried in the order given.
type setup struct {
	boundary  string   // default eu
	endpoints []string // https://… or http://127.…
	addresses string   // declared by each backend: a YAML list
	timeouts  string
	attempts  string
	dialer    upstream.Dialer
	keepAlive time.Duration
	hold      time.Duration // default 20 ms
	early     string        // the route's earlyHead
}

// A rig is a proxy and what a call needs of a policy.
type rig struct {
	t        testing.TB
	pools    *upstream.Pools
	pipeline *serve.Pipeline
	registry *targets.Registry
	snapshot *policy.Snapshot
	results  chan relay.Result // of the calls that came through the front
	rejected atomic.Int32      // how often our credential was said to be refused
}

// secrets is our credential towards backends.
type secrets struct{}

const ourKey = "our-own-key"

func (secrets) Apply(_ *policy.Target, h http.Header) (uint64, error) {
	h.Set("Api-Key", ourKey)
	return 1, nil
}

func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	r := &rig{t: t, registry: targets.New("swedencentral"), snapshot: compile(t, s), results: make(chan relay.Result, 1000)}
	r.build(s)
	r.registry.Advance(r.snapshot)
	t.Cleanup(r.pools.Close)
	return r
}

// build makes the parts beside the registry.
func (r *rig) build(s setup) {
	r.pools = upstream.New(r.snapshot.Boundary(), s.dialer)
	r.pipeline = serve.New(serve.Config{
		Boundary: r.snapshot.Boundary(), Region: "swedencentral", Registry: r.registry,
		Relay: relay.New(relay.Config{
			Pools: r.pools, Credentials: secrets{}, UserAgent: "stampgate/test", KeepAlive: s.keepAlive,
			SessionHold: max(s.hold, 20*time.Millisecond),
		}),
		Rejected: func(*policy.Target) { r.rejected.Add(1) },
	})
}

// compile makes a policy of the setup.
func compile(t testing.TB, s setup) *policy.Snapshot {
	t.Helper()
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	var text strings.Builder
	fmt.Fprintf(&text, "boundary: %s\nresidency: {countries: [SE, US]}\nstamps: [{region: swedencentral}]\nbackends:\n", or(s.boundary, "eu"))
	var tiers strings.Builder
	for n, endpoint := range s.endpoints {
		fmt.Fprintf(&text, "  - {name: b%d, region: swedencentral, endpoint: %q, addresses: %s, credential: {apiKeyFile: /run/key}, "+
			"deployments: [{name: gpt-4o, model: gpt-4o, version: \"1\", sku: Standard, tokensPerMinute: 1000}]}\n", n, endpoint, or(s.addresses, "[]"))
		fmt.Fprintf(&tiers, "{targets: [b%d/gpt-4o]}, ", n)
	}
	early := ""
	if s.early != "" {
		early = ", earlyHead: " + s.early
	}
	fmt.Fprintf(&text, "routes: [{name: gpt-4o, model: gpt-4o, version: \"1\", timeouts: {%s}, attempts: {%s}, tiers: [%s]%s}]\n",
		or(s.timeouts, "connect: 1s, firstByte: 5s, idle: 5s, total: 20s"), s.attempts, tiers.String(), early)
	text.WriteString("clients: [{name: payroll, keys: [{sha256: " + strings.Repeat("0a", 32) + "}], routes: [gpt-4o]}]\n")
	doc, err := policy.Decode([]byte(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	snapshot, err := policy.Compile(doc, policy.Options{Serial: 1, AllowLoopback: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	return snapshot
}

// A call is an admitted request, with the header that its client sent.
type call struct {
	serve.Admitted

	header http.Header
}

// call makes a call of an admitted request.
func (r *rig) call(ctx context.Context, h http.Header, body string) *call {
	r.t.Helper()
	u, _ := url.Parse(chatPath)
	match, err := operation.Recognise(http.MethodPost, u.EscapedPath(), u.RawQuery)
	if err != nil {
		r.t.Fatal(err)
	}
	scan, err := operation.ScanBody([]byte(body))
	if err != nil {
		r.t.Fatal(err)
	}
	route, ok := r.snapshot.Route("gpt-4o")
	if !ok {
		r.t.Fatal("no route")
	}
	return &call{header: h, Admitted: serve.Admitted{Client: "payroll", Snapshot: r.snapshot, Call: relay.Call{
		Context: ctx, Request: &message.Request{}, Match: match, Body: bodies.Memory([]byte(body)), Scan: scan, Route: route, RequestID: "request-1",
		Stateless: match.Operation.Stateless && !scan.Store.On, Stream: scan.Stream.On,
		Head: func(h message.Header, res *relay.Result) message.Header {
			return h.Add("X-Stampgate-Attempts", fmt.Sprint(res.Attempts))
		},
	}}}
}

// serve carries a call out for a client of net/http.
func (r *rig) serve(w http.ResponseWriter, c *call) (res relay.Result) {
	asked := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: c.header, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1}).WithContext(c.Context)
	edge.Handler(func(_ context.Context, client message.Client, req *message.Request) {
		c.Request = req
		res = r.pipeline.Attempt(client, &c.Admitted)
	}, time.Minute).ServeHTTP(w, asked)
	return res
}

// told is what a refused client is told; the zero reply if nothing was refused.
func told(res relay.Result) refusal.Reply {
	if res.Refusal == nil {
		return refusal.Reply{}
	}
	return res.Refusal.Reply()
}

// ServeHTTP is the little that the other stages add to the attempts.
func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	edge.Handler(func(ctx context.Context, client message.Client, req *message.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			client.Abort()
			return
		}
		c := r.call(ctx, nil, string(body))
		c.Request = req
		r.finish(client, r.pipeline.Attempt(client, &c.Admitted))
	}, time.Minute).ServeHTTP(w, req)
}

// finish answers what was refused, and notes the result.
func (r *rig) finish(client message.Client, res relay.Result) {
	r.results <- res
	if res.Refusal != nil {
		client.Begin(told(res).Status, nil)
		_, _ = client.Write([]byte(told(res).Code))
	}
	if res.Aborted {
		client.Abort()
	}
}

// front serves the rig on a real socket.
func (r *rig) front() *httptest.Server {
	s := httptest.NewServer(r)
	r.t.Cleanup(s.Close)
	return s
}

// A reply is what a client got.
type reply struct {
	*http.Response

	text string
	err  error // of reading the body
}

// post sends a request through a front on a real socket.
func (r *rig) post(front *httptest.Server, h http.Header, body string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, front.URL+chatPath, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	maps.Copy(req.Header, h)
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp, string(text), err}
}

// ask is post with a front of its own.
func (r *rig) ask(body string) reply {
	r.t.Helper()
	return r.post(r.front(), http.Header{"Content-Type": {"application/json"}}, body)
}

// A backend is written by hand, so that it can do what no HTTP server does.
type backend struct {
	url string

	conns    atomic.Int32
	requests atomic.Int32
	mu       sync.Mutex // guards last
	last     *http.Request
	lastBody string
}

func (b *backend) seen() (*http.Request, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.lastBody
}

// A script is what a backend does with the nth request, from 1 on. The connection
// ends when it returns false.
type script func(n int, c net.Conn) (goOn bool)

// says answers with fixed bytes and ends the connection.
func says(text string) script {
	return func(_ int, c net.Conn) bool { _, _ = io.WriteString(c, text); return false }
}

// newBackend listens on a real socket.
func newBackend(t *testing.T, do script) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{url: "http://" + l.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				b.serve(c, do)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return b
}

// serve reads whole requests and has the script answer.
func (b *backend) serve(c net.Conn, do script) {
	b.conns.Add(1)
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.last, b.lastBody = req, string(body)
		b.mu.Unlock()
		if !do(int(b.requests.Add(1)), c) {
			return
		}
	}
}

// answer is a complete answer in HTTP.
func answer(status, header, body string) string {
	return "HTTP/1.1 " + status + "\r\n" + header + "Content-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
}

const jsonHeader = "Content-Type: application/json\r\n"

// good is a backend that answers every request as it should.
func good(t *testing.T) *backend {
	t.Helper()
	return newBackend(t, func(_ int, c net.Conn) bool {
		_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
		return err == nil
	})
}

// refusing is an endpoint where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String()
}

// wantGood fails unless the reply is the good answer after so many attempts.
func wantGood(t *testing.T, got reply, attempts string) {
	t.Helper()
	if got.StatusCode != 200 || got.text != goodAnswer || got.err != nil || got.Header.Get("X-Stampgate-Attempts") != attempts {
		t.Errorf("status %d after %q attempts, %q, %v; want the good answer after %s",
			got.StatusCode, got.Header.Get("X-Stampgate-Attempts"), got.text, got.err, attempts)
	}
}

// memory is a network inside a synctest bubble: every dial leads to the script,
// in a goroutine of its own, which the bubble's end awaits.
func memory(t testing.TB, do script) (upstream.Dialer, *backend) {
	b := &backend{}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	return upstream.Dialer{Connect: func(context.Context, netip.AddrPort) (net.Conn, error) {
		ours, theirs := net.Pipe()
		wg.Go(func() {
			b.serve(theirs, do)
			_ = theirs.Close()
		})
		return ours, nil
	}}, b
}

// A sink is a client inside a bubble: it notes when what was written.
type sink struct {
	mu     sync.Mutex
	start  time.Time
	header http.Header
	status int
	writes []write
	fail   bool // every write fails: the client is gone
}

type write struct {
	after time.Duration
	text  string
}

func newSink() *sink { return &sink{start: time.Now(), header: http.Header{}} }

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return 0, errors.New("gone")
	}
	s.writes = append(s.writes, write{time.Since(s.start), string(p)})
	return len(p), nil
}

func (s *sink) Flush() {}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all strings.Builder
	for _, w := range s.writes {
		all.WriteString(w.text)
	}
	return all.String()
}
