package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// sessionCreated is how the service begins a session.
const sessionCreated = `{"type":"session.created","session":{"model":"gpt-realtime"}}`

const realtimeQuery = "api-version=2025-04-01-preview&deployment=gpt-4o"

// A realtime is a backend of sessions. serve has the session once it stands.
type realtime struct {
	url      string
	sessions atomic.Int32
	asked    chan *http.Request
}

func newRealtime(t *testing.T, serve func(c *websocket.Conn)) *realtime {
	t.Helper()
	b := &realtime{asked: make(chan *http.Request, 100)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked <- r
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		b.sessions.Add(1)
		defer b.sessions.Add(-1)
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(64 << 20)
		serve(c)
	}))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// echo sends back what comes until the session ends.
func echo(c *websocket.Conn) {
	for {
		kind, text, err := c.Read(context.Background())
		if err != nil || c.Write(context.Background(), kind, text) != nil {
			return
		}
	}
}

// sessions serves the rig's sessions on a real socket, under a context that the
// test may cut, as a drain does.
func (r *rig) sessions() (url string, cut context.CancelCauseFunc) {
	r.t.Helper()
	base, cut := context.WithCancelCause(context.Background())
	s := httptest.NewUnstartedServer(edge.Handler(func(ctx context.Context, client message.Client, req *message.Request) {
		match, err := operation.Recognise(http.MethodGet, "/openai/realtime", realtimeQuery)
		if err != nil {
			panic(err)
		}
		c := r.call(ctx, nil, plainBody)
		c.Request, c.Match, c.Body, c.Stateless, c.Stream = req, match, nil, true, true
		res := r.pipeline.Attempt(client, &c.Admitted)
		res.Aborted = false // the connection is no longer the server's
		r.finish(client, res)
	}, time.Minute))
	s.Config.BaseContext = func(net.Listener) context.Context { return base }
	s.Start()
	r.t.Cleanup(func() { cut(nil); s.Close() })
	return s.URL, cut
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial opens a session as a client.
func dial(t *testing.T, url string, h http.Header, subprotocols ...string) (*websocket.Conn, *http.Response) {
	t.Helper()
	c, resp, err := websocket.Dial(bounded(t), url, &websocket.DialOptions{HTTPHeader: h, Subprotocols: subprotocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(64 << 20)
	return c, resp
}

// exchange sends a message and wants the same back.
func exchange(t *testing.T, c *websocket.Conn, kind websocket.MessageType, text string) {
	t.Helper()
	if err := c.Write(bounded(t), kind, []byte(text)); err != nil {
		t.Fatal(err)
	}
	gotKind, got, err := c.Read(bounded(t))
	if err != nil || gotKind != kind || string(got) != text {
		t.Fatalf("got %v of %d bytes, %v; want %v of %d bytes", gotKind, len(got), err, kind, len(text))
	}
}

func (r *rig) result() relay.Result {
	r.t.Helper()
	select {
	case res := <-r.results:
		return res
	case <-time.After(30 * time.Second):
		r.t.Fatal("the session does not end")
		return relay.Result{}
	}
}

// wantClose reads until the session's end and wants its code.
func wantClose(t *testing.T, c *websocket.Conn, want websocket.StatusCode) {
	t.Helper()
	if _, _, err := c.Read(bounded(t)); websocket.CloseStatus(err) != want {
		t.Errorf("the session ended with %v, want code %d", err, want)
	}
}

func TestSessionRelaysMessages(t *testing.T) {
	b := newRealtime(t, echo)
	r := newRig(t, setup{endpoints: []string{b.url}})
	url, _ := r.sessions()
	c, resp := dial(t, url, http.Header{"Api-Key": {"the-clients"}, "Cookie": {"a=b"}, "Openai-Beta": {"realtime=v1"}, "Origin": {"https://elsewhere.example"}},
		"realtime", "openai-insecure-api-key.the-clients")
	if got := resp.Header.Get("Sec-Websocket-Protocol"); got != "realtime" || resp.Header.Get("X-Stampgate-Attempts") != "1" {
		t.Errorf("subprotocol %q, header %v", got, resp.Header)
	}
	exchange(t, c, websocket.MessageText, `{"type":"a"}`)
	exchange(t, c, websocket.MessageBinary, "\x00\xff")
	exchange(t, c, websocket.MessageText, "")
	exchange(t, c, websocket.MessageText, strings.Repeat("x", 20<<20))
	asked := <-b.asked
	if got := asked.URL.String(); got != "/openai/realtime?deployment=gpt-4o&api-version=2025-04-01-preview" {
		t.Errorf("the backend was asked for %s", got)
	}
	for name, want := range map[string]string{
		"Api-Key": ourKey, "Cookie": "", "Origin": "", "Authorization": "", "Openai-Beta": "realtime=v1",
		"User-Agent": "stampgate/test", "X-Request-Id": "request-1", "Sec-Websocket-Protocol": "realtime",
	} {
		if got := asked.Header.Get(name); got != want {
			t.Errorf("%s = %q towards the backend, want %q", name, got, want)
		}
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	res := r.result()
	if res.Outcome != relay.OutcomeOK || res.Status != 101 || res.BytesIn != res.BytesOut || res.BytesIn < 20<<20 || res.Err != nil {
		t.Errorf("result %+v", res)
	}
}

func TestSessionNeverEchoesACredential(t *testing.T) {
	r := newRig(t, setup{endpoints: []string{newRealtime(t, echo).url}})
	url, _ := r.sessions()
	_, resp := dial(t, url, nil, "openai-insecure-api-key.the-clients")
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) != 0 {
		t.Errorf("subprotocol %q", got)
	}
}

func TestSessionGoesElsewhereBeforeTheUpgrade(t *testing.T) {
	for name, first := range map[string]string{
		"429":               answer("429 Too Many Requests", jsonHeader+"Retry-After: 1\r\n", "{}"),
		"503":               answer("503 Service Unavailable", jsonHeader, "{}"),
		"500":               answer("500 Internal Server Error", jsonHeader, "{}"),
		"401":               answer("401 Unauthorized", jsonHeader, "{}"),
		"no deployment":     answer("404 Not Found", jsonHeader, `{"error":{"code":"DeploymentNotFound"}}`),
		"a redirect":        answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
		"a plain answer":    answer("200 OK", jsonHeader, "{}"),
		"an unproven 101":   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
		"a foreign 101":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"gone":              answer("410 Gone", jsonHeader, "{}"),
		"gave up":           answer("408 Request Timeout", jsonHeader, "{}"),
		"a lost connection": "",
		"nobody listening":  "refuse",
	} {
		t.Run(name, func(t *testing.T) {
			var bad string
			if first == "refuse" {
				bad = refusing(t)
			} else {
				bad = newBackend(t, says(first)).url
			}
			r := newRig(t, setup{endpoints: []string{bad, newRealtime(t, echo).url}})
			url, _ := r.sessions()
			c, resp := dial(t, url, nil)
			if got := resp.Header.Get("X-Stampgate-Attempts"); got != "2" {
				t.Errorf("%s attempts, want 2", got)
			}
			exchange(t, c, websocket.MessageText, "hello")
			if rejected := r.rejected.Load(); (name == "401") != (rejected == 1) {
				t.Errorf("our credential was said to be refused %d times", rejected)
			}
		})
	}
}

func TestRefusedSessionIsAnswered(t *testing.T) {
	const refusal = `{"error":{"code":"OperationNotSupported","message":"no"}}`
	for name, tt := range map[string]struct {
		answer string
		status int
		text   string
	}{
		"the client's fault is passed on": {answer("400 Bad Request", jsonHeader, refusal), 400, refusal},
		"every backend throttles":         {answer("429 Too Many Requests", jsonHeader+"Retry-After: 9\r\n", "{}"), 429, "throttled"},
		"every backend fails":             {answer("500 Internal Server Error", jsonHeader, "{}"), 502, "upstream_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(tt.answer)).url}})
			url, _ := r.sessions()
			_, resp, err := websocket.Dial(bounded(t), url, nil)
			if err == nil || resp == nil {
				t.Fatalf("the session stands: %v", err)
			}
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || string(text) != tt.text {
				t.Errorf("status %d, %s; want %d, %s", resp.StatusCode, text, tt.status, tt.text)
			}
		})
	}
}

func TestSessionIsNeverOpenedAcrossTheBoundary(t *testing.T) {
	b := newRealtime(t, echo)
	r := newRig(t, setup{endpoints: []string{b.url}})
	foreign := newRig(t, setup{boundary: "us", endpoints: []string{b.url}})
	r.snapshot = foreign.snapshot // targets that another boundary's fence admitted
	url, _ := r.sessions()
	if _, resp, err := websocket.Dial(bounded(t), url, nil); err == nil || resp == nil || resp.StatusCode < 500 {
		t.Errorf("the session was answered with %v, %v", resp, err)
	}
	if len(b.asked) != 0 {
		t.Error("the backend was asked")
	}
}

// huge sends a message beyond the limit.
func huge(c *websocket.Conn) {
	_ = c.Write(context.Background(), websocket.MessageText, make([]byte, 25<<20))
	echo(c)
}

func TestSessionEnds(t *testing.T) {
	const ownCode = websocket.StatusCode(4001)
	created := func(c *websocket.Conn) {
		_ = c.Write(context.Background(), websocket.MessageText, []byte(sessionCreated))
	}
	closing := func(code websocket.StatusCode) func(*websocket.Conn) {
		return func(c *websocket.Conn) { created(c); _ = c.Close(code, "why") }
	}
	for name, tt := range map[string]struct {
		serve   func(*websocket.Conn)
		want    websocket.StatusCode
		outcome string
	}{
		"in order":            {closing(websocket.StatusNormalClosure), websocket.StatusNormalClosure, relay.OutcomeOK},
		"at its time":         {closing(websocket.StatusGoingAway), websocket.StatusGoingAway, relay.OutcomeOK},
		"without a code":      {closing(websocket.StatusNoStatusRcvd), websocket.StatusNoStatusRcvd, relay.OutcomeOK},
		"with an own code":    {closing(ownCode), ownCode, relay.OutcomeRejected},
		"with a failure":      {closing(websocket.StatusInternalError), websocket.StatusInternalError, relay.OutcomeBrokenOff},
		"without a word":      {func(c *websocket.Conn) { created(c); _ = c.CloseNow() }, websocket.StatusBadGateway, relay.OutcomeBrokenOff},
		"with a huge message": {func(c *websocket.Conn) { created(c); huge(c) }, websocket.StatusBadGateway, relay.OutcomeBrokenOff},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: []string{newRealtime(t, tt.serve).url}})
			url, _ := r.sessions()
			c, _ := dial(t, url, nil)
			if _, text, err := c.Read(bounded(t)); err != nil || string(text) != sessionCreated {
				t.Errorf("the first message is %q, %v", text, err)
			}
			wantClose(t, c, tt.want)
			if res := r.result(); res.Outcome != tt.outcome || res.Err != nil && strings.Contains(res.Err.Error(), "why") {
				t.Errorf("result %+v, want outcome %s", res, tt.outcome)
			}
		})
	}
}

func TestClientEndsTheSession(t *testing.T) {
	for name, tt := range map[string]struct {
		end     func(*websocket.Conn)
		want    websocket.StatusCode
		outcome string
	}{
		"in order":         {func(c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") }, websocket.StatusNormalClosure, relay.OutcomeOK},
		"with an own code": {func(c *websocket.Conn) { _ = c.Close(4002, "x") }, 4002, relay.OutcomeOK},
		"without a word":   {func(c *websocket.Conn) { _ = c.CloseNow() }, websocket.StatusGoingAway, refusal.OutcomeClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan error, 1)
			b := newRealtime(t, func(c *websocket.Conn) {
				_, _, err := c.Read(context.Background())
				seen <- err
			})
			r := newRig(t, setup{endpoints: []string{b.url}})
			url, _ := r.sessions()
			c, _ := dial(t, url, nil)
			tt.end(c)
			if err := <-seen; websocket.CloseStatus(err) != tt.want {
				t.Errorf("the backend saw %v, want code %d", err, tt.want)
			}
			if res := r.result(); res.Outcome != tt.outcome {
				t.Errorf("result %+v, want outcome %s", res, tt.outcome)
			}
		})
	}
}

// Both sides are told that the gateway goes away, also when one of them has
// stopped reading.
func TestDrainClosesBothSides(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%t", deaf), func(t *testing.T) {
			seen, over := make(chan error, 1), make(chan struct{})
			b := newRealtime(t, func(c *websocket.Conn) {
				if deaf {
					<-over
					return
				}
				_, _, err := c.Read(context.Background())
				seen <- err
			})
			t.Cleanup(func() { close(over) })
			r := newRig(t, setup{endpoints: []string{b.url}})
			url, cut := r.sessions()
			c, _ := dial(t, url, nil)
			cut(lifecycle.ErrDraining)
			wantClose(t, c, websocket.StatusGoingAway)
			if !deaf {
				if err := <-seen; websocket.CloseStatus(err) != websocket.StatusGoingAway {
					t.Errorf("the backend saw %v", err)
				}
			}
			if res := r.result(); res.Outcome != refusal.OutcomeDrained || res.Refusal != nil {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// A silent side is pinged, and a session whose client does not answer pings any
// more is not kept for ever by a backend that does.
func TestSilentSessionIsKeptAlive(t *testing.T) {
	b := newRealtime(t, echo)
	r := newRig(t, setup{endpoints: []string{b.url}, keepAlive: 5 * time.Millisecond})
	url, _ := r.sessions()
	pinged := make(chan struct{}, 1000)
	c, _, err := websocket.Dial(bounded(t), url, &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		pinged <- struct{}{}
		return true
	}})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		read <- err
	}()
	for range 3 {
		select {
		case <-pinged:
		case <-time.After(30 * time.Second):
			t.Fatal("no ping")
		}
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	if err := <-read; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the session ended with %v", err)
	}
	if res := r.result(); !slices.Contains([]string{relay.OutcomeOK, refusal.OutcomeClientGone}, res.Outcome) {
		t.Errorf("result %+v", res)
	}
}
