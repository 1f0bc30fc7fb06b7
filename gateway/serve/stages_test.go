package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
)

const (
	v1Path       = "/openai/v1/chat/completions"
	realtimePath = "/openai/realtime?" + realtimeQuery
	outsideBody  = `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`
)

// A refused is a request that one stage refuses, and what is said of it.
type refused struct {
	name  string
	setup wholeSetup
	ask   func(w *whole) *http.Request

	status int
	code   string
	param  string
	retry  bool           // the client may come back, and is told when
	line   map[string]any // the log's fields beside those that every line has
	bound  string         // the metric of bounds that counts it
	alone  bool           // the answer is no more than a refusal without a policy
}

// unread is a body that fails the test if anyone reads it.
type unread struct{ t testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func upgrading(r *http.Request) *http.Request {
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-Websocket-Version", "13")
	r.Header.Set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	return r
}

// with is a good request with one field of its header set, or removed.
func with(field, value string) func(*whole) *http.Request {
	return func(w *whole) *http.Request {
		r := w.request(http.MethodPost, chatPath, plainBody)
		if r.Header.Del(field); value != "" {
			r.Header.Set(field, value)
		}
		return r
	}
}

func posts(path, body string) func(*whole) *http.Request {
	return func(w *whole) *http.Request { return w.request(http.MethodPost, path, body) }
}

func upgrades(change func(*http.Request)) func(*whole) *http.Request {
	return func(w *whole) *http.Request {
		r := upgrading(w.request(http.MethodGet, realtimePath, ""))
		change(r)
		return r
	}
}

// frontDoor is a setup that takes requests of one Front Door alone.
func frontDoor() wholeSetup {
	return wholeSetup{change: func(c *serve.Config) { c.FrontDoorID = []string{"ours"} }}
}

// strangers are the requests that admit refuses.
func strangers() []refused {
	foreign, err := auth.NewKey("us")
	if err != nil {
		panic(err)
	}
	unknown, err := auth.NewKey("eu")
	if err != nil {
		panic(err)
	}
	none := map[string]any{"operation": "none", "policy": 7.0}
	at := func(name string, ask func(*whole) *http.Request, status int, code string) refused {
		return refused{name: name, ask: ask, status: status, code: code, line: none}
	}
	list := []refused{
		{
			name: "no policy", setup: wholeSetup{without: true}, ask: posts(chatPath, plainBody), alone: true,
			status: 503, code: "no_backend_in_boundary", retry: true, line: map[string]any{"operation": "none"},
		},
		at("no Front Door", with("X-Azure-Fdid", ""), 403, "front_door_required"),
		at("another Front Door", with("X-Azure-Fdid", "theirs"), 403, "front_door_required"),
		at("no key", with("Api-Key", ""), 401, "unauthorized"),
		at("no key of ours", with("Api-Key", "hello"), 401, "unauthorized"),
		at("an unknown key", with("Api-Key", unknown), 401, "unauthorized"),
		at("two keys", with("Authorization", "Bearer "+unknown), 401, "unauthorized"),
		at("another boundary's key", with("Api-Key", foreign), 403, "wrong_boundary"),
	}
	list[1].setup, list[2].setup = frontDoor(), frontDoor()
	return list
}

// malformed are the requests of a known caller that the stages operation and body
// refuse.
func malformed() []refused {
	line := func(operation string, bytesIn int) map[string]any {
		return map[string]any{"operation": operation, "client": "payroll", "policy": 7.0, "bytes_in": float64(bytesIn)}
	}
	chat := line("chat_completions", 0)
	return []refused{
		{name: "an unknown path", ask: posts("/openai/v1/chats", plainBody), status: 404, code: "operation_not_found", line: line("none", 0)},
		{name: "an operation that is not served", ask: posts("/openai/v1/responses/compact", plainBody), status: 404, code: "operation_not_found", line: line("none", 0)},
		{name: "another method", ask: func(w *whole) *http.Request { return w.request(http.MethodPut, chatPath, plainBody) }, status: 404, code: "operation_not_found", line: line("none", 0)},
		{name: "no api-version", ask: posts("/openai/deployments/gpt-4o/chat/completions", plainBody), status: 400, code: "invalid_request", param: "api-version", line: line("none", 0)},
		{name: "an encoded body", ask: with("Content-Encoding", "gzip"), status: 415, code: "unsupported_media_type", param: "Content-Encoding", line: chat},
		{
			name: "no room in the process", setup: wholeSetup{limit: 1000}, ask: posts(chatPath, plainBody),
			status: 503, code: "overloaded", retry: true, bound: "process", line: chat,
		},
		{
			name: "no room for the client", setup: wholeSetup{client: 1000}, ask: posts(chatPath, plainBody),
			status: 503, code: "overloaded", retry: true, bound: "client", line: chat,
		},
		{
			name: "no room for what comes", setup: wholeSetup{limit: 64 << 10}, ask: posts(chatPath, strings.Repeat(" ", 64<<10)),
			status: 503, code: "overloaded", retry: true, bound: "process", line: chat,
		},
		{
			name: "announced too large", status: 413, code: "request_too_large", line: chat,
			ask: func(w *whole) *http.Request {
				r := w.request(http.MethodPost, chatPath, "")
				r.Body, r.ContentLength = io.NopCloser(unread{w.t}), serve.MaxBody+1
				return r
			},
		},
		{
			name: "in chunks and too large", setup: wholeSetup{limit: 256 << 20, client: 256 << 20}, status: 413, code: "request_too_large", line: chat,
			ask: func(w *whole) *http.Request {
				r := w.request(http.MethodPost, chatPath, "")
				r.Body, r.ContentLength = io.NopCloser(io.LimitReader(blanks{}, serve.MaxBody+1)), -1
				return r
			},
		},
		{name: "no JSON", ask: posts(chatPath, "hello"), status: 400, code: "invalid_request", line: line("chat_completions", 5)},
		{name: "no body", ask: posts(chatPath, ""), status: 400, code: "invalid_request", line: chat},
		{name: "a name twice", ask: posts(v1Path, `{"model":"gpt-4o","model":"other"}`), status: 400, code: "invalid_request", line: line("chat_completions", 34)},
	}
}

// blanks is white space without end.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// unserved are the requests that the stage route and those after it refuse.
func unserved() []refused {
	line := func(operation, route string, bytesIn int) map[string]any {
		m := map[string]any{"operation": operation, "client": "payroll", "policy": 7.0, "bytes_in": float64(bytesIn)}
		if route != "" {
			m["route"], m["stream"] = route, false
		}
		return m
	}
	const chat, n = "chat_completions", len(plainBody)
	post := func(name string, ask func(*whole) *http.Request, status int, code string, l map[string]any) refused {
		return refused{name: name, ask: ask, status: status, code: code, line: l}
	}
	ungranted := line(chat, "secret", n)
	session := line("realtime", "gpt-4o", 0)
	list := []refused{
		{name: "no model", ask: posts(v1Path, plainBody), status: 400, code: "invalid_request", param: "model", line: line(chat, "", n)},
		post("an unknown route", posts(strings.Replace(chatPath, "gpt-4o", "none", 1), plainBody), 404, "route_not_found", line(chat, "", n)),
		post("a route that is not granted", posts(strings.Replace(chatPath, "gpt-4o", "secret", 1), plainBody), 403, "route_forbidden", ungranted),
		{
			name: "an external reference", ask: posts(chatPath, outsideBody), status: 400, code: "external_reference",
			param: "messages[0].content[0].image_url.url", line: line(chat, "gpt-4o", len(outsideBody)),
		},
		post("no upgrade", upgrades(func(r *http.Request) { r.Header.Del("Upgrade") }), 426, "upgrade_required", session),
		post("another version of WebSocket", upgrades(func(r *http.Request) { r.Header.Set("Sec-Websocket-Version", "8") }), 426, "upgrade_required", session),
		post("an upgrade without its key", upgrades(func(r *http.Request) { r.Header.Del("Sec-Websocket-Key") }), 400, "invalid_request", session),
		{
			name: "too many sessions", setup: wholeSetup{seats: -1}, ask: upgrades(func(*http.Request) {}),
			status: 429, code: "limit_reached", retry: true, bound: "sessions", line: session,
		},
		{
			name: "no room for a session", setup: wholeSetup{limit: 100 << 10}, ask: upgrades(func(*http.Request) {}),
			status: 503, code: "overloaded", retry: true, bound: "process", line: session,
		},
		post("the model of another client", func(w *whole) *http.Request { return w.request(http.MethodGet, "/openai/v1/models/secret", "") },
			404, "route_not_found", line("model", "", 0)),
	}
	return list
}

// Every stage refuses what is its own, in the words of the table, with the fields
// that every answer has, one line in the log and one count; no backend is asked,
// and nothing of what the stages before it took is kept.
func TestEachStageRefusesWhatIsItsOwn(t *testing.T) {
	for _, tt := range append(append(strangers(), malformed()...), unserved()...) {
		t.Run(tt.name, func(t *testing.T) {
			seams := tt.setup.change
			tt.setup.change = func(c *serve.Config) {
				c.Seams = mustNotRun(t)
				if seams != nil {
					seams(c)
				}
			}
			w, b := inMemory(t, wellAnswered, tt.setup)
			tt.check(t, w, w.do(tt.ask(w)))
			if b.conns.Load() != 0 {
				t.Error("a backend was asked")
			}
			if w.budget.Held() != 0 || w.inflight.Count() != 0 {
				t.Errorf("%d bytes are held after the end, %d requests run", w.budget.Held(), w.inflight.Count())
			}
		})
	}
}

// mustNotRun are seams that no request may reach.
func mustNotRun(t *testing.T) serve.Seams {
	return serve.Seams{
		Pin: func(context.Context, *relay.Call) (string, error) {
			t.Error("the stage pin ran")
			return "", nil
		},
		Variant: func(c *relay.Call, _ string) *policy.CompiledRoute {
			t.Error("the stage variant ran")
			return c.Route
		},
		Lease: func(context.Context, *relay.Call, string) (func(*relay.Result), error) {
			t.Error("the stage lease ran")
			return nil, errors.New("never asked")
		},
	}
}

// check looks at the answer, the log and the metrics.
func (tt *refused) check(t *testing.T, w *whole, got reply) {
	t.Helper()
	var said struct {
		Error struct {
			Code, Message, Type string
			Param               *string
		}
	}
	if err := json.Unmarshal([]byte(got.text), &said); err != nil {
		t.Fatalf("%v in %q", err, got.text)
	}
	param := ""
	if said.Error.Param != nil {
		param = *said.Error.Param
	}
	if got.StatusCode != tt.status || said.Error.Code != tt.code || param != tt.param || said.Error.Message == "" || said.Error.Type == "" {
		t.Errorf("status %d, %s", got.StatusCode, got.text)
	}
	tt.checkHeader(t, got)
	want := map[string]any{
		"level": "info", "message": "request", "request_id": "request-of-the-client", "status": float64(tt.status),
		"outcome": tt.code, "attempts": 0.0, "bytes_in": 0.0, "bytes_out": float64(len(got.text)),
	}
	maps.Copy(want, tt.line)
	if lines := w.lines(); len(lines) != 1 || !reflect.DeepEqual(lines[0], want) {
		t.Errorf("the log has %v\nwant %v", lines, want)
	}
	labels := fmt.Sprintf(`code="%d",operation="%v",outcome=%q`, tt.status, want["operation"], tt.code)
	if n, all := w.count("stampgate_requests_total", labels); n != 1 || all != 1 {
		t.Errorf("%s is counted %v times, of %v", labels, n, all)
	}
	n, all := w.count("stampgate_bound_refusals_total", fmt.Sprintf("bound=%q", tt.bound))
	if (tt.bound == "") != (all == 0) || n != all {
		t.Errorf("refusals by a bound: %v by %q of %v", n, tt.bound, all)
	}
}

func (tt *refused) checkHeader(t *testing.T, got reply) {
	t.Helper()
	want := map[string]string{
		"X-Request-Id": "request-of-the-client", "X-Stampgate-Boundary": "eu", "X-Stampgate-Gateway": "gw-1", "X-Stampgate-Attempts": "0",
		"X-Stampgate-Policy": "7", "X-Stampgate-Region": "", "X-Stampgate-Target": "", "Content-Type": "application/json",
		"Content-Length": strconv.Itoa(len(got.text)), "X-Should-Retry": "false", "Sec-Websocket-Version": "",
	}
	if tt.alone {
		want["X-Stampgate-Policy"] = ""
	}
	if strings.Contains(tt.name, "upgrade") || strings.Contains(tt.name, "WebSocket") {
		want["Sec-Websocket-Version"], want["Upgrade"] = "13", "websocket"
	}
	seconds, _ := strconv.Atoi(got.Header.Get("Retry-After"))
	millis, _ := strconv.Atoi(got.Header.Get("Retry-After-Ms"))
	if tt.retry {
		want["X-Should-Retry"] = ""
		if seconds < 1 || seconds > 11 || millis < 1000 || (millis+999)/1000 != seconds {
			t.Errorf("retry after %d s, %d ms", seconds, millis)
		}
	} else if seconds != 0 || millis != 0 {
		t.Errorf("a final answer says to retry after %d s, %d ms", seconds, millis)
	}
	for name, value := range want {
		if got.Header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
		}
	}
}

// A request with several faults is refused for the one whose stage comes first:
// no stage runs after one that refuses.
func TestTheFirstStageThatRefusesIsTheLastThatRuns(t *testing.T) {
	type request struct{ key, door, path, encoding, body string }
	faults := []struct {
		code  string
		spoil func(*request)
	}{
		{"front_door_required", func(r *request) { r.door = "theirs" }},
		{"unauthorized", func(r *request) { r.key = "hello" }},
		{"operation_not_found", func(r *request) { r.path = "/openai/none" }},
		{"unsupported_media_type", func(r *request) { r.encoding = "gzip" }},
		{"invalid_request", func(r *request) { r.body = "hello" }},
		{"route_not_found", func(r *request) { r.path = strings.Replace(chatPath, "gpt-4o", "none", 1) }},
		{"route_forbidden", func(r *request) { r.path = strings.Replace(chatPath, "gpt-4o", "secret", 1) }},
		{"external_reference", func(r *request) { r.body = outsideBody }},
	}
	for first := range faults {
		setup := frontDoor()
		door := setup.change
		setup.change = func(c *serve.Config) { door(c); c.Seams = mustNotRun(t) }
		w, b := inMemory(t, wellAnswered, setup)
		ask := request{key: w.key, door: "ours", path: chatPath, body: plainBody}
		for n := len(faults) - 1; n >= first; n-- { // what is one field's is the earlier stage's
			faults[n].spoil(&ask)
		}
		r := w.request(http.MethodPost, ask.path, ask.body)
		r.Header.Set("Api-Key", ask.key)
		r.Header.Set("X-Azure-Fdid", ask.door)
		r.Header.Set("Content-Encoding", ask.encoding)
		if got := w.do(r); !strings.Contains(got.text, `"code":"`+faults[first].code+`"`) || b.conns.Load() != 0 {
			t.Errorf("with %s and all that follows: %s, %d backends asked", faults[first].code, got.text, b.conns.Load())
		}
	}
}
