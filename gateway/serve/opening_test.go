package serve_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
)

// begins is a backend whose session begins with a message, or with a close frame
// where the text is empty.
func begins(text string, code websocket.StatusCode, reason string) func(*websocket.Conn) {
	return func(c *websocket.Conn) {
		if text != "" {
			_ = c.Write(context.Background(), websocket.MessageText, []byte(text))
			echo(c)
			return
		}
		_ = c.Close(code, reason)
	}
}

func errorMessage(code string) string {
	return `{"type":"error","event_id":"e","error":{"type":"server_error","code":"` + code + `","message":"no"}}`
}

// A session that begins with an error of the backend's has cost nothing, and goes
// to another target: the client's upgrade was held.
func TestSessionThatBeginsWithTheBackendsError(t *testing.T) {
	for name, serve := range map[string]func(*websocket.Conn){
		"an error of the server": begins(errorMessage("server_error"), 0, ""),
		"a limit":                begins(errorMessage("rate_limit_exceeded"), 0, ""),
		"no quota":               begins(errorMessage("insufficient_quota"), 0, ""),
		"a missing model":        begins(errorMessage("model_not_found"), 0, ""),
		"closed by a failure":    begins("", websocket.StatusInternalError, ""),
		"closed by a limit":      begins("", websocket.StatusPolicyViolation, "Too many requests"),
		"closed by a status":     begins("", 4503, ""),
		"lost":                   func(c *websocket.Conn) { _ = c.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, other := newRealtime(t, serve), newRealtime(t, begins(sessionCreated, 0, ""))
			r := newRig(t, setup{endpoints: []string{bad.url, other.url}, hold: 10 * time.Second})
			url, _ := r.sessions()
			c, resp := dial(t, url, nil)
			if _, text, err := c.Read(bounded(t)); err != nil || string(text) != sessionCreated {
				t.Errorf("the session begins with %q, %v", text, err)
			}
			if got := resp.Header.Get("X-Stampgate-Attempts"); got != "2" {
				t.Errorf("%s attempts", got)
			}
			exchange(t, c, websocket.MessageText, "hello")
			_ = c.Close(websocket.StatusNormalClosure, "")
			if res := r.result(); res.Outcome != relay.OutcomeOK {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// Alone, its refusal is an answer in HTTP, which every client understands.
func TestSessionThatEveryBackendRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		serve  func(*websocket.Conn)
		status int
		text   string
	}{
		"an error of the server": {begins(errorMessage("server_error"), 0, ""), 502, "upstream_failed"},
		"a limit":                {begins(errorMessage("rate_limit_exceeded"), 0, ""), 429, "throttled"},
	} {
		r := newRig(t, setup{endpoints: []string{newRealtime(t, tt.serve).url}, hold: 10 * time.Second})
		url, _ := r.sessions()
		_, resp, err := websocket.Dial(bounded(t), url, nil)
		if err == nil || resp == nil {
			t.Fatalf("%s: the session stands: %v", name, err)
		}
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != tt.status || string(text) != tt.text {
			t.Errorf("%s: status %d, %s", name, resp.StatusCode, text)
		}
	}
}

// What is the client's to see reaches it: its own error, an end in order, and a
// first message of any size.
func TestSessionThatBeginsWithTheClientsOwn(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	for name, want := range map[string]string{"an invalid request": errorMessage("invalid_request_error"), "a large message": large, "an exact one": large[:64<<10]} {
		t.Run(name, func(t *testing.T) {
			other := newRealtime(t, echo)
			r := newRig(t, setup{endpoints: []string{newRealtime(t, begins(want, 0, "")).url, other.url}, hold: 10 * time.Second})
			url, _ := r.sessions()
			c, _ := dial(t, url, nil)
			if _, text, err := c.Read(bounded(t)); err != nil || string(text) != want {
				t.Errorf("the session begins with %d bytes, %v", len(text), err)
			}
			exchange(t, c, websocket.MessageText, "hello")
			_ = c.Close(websocket.StatusNormalClosure, "")
			if r.result(); len(other.asked) != 0 || r.suspects() != 0 {
				t.Error("the other target was asked, or the first is blamed")
			}
		})
	}
	t.Run("closed for the client's fault", func(t *testing.T) {
		r := newRig(t, setup{endpoints: []string{newRealtime(t, begins("", 4001, "why")).url}, hold: 10 * time.Second})
		url, _ := r.sessions()
		c, _ := dial(t, url, nil)
		wantClose(t, c, 4001)
		if res := r.result(); res.Outcome != relay.OutcomeRejected {
			t.Errorf("result %+v", res)
		}
	})
}

// A backend that waits for the client's first message is not waited for.
func TestSilentSessionIsHeldForALimitedTime(t *testing.T) {
	r := newRig(t, setup{endpoints: []string{newRealtime(t, echo).url}, hold: 100 * time.Millisecond})
	url, _ := r.sessions()
	start := time.Now()
	c, _ := dial(t, url, nil)
	if took := time.Since(start); took < 100*time.Millisecond || took > 10*time.Second {
		t.Errorf("the upgrade took %v", took)
	}
	exchange(t, c, websocket.MessageText, "hello")
}

// A client that goes while its upgrade is held ends the backend's session.
func TestClientGoneWhileItsUpgradeIsHeld(t *testing.T) {
	stands, gone := make(chan struct{}), make(chan struct{})
	b := newRealtime(t, func(c *websocket.Conn) {
		close(stands)
		_, _, _ = c.Read(context.Background())
		close(gone)
	})
	r := newRig(t, setup{endpoints: []string{b.url}, hold: time.Minute})
	url, _ := r.sessions()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-stands; cancel() }()
	if _, _, err := websocket.Dial(ctx, url, nil); err == nil {
		t.Error("the session stands")
	}
	<-gone
	if res := r.result(); res.Outcome != refusal.OutcomeClientGone || r.suspects() != 0 {
		t.Errorf("result %+v", res)
	}
}

// Our own limit on a message is not the backend's failure.
func TestOwnLimitOfASessionBlamesNobody(t *testing.T) {
	r := newRig(t, setup{endpoints: []string{newRealtime(t, func(c *websocket.Conn) { huge(c) }).url}})
	url, _ := r.sessions()
	c, _ := dial(t, url, http.Header{})
	wantClose(t, c, websocket.StatusBadGateway)
	if res := r.result(); res.Outcome != relay.OutcomeBrokenOff || r.suspects() != 0 {
		t.Errorf("result %+v, %d blamed", res, r.suspects())
	}
}
