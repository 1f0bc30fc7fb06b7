package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/serve"
	"github.com/stampgate/stampgate/geo"
)

// ask sends a request to a front on a real socket.
func (w *whole) ask(front, method, path, body string) reply {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, front+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Api-Key", w.key)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp, string(text), err}
}

// The list of models is what the policy lets the client use, in the form of OpenAI;
// no backend is asked.
func TestModelsAreTheClientsRoutes(t *testing.T) {
	w, b := inMemory(t, wellAnswered, wholeSetup{})
	front := w.front()
	for _, path := range []string{"/openai/v1/models", "/openai/models?api-version=2024-10-21"} {
		got := w.ask(front.URL, http.MethodGet, path, "")
		var list struct {
			Object string
			Data   []map[string]any
		}
		if err := json.Unmarshal([]byte(got.text), &list); err != nil || got.StatusCode != 200 || list.Object != "list" || len(list.Data) != 2 {
			t.Fatalf("%s: status %d, %s, %v", path, got.StatusCode, got.text, err)
		}
		for n, name := range []string{"gpt-4o", "other"} {
			if m := list.Data[n]; m["id"] != name || m["object"] != "model" || m["owned_by"] != "stampgate" || m["created"] != 0.0 {
				t.Errorf("%s: model %d is %v", path, n, m)
			}
		}
	}
	for path, want := range map[string]int{
		"/openai/v1/models/other": 200, "/openai/models/gpt-4o?api-version=2024-10-21": 200,
		"/openai/v1/models/secret": 404, "/openai/v1/models/none": 404, "/openai/models/gpt-4o": 400,
	} {
		got := w.ask(front.URL, http.MethodGet, path, "")
		if got.StatusCode != want || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("X-Stampgate-Policy") != "7" {
			t.Errorf("%s: status %d, %s, %v", path, got.StatusCode, got.text, got.Header)
		}
	}
	if b.conns.Load() != 0 {
		t.Error("a backend was asked")
	}
	if line := w.lines()[0]; line["operation"] != "models" || line["outcome"] != "ok" || line["client"] != "payroll" || line["attempts"] != 0.0 {
		t.Errorf("the log has %v", line)
	}
}

// HEAD and OPTIONS are no operations: nothing is answered from a GET or a POST of
// that path, and an answer to HEAD has no body, so that its connection stays usable.
func TestHeadAndOptionsAreNoOperations(t *testing.T) {
	w, b := inMemory(t, wellAnswered, wholeSetup{})
	front := w.front()
	for _, method := range []string{http.MethodHead, http.MethodOptions} {
		for _, path := range []string{"/openai/v1/models", "/openai/v1/models/other", chatPath, v1Path, realtimePath, "/openai/v1/"} {
			got := w.ask(front.URL, method, path, "")
			if got.StatusCode != http.StatusNotFound || got.Header.Get("X-Should-Retry") != "false" || got.err != nil || got.Close {
				t.Errorf("%s %s: status %d, %v, %v", method, path, got.StatusCode, got.Header, got.err)
			}
			if want := method == http.MethodOptions; strings.Contains(got.text, "operation_not_found") != want {
				t.Errorf("%s %s: %q", method, path, got.text)
			}
		}
	}
	if b.conns.Load() != 0 {
		t.Error("a backend was asked")
	}
}

// A gateway that drains asks each client for a new connection, with whatever it
// answers.
func TestADrainingGatewayAsksForANewConnection(t *testing.T) {
	stream := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event + done
	for _, drains := range []bool{false, true} {
		w, _ := inMemory(t, func(n int, c net.Conn) bool {
			if n == 2 {
				_, _ = io.WriteString(c, stream)
				return false
			}
			return wellAnswered(n, c)
		}, wholeSetup{drains: drains})
		front := w.front()
		for _, ask := range []struct{ method, path, body string }{
			{http.MethodPost, chatPath, plainBody},
			{http.MethodPost, chatPath, chatBody},
			{http.MethodGet, "/openai/v1/models", ""},
			{http.MethodGet, "/openai/v1/nothing", ""},
		} {
			if got := w.ask(front.URL, ask.method, ask.path, ask.body); got.Close != drains {
				t.Errorf("draining %v, %s %s %s: the connection ends: %v", drains, ask.method, ask.path, ask.body, got.Close)
			}
		}
	}
}

// The targets that were tried are named where the policy says so, in their order,
// and nowhere else.
func TestTriedTargetsAreNamedIfThePolicySaysSo(t *testing.T) {
	const bad = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name   string
		debug  bool
		good   int // the request from which on the backends answer
		want   string
		status int
	}{
		{"the first serves", true, 1, "b0/dep-0", 200},
		{"the second serves", true, 2, "b0/dep-0, b1/dep-1", 200},
		{"none serves", true, 3, "b0/dep-0, b1/dep-1", 502},
		{"without the policy's word", false, 2, "", 200},
		{"without the policy's word, none serves", false, 3, "", 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := inMemory(t, func(n int, c net.Conn) bool {
				text := bad
				if n >= tt.good {
					text = answer("200 OK", jsonHeader, goodAnswer)
				}
				_, err := io.WriteString(c, text)
				return err == nil
			}, wholeSetup{policy: func(text string) string {
				if tt.debug {
					return text
				}
				return strings.Replace(text, "debugHeaders: true", "debugHeaders: false", 1)
			}})
			got := w.do(w.request(http.MethodPost, chatPath, plainBody))
			region := ""
			if tt.status == 200 {
				region = "swedencentral"
			}
			if got.StatusCode != tt.status || got.Header.Get("X-Stampgate-Target") != tt.want || got.Header.Get("X-Stampgate-Region") != region {
				t.Errorf("status %d from %q in %q", got.StatusCode, got.Header.Get("X-Stampgate-Target"), got.Header.Get("X-Stampgate-Region"))
			}
			if _, told := got.Header["X-Stampgate-Target"]; told != tt.debug {
				t.Errorf("the field is there: %v", told)
			}
		})
	}
}

// A body that does not come whole: in time, the client is told so; after that it is
// told nothing, for it has gone.
func TestABodyThatDoesNotComeWhole(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limit  time.Duration
		leaves bool
		status int
		code   string
	}{
		{"it stalls", 50 * time.Millisecond, false, 408, "request_timeout"},
		{"its client leaves", time.Minute, true, 499, "client_gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, b := inMemory(t, wellAnswered, wholeSetup{body: tt.limit, change: func(c *serve.Config) { c.Seams = mustNotRun(t) }})
			c, err := net.Dial("tcp", w.front().Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nApi-Key: %s\r\nContent-Length: 100\r\n\r\n{", chatPath, w.key)
			if tt.leaves {
				_ = c.(*net.TCPConn).CloseWrite()
			}
			if tt.leaves {
				if text, err := io.ReadAll(c); len(text) > 0 || err != nil {
					t.Errorf("a client that left got %q, %v", text, err)
				}
			} else if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != tt.status || !resp.Close {
				t.Errorf("the client got %+v, %v", resp, err)
			}
			if line := w.lines()[0]; line["status"] != float64(tt.status) || line["outcome"] != tt.code || b.conns.Load() != 0 || w.budget.Held() != 0 {
				t.Errorf("the log has %v; %d bytes are held", line, w.budget.Held())
			}
		})
	}
}

// P1: where a name server leads out of the boundary, nothing is sent, and the client
// is told that nobody inside can serve it.
func TestP1ANameThatLeadsOutOfTheBoundaryServesNobody(t *testing.T) {
	dialer, b := memory(t, wellAnswered)
	dialer.Resolver = astray{}
	r := newRig(t, setup{endpoints: []string{"https://swc.openai.azure.com"}, addresses: "[10.20.0.0/24]", dialer: dialer})
	res := r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
	if told(res).Status != http.StatusServiceUnavailable || told(res).Code != "no_backend_in_boundary" || b.conns.Load() != 0 {
		t.Errorf("result %+v, refusal %+v, %d connections", res, res.Refusal, b.conns.Load())
	}
}

// astray answers every look-up with an address that no backend has declared.
type astray struct{}

func (astray) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.20.0.4"), netip.MustParseAddr("10.30.0.4")}, nil
}

// A request that is served leaves one line in the log and one count of each kind,
// under the id that its client was told.
func TestAServedRequestIsRecorded(t *testing.T) {
	w, _ := inMemory(t, func(n int, c net.Conn) bool {
		if n == 1 {
			return says(answer("500 Internal Server Error", jsonHeader, "{}"))(n, c)
		}
		return wellAnswered(n, c)
	}, wholeSetup{})
	r := w.request(http.MethodPost, chatPath, plainBody)
	r.Header.Set("X-Request-Id", "not well-formed")
	got := w.do(r)
	id := got.Header.Get("X-Request-Id")
	if got.StatusCode != 200 || len(id) < 8 || strings.Contains(id, " ") || got.Header.Get("X-Stampgate-Attempts") != "2" {
		t.Errorf("status %d, %v", got.StatusCode, got.Header)
	}
	want := map[string]any{
		"level": "info", "message": "request", "request_id": id, "operation": "chat_completions", "status": 200.0, "outcome": "ok",
		"attempts": 2.0, "bytes_in": float64(len(plainBody)), "bytes_out": float64(len(goodAnswer)), "client": "payroll", "route": "gpt-4o",
		"stream": false, "policy": 7.0, "backend": "b1", "deployment": "dep-1", "backend_region": "swedencentral", "tier": 1.0, "passive": false,
	}
	lines := w.lines()
	if len(lines) == 1 {
		delete(lines[0], "error") // of the first attempt
	}
	if len(lines) != 1 || !reflect.DeepEqual(lines[0], want) {
		t.Errorf("the log has %v\nwant %v", lines, want)
	}
	for metric, n := range map[string]float64{
		`stampgate_requests_total code="200",operation="chat_completions",outcome="ok"`: 1,
		`stampgate_attempts_total operation="chat_completions"`:                         2,
	} {
		name, labels, _ := strings.Cut(metric, " ")
		if got, all := w.count(name, labels); got != n || all != n {
			t.Errorf("%s: %v, of %v in all", metric, got, all)
		}
	}
	if w.budget.Held() != 0 {
		t.Errorf("%d bytes are held after the end", w.budget.Held())
	}
}

// A session that finds no room does not count as one that is open.
func TestARefusedSessionGivesItsSeatBack(t *testing.T) {
	w, _ := inMemory(t, wellAnswered, wholeSetup{seats: 1, limit: 100 << 10})
	for range 3 {
		if got := w.do(upgrading(w.request(http.MethodGet, realtimePath, ""))); got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d, %s", got.StatusCode, got.text)
		}
	}
}

func TestAKeyOfAnotherBoundaryIsToldWhereThatIs(t *testing.T) {
	w, _ := inMemory(t, wellAnswered, wholeSetup{})
	for boundary, told := range map[geo.Boundary]bool{"us": true, "ch": false} {
		key, err := auth.NewKey(boundary)
		if err != nil {
			t.Fatal(err)
		}
		got := w.do(with("Api-Key", key)(w))
		if got.StatusCode != 403 || strings.Contains(got.text, "https://us.example.com") != told || strings.Contains(got.text, key) {
			t.Errorf("of %s: status %d, %s", boundary, got.StatusCode, got.text)
		}
	}
}
