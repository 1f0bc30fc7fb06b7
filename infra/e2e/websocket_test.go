package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const (
	datedSession = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime"
	v1Session    = "/openai/v1/realtime?model=gpt-realtime"
)

// withRealtime adds a route for sessions to the policy, under another name than
// its deployments'.
func withRealtime(text string) string {
	for before, after := range map[string]string{
		"      - {name: gpt-4o, ": "      - {name: realtime, model: gpt-realtime, version: \"2025-08-28\", sku: SKU}\n      - {name: gpt-4o, ",
		"\nroutes:\n":             "\nroutes:\n  - {name: gpt-realtime, model: gpt-realtime, version: \"2025-08-28\"}\n",
		"routes: [gpt-4o, ":       "routes: [gpt-realtime, gpt-4o, ",
	} {
		text = strings.ReplaceAll(text, before, after)
	}
	// Each backend's deployments have one SKU: the one that the next line names.
	parts := strings.Split(text, "sku: SKU}")
	for i := 1; i < len(parts); i++ {
		_, rest, _ := strings.Cut(parts[i], "sku: ")
		sku, _, _ := strings.Cut(rest, "}")
		parts[i] = "sku: " + sku + "}" + parts[i]
	}
	return strings.Join(parts, "")
}

// A shared log may be written to by every part and read by the test.
type sharedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2e.Limit)
	t.Cleanup(cancel)
	return ctx
}

func openSession(t *testing.T, g *e2e.Gateway, path, key string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	c, resp, err := websocket.Dial(limited(t), g.URL+path, &websocket.DialOptions{
		HTTPHeader: http.Header{"Api-Key": {key}}, Subprotocols: []string{"realtime", "openai-insecure-api-key." + key},
	})
	if err == nil {
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, resp, err
}

// next reads an event and returns its type and text.
func next(t *testing.T, c *websocket.Conn) (kind, text string) {
	t.Helper()
	_, message, err := c.Read(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	var event struct{ Type, Text string }
	if err := json.Unmarshal(message, &event); err != nil {
		t.Fatal(err)
	}
	return event.Type, event.Text
}

// A session runs through the gateway in both forms of its address, with our
// credential towards the backend, and one log line, which holds no key.
func TestRealtimeSession(t *testing.T) {
	var log sharedLog
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Log: &log, LogLevel: zerolog.DebugLevel})
	g, backend := s.Gateways[0], s.Sim.Instance("swedencentral-ptu")
	for n, path := range []string{datedSession + "&api-key=" + s.Key, v1Session + "&authorization=" + s.Key} {
		c, resp, err := openSession(t, g, path, s.Key)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("x-stampgate-region") != "swedencentral" || resp.Header.Get("Sec-WebSocket-Protocol") != "realtime" {
			t.Errorf("headers %v", resp.Header)
		}
		if kind, _ := next(t, c); kind != "session.created" {
			t.Errorf("first event %s", kind)
		}
		for i := range 20 {
			want := fmt.Sprintf(`{"type":"input_audio_buffer.append","audio":"%d"}`, i)
			if err := c.Write(limited(t), websocket.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got := next(t, c); got != want {
				t.Errorf("message %d came back as %s", i, got)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		s.Await("the session is recorded", func() bool { return strings.Count(log.String(), `"operation":"realtime"`) == n+1 })
		records := calls(backend)
		r := records[len(records)-1]
		if r.Deployment != "realtime" || r.Credential != azuresim.CredentialAPIKey || !r.Finished() || r.CloseCode != 1000 {
			t.Errorf("record %+v", r)
		}
	}
	if strings.Contains(log.String(), s.Key) || strings.Contains(log.String(), "key-of-") {
		t.Error("a key is in the log")
	}
	if n := strings.Count(log.String(), `"status":101,"outcome":"ok"`); n != 2 {
		t.Errorf("%d of 2 sessions are in the log as ok", n)
	}
}

// A gateway that speaks HTTP/2 serves sessions, too: a client that wants an
// upgrade agrees on HTTP/1.1.
func TestRealtimeSessionOverTLS(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, TLS: true, Configure: func(c *gateway.Config) { c.HTTP2 = true }})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, s)}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c, _, err := websocket.Dial(limited(t), s.Gateways[0].URL+v1Session, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Authorization": {"Bearer " + s.Key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if kind, _ := next(t, c); kind != "session.created" {
		t.Errorf("first event %s", kind)
	}
}

// P5: until the client's upgrade is accepted another backend may be tried.
func TestRealtimeFailsOverBeforeTheUpgrade(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime})
	if _, err := s.Sim.Instance("swedencentral-ptu").AddFault(azuresim.Fault{Kind: azuresim.FaultDown}); err != nil {
		t.Fatal(err)
	}
	c, resp, err := openSession(t, s.Gateways[0], v1Session, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("x-stampgate-attempts"); got != "2" {
		t.Errorf("%s attempts, want 2", got)
	}
	if kind, _ := next(t, c); kind != "session.created" || s.Sim.Instance("swedencentral-std").InFlight() != 1 {
		t.Errorf("first event %s", kind)
	}
}

// P1: what is refused is refused before anything is dialled.
func TestRealtimeRefusals(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime})
	foreign, err := auth.NewKey("us")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := auth.NewKey("eu")
	if err != nil {
		t.Fatal(err)
	}
	upgrade := map[string]string{
		"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
	}
	for name, tt := range map[string]struct {
		key, path string
		header    map[string]string // instead
		status    int
		code      string
	}{
		"a key of another boundary": {key: foreign, path: v1Session, status: 403, code: "wrong_boundary"},
		"an unknown key":            {key: stranger, path: datedSession, status: 401, code: "unauthorized"},
		"a key in the query alone":  {path: datedSession + "&api-key=" + s.Key, status: 401, code: "unauthorized"},
		"an unknown route":          {key: s.Key, path: "/openai/v1/realtime?model=other", status: 404, code: "route_not_found"},
		"no route":                  {key: s.Key, path: "/openai/v1/realtime", status: 400, code: "invalid_request"},
		"no upgrade":                {key: s.Key, path: v1Session, header: map[string]string{"Upgrade": "", "Connection": ""}, status: 426, code: "upgrade_required"},
		"another protocol":          {key: s.Key, path: v1Session, header: map[string]string{"Upgrade": "h2c"}, status: 426, code: "upgrade_required"},
		"an old version":            {key: s.Key, path: v1Session, header: map[string]string{"Sec-WebSocket-Version": "8"}, status: 426, code: "upgrade_required"},
		"a bad nonce":               {key: s.Key, path: v1Session, header: map[string]string{"Sec-WebSocket-Key": "c2hvcnQ="}, status: 400, code: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Gateways[0].URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range []map[string]string{upgrade, {"api-key": tt.key}, tt.header} {
				for name, value := range h {
					if req.Header.Set(name, value); value == "" {
						req.Header.Del(name)
					}
				}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if code := errorCode(t, resp); resp.StatusCode != tt.status || code != tt.code {
				t.Errorf("status %d, code %s; want %d, %s", resp.StatusCode, code, tt.status, tt.code)
			}
		})
	}
	for _, name := range []string{"swedencentral-ptu", "swedencentral-std"} {
		if n := s.Sim.Instance(name).Connections(); n != 0 {
			t.Errorf("%s was dialled %d times", name, n)
		}
	}
}

// P8: a drain waits for a session up to its timeout and then ends it in order,
// towards the client and towards the backend.
func TestDrainEndsSessionsInOrder(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Log: io.Discard, Configure: func(c *gateway.Config) {
		c.Drain.Timeout = policy.Duration(100 * time.Millisecond)
	}})
	g, backend := s.Gateways[0], s.Sim.Instance("swedencentral-ptu")
	c, _, err := openSession(t, g, v1Session, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	next(t, c)
	stopped := make(chan struct{})
	go func() { defer close(stopped); g.Stop() }()
	if _, _, err := c.Read(limited(t)); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the session ended with %v, want close code 1001", err)
	}
	<-stopped
	s.Await("the backend's side is closed", func() bool { return backend.InFlight() == 0 })
	if r := calls(backend)[0]; r.CloseCode != 1001 || !r.Finished() {
		t.Errorf("record %+v", r)
	}
}
