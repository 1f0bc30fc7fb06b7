package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const chatPath = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"

// post sends a chat call and returns the answer, whose body the test reads.
func post(t *testing.T, g *e2e.Gateway, key, path, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("api-key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func chatBody(stream bool) string {
	return fmt.Sprintf(`{"messages":[{"role":"user","content":"Say hello."}],"stream":%t}`, stream)
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return string(text)
}

// errorCode returns the code of an error answer in Azure's shape.
func errorCode(t *testing.T, resp *http.Response) string {
	t.Helper()
	var body struct {
		Error struct {
			Code, Message, Type string
		}
	}
	text := read(t, resp)
	if err := json.Unmarshal([]byte(text), &body); err != nil || body.Error.Message == "" || body.Error.Type == "" {
		t.Fatalf("not an error in Azure's shape: %v: %s", err, text)
	}
	return body.Error.Code
}

// Replies say where and how they were served; the backend sees our credential
// and not the client's.
func TestReplyHeadersAndCredentials(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	g := s.Gateways[0]
	resp := post(t, g, s.Key, chatPath, chatBody(false))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", resp.StatusCode, read(t, resp))
	}
	for name, want := range map[string]string{
		"x-stampgate-boundary": "eu", "x-stampgate-region": "swedencentral", "x-stampgate-gateway": g.Name,
		"x-stampgate-attempts": "1", "x-stampgate-policy": "1",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if resp.Header.Get("x-request-id") == "" || resp.Header.Get("x-ms-region") == "" {
		t.Error("x-request-id or x-ms-region is missing")
	}
	records := calls(s.Sim.Instance("swedencentral-ptu"))
	if len(records) != 1 || records[0].Credential != azuresim.CredentialAPIKey {
		t.Fatalf("records = %+v, want one with our api-key", records)
	}
}

// P1: a client of another boundary is turned away before anything is sent, and
// the record of every instance shows that nothing arrived.
func TestP1ClientOfAnotherBoundary(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Regions: []geo.RegionID{"swedencentral", "westeurope"}})
	key, err := auth.NewKey("us")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{chatPath, "/openai/v1/chat/completions"} {
		resp := post(t, s.Gateways[0], key, path, `{"model":"gpt-4o","messages":[]}`)
		if code := errorCode(t, resp); resp.StatusCode != http.StatusForbidden || code != "wrong_boundary" || resp.Header.Get("x-should-retry") != "false" {
			t.Errorf("%s: status %d, code %s; want 403 wrong_boundary, not to be retried", path, resp.StatusCode, code)
		}
	}
	for _, region := range s.Options.Regions {
		for _, kind := range []string{"-ptu", "-std"} {
			if n := len(calls(s.Sim.Instance(string(region) + kind))); n != 0 {
				t.Errorf("%s%s got %d requests", region, kind, n)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	stranger, err := auth.NewKey("eu")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, key, path, body string
		status                int
		code                  string
	}{
		{"an unknown key", stranger, chatPath, chatBody(false), 401, "unauthorized"},
		{"no key", "", chatPath, chatBody(false), 401, "unauthorized"},
		{"an unknown route", s.Key, "/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21", chatBody(false), 404, "route_not_found"},
		{"an unknown operation", s.Key, "/openai/deployments/gpt-4o/nonsense?api-version=2024-10-21", chatBody(false), 404, "operation_not_found"},
		{"a body with two models", s.Key, "/openai/v1/chat/completions", `{"model":"gpt-4o","mode\u006c":"other"}`, 400, "invalid_request"},
		{"a body that is not JSON", s.Key, chatPath, `{"messages":`, 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := post(t, s.Gateways[0], tt.key, tt.path, tt.body)
			if code := errorCode(t, resp); resp.StatusCode != tt.status || code != tt.code {
				t.Errorf("status %d, code %s; want %d, %s", resp.StatusCode, code, tt.status, tt.code)
			}
			if resp.Header.Get("x-stampgate-boundary") != "eu" {
				t.Error("x-stampgate-boundary is missing")
			}
		})
	}
	if s.Arrived() != 0 {
		t.Errorf("%d requests reached a backend", s.Arrived())
	}
}

// A client that hangs up cancels the backend's work: tokens cost money.
func TestClientGoneCancelsBackend(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Latency: azuresim.Latency{PerToken: 20 * time.Millisecond, Tokens: 10_000}})
	resp := post(t, s.Gateways[0], s.Key, chatPath, chatBody(true))
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	backend := s.Sim.Instance("swedencentral-ptu")
	if backend.InFlight() != 1 {
		t.Fatalf("%d requests in flight, want 1", backend.InFlight())
	}
	_ = resp.Body.Close()
	s.Await("the backend notices", func() bool { return backend.InFlight() == 0 })
	if r := calls(backend); r[0].Outcome == azuresim.OutcomeFinished {
		t.Errorf("the backend finished its answer: %+v", r[0])
	}
}

// Streams pass as they come: the first event is there long before the last.
func TestStreamsAreNotBuffered(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Latency: azuresim.Latency{PerToken: time.Hour}})
	resp := post(t, s.Gateways[0], s.Key, chatPath, chatBody(true))
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("first line %q, %v", line, err)
	}
}

// P4, P9: a policy that is published while 50 streams run is in force on every
// gateway and breaks none of them: each gets all its events, in order.
func TestPolicyChangeUnderStreams(t *testing.T) {
	const streams, tokens = 50, 60
	s := e2e.Start(t, e2e.Options{Gateways: 3, Latency: azuresim.Latency{PerToken: 30 * time.Millisecond, Tokens: tokens}})
	type outcome struct {
		serial string
		events int
		err    error
	}
	results := make([]outcome, streams)
	begun := make(chan struct{}, streams)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			resp := post(t, s.Gateways[i%len(s.Gateways)], s.Key, chatPath, chatBody(true))
			begun <- struct{}{}
			results[i].serial = resp.Header.Get("x-stampgate-policy")
			results[i].events, results[i].err = countEvents(resp.Body)
		})
	}
	for range streams {
		<-begun
	}
	start := time.Now()
	// The new policy takes away the very backend that the streams run on.
	serial := s.Publish(strings.Replace(s.Policy, "name: swedencentral-ptu", "name: renamed-ptu", 1))
	s.AwaitPolicy(serial)
	t.Logf("in force on %d gateways %v after publishing began", len(s.Gateways), time.Since(start).Round(time.Millisecond))
	if n := s.Sim.Instance("swedencentral-ptu").InFlight(); n != streams {
		t.Errorf("%d of %d streams run while the policy changes", n, streams)
	}
	wg.Wait()
	for i, r := range results {
		// One event opens, one each for a role and a finish reason, then [DONE].
		if r.err != nil || r.events < tokens || r.serial != "1" {
			t.Errorf("stream %d: %d events under policy %s, %v", i, r.events, r.serial, r.err)
		}
	}
	resp := post(t, s.Gateways[0], s.Key, chatPath, chatBody(false))
	if got := resp.Header.Get("x-stampgate-policy"); got != fmt.Sprint(serial) {
		t.Errorf("a new request is served under policy %s, want %d", got, serial)
	}
}

// countEvents reads a stream to its end and counts its events; a stream without
// [DONE], or with an error event, is an error.
func countEvents(r io.Reader) (n int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	done := false
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			done = true
		case strings.HasPrefix(data, `{"error"`):
			return n, fmt.Errorf("error event: %s", data)
		default:
			n++
		}
	}
	if lines.Err() == nil && !done {
		return n, io.ErrUnexpectedEOF
	}
	return n, lines.Err()
}

// P3: with etcd gone requests go on, and a gateway that starts anew serves from
// its disk.
func TestP3EtcdGone(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Gateways: 2})
	s.StopControl()
	ask := func(g *e2e.Gateway) {
		t.Helper()
		if resp := post(t, g, s.Key, chatPath, chatBody(false)); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s answered %d: %s", g.Name, resp.StatusCode, read(t, resp))
		}
	}
	ask(s.Gateways[0])
	s.Gateways[1].Stop()
	s.StartGateway(s.Gateways[1])
	ask(s.Gateways[1])
	if p := s.Status(s.Gateways[1]).Policy; !p.FromDisk || p.Serial != 1 {
		t.Errorf("policy = %+v, want serial 1 from disk", p)
	}
}
