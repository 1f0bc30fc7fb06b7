package serve_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
)

// seamed is a setup with these seams.
func seamed(s serve.Seams) wholeSetup {
	return wholeSetup{change: func(c *serve.Config) { c.Seams = s }}
}

// A pinned request goes to the backend that holds its object, whichever is
// preferred, and to no other when that one fails.
func TestPinBindsTheRequestToOneBackend(t *testing.T) {
	for _, tt := range []struct {
		name, backend, answer, targets string
		status                         int
	}{
		{"to any", "", "200 OK", "b0/dep-0", 200},
		{"to the second", "b1", "200 OK", "b1/dep-1", 200},
		{"to one that fails", "b1", "500 Internal Server Error", "b1/dep-1", 502},
		{"to one that the route does not have", "b3", "200 OK", "", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setup := seamed(serve.Seams{Pin: func(_ context.Context, c *relay.Call) (string, error) {
				if c.Route.Name != "gpt-4o" || c.Match.Operation.Name != "chat_completions" {
					t.Errorf("pin is asked about route %s", c.Route.Name)
				}
				return tt.backend, nil
			}})
			w, b := inMemory(t, func(_ int, c net.Conn) bool {
				_, err := io.WriteString(c, answer(tt.answer, jsonHeader, goodAnswer))
				return err == nil
			}, setup)
			got := w.do(w.request(http.MethodPost, chatPath, plainBody))
			if got.StatusCode != tt.status || got.Header.Get("X-Stampgate-Target") != tt.targets {
				t.Errorf("status %d from %q", got.StatusCode, got.Header.Get("X-Stampgate-Target"))
			}
			if asked := b.requests.Load() > 0; asked != (tt.targets != "") {
				t.Errorf("%d requests were sent", b.requests.Load())
			}
		})
	}
}

// The variant's targets serve, under its name, and no other's when they fail.
func TestTheVariantServes(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		status int
	}{"well": {"200 OK", 200}, "badly": {"500 Internal Server Error", 502}} {
		t.Run(name, func(t *testing.T) {
			var snapshot func() *policy.Snapshot
			w, _ := inMemory(t, func(_ int, c net.Conn) bool {
				_, err := io.WriteString(c, answer(tt.answer, jsonHeader, goodAnswer))
				return err == nil
			}, wholeSetup{change: func(c *serve.Config) {
				snapshot = c.Snapshot
				c.Seams.Variant = func(c *relay.Call, client string) *policy.CompiledRoute {
					other, ok := snapshot().Route("other")
					if !ok || c.Route.Name != "gpt-4o" || client != "payroll" {
						t.Errorf("variant is asked about route %s for %q", c.Route.Name, client)
					}
					return other
				}
			}})
			got := w.do(w.request(http.MethodPost, chatPath, plainBody))
			if got.StatusCode != tt.status || got.Header.Get("X-Stampgate-Target") != "b2/dep-2" {
				t.Errorf("status %d from %q", got.StatusCode, got.Header.Get("X-Stampgate-Target"))
			}
			if line := w.lines()[0]; line["route"] != "other" || line["backend"] != "b2" {
				t.Errorf("the log has %v", line)
			}
		})
	}
}

// What a seam refuses is answered as it says; nothing is sent, and no seam after it
// is asked.
func TestASeamRefuses(t *testing.T) {
	why := &refusal.Error{Cause: refusal.TooManySessions, Message: "That is too much."}
	for name, seams := range map[string]func(serve.Seams) serve.Seams{
		"pin": func(s serve.Seams) serve.Seams {
			s.Pin = func(context.Context, *relay.Call) (string, error) { return "", why }
			return s
		},
		"lease": func(serve.Seams) serve.Seams {
			return serve.Seams{Lease: func(context.Context, *relay.Call, string) (func(*relay.Result), error) { return nil, why }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := inMemory(t, wellAnswered, seamed(seams(mustNotRun(t))))
			got := w.do(w.request(http.MethodPost, chatPath, plainBody))
			if got.StatusCode != 429 || !strings.Contains(got.text, "That is too much.") || b.conns.Load() != 0 {
				t.Errorf("status %d, %s; %d connections", got.StatusCode, got.text, b.conns.Load())
			}
			if line := w.lines()[0]; line["outcome"] != "limit_reached" || line["attempts"] != 0.0 {
				t.Errorf("the log has %v", line)
			}
		})
	}
	t.Run("an error of its own stays in the log", func(t *testing.T) {
		w, _ := inMemory(t, wellAnswered, seamed(serve.Seams{Pin: func(context.Context, *relay.Call) (string, error) {
			return "", errors.New("the inside of it")
		}}))
		got := w.do(w.request(http.MethodPost, chatPath, plainBody))
		if line := w.lines()[0]; got.StatusCode != 500 || strings.Contains(got.text, "inside") || line["error"] != "the inside of it" {
			t.Errorf("status %d, %s; the log has %v", got.StatusCode, got.text, line)
		}
	})
}

// leases notes what a lease was told.
type leases struct {
	mu      sync.Mutex // guards the fields below
	taken   int
	settled []relay.Result
	asked   func() int32 // how often the backend was asked when the lease was taken
	early   bool         // it was before
}

func (l *leases) take(_ context.Context, c *relay.Call, client string) (func(*relay.Result), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken++
	l.early = l.asked() == 0 && client == "payroll" && c.Route != nil
	return func(r *relay.Result) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.settled = append(l.settled, *r)
	}, nil
}

// want fails unless one lease was taken before the first attempt, and settled once.
func (l *leases) want(t *testing.T, w *whole, outcome string, attempts int) {
	t.Helper()
	w.ended()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken != 1 || !l.early || len(l.settled) != 1 || l.settled[0].Outcome != outcome || l.settled[0].Attempts != attempts {
		t.Errorf("%d leases, before the first attempt: %v; settled with %+v; want %s after %d attempts", l.taken, l.early, l.settled, outcome, attempts)
	}
}

func TestALeaseIsSettledOnce(t *testing.T) {
	for _, tt := range []struct {
		name, answer, pin, outcome string
		attempts                   int
	}{
		{"served", answer("200 OK", jsonHeader, goodAnswer), "", "ok", 1},
		{"refused by the backend", answer("400 Bad Request", jsonHeader, `{"error":{"code":"x"}}`), "", "rejected", 1},
		{"nothing to choose from", "", "b3", "no_backend", 0},
		{"every target failed", answer("500 Internal Server Error", jsonHeader, "{}"), "", "failed", 2},
		{"every target throttled", answer("429 Too Many Requests", jsonHeader+"Retry-After: 9\r\n", "{}"), "", "throttled", 2},
		{"broken off", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event, "", "broken_off", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &leases{}
			w, b := inMemory(t, says(tt.answer), seamed(serve.Seams{
				Lease: l.take, Pin: func(context.Context, *relay.Call) (string, error) { return tt.pin, nil },
			}))
			l.asked = b.conns.Load
			func() {
				defer func() { _ = recover() }() // what is broken off ends by a panic
				w.do(w.request(http.MethodPost, chatPath, chatBody))
			}()
			l.want(t, w, tt.outcome, tt.attempts)
		})
	}
}

func TestALeaseIsSettledWhenTheClientHasGone(t *testing.T) {
	l := &leases{}
	w, b := inMemory(t, func(_ int, c net.Conn) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for err == nil { // until the gateway hangs up
			_, err = io.WriteString(c, event)
		}
		return false
	}, seamed(serve.Seams{Lease: l.take}))
	l.asked = b.conns.Load
	front := w.front()
	r := w.request(http.MethodPost, chatPath, chatBody)
	c, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(c); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(err)
	}
	_ = c.Close()
	l.want(t, w, refusal.OutcomeClientGone, 1)
}

func TestALeaseIsSettledAfterASession(t *testing.T) {
	b := newRealtime(t, echo)
	l := &leases{asked: b.sessions.Load}
	setup := seamed(serve.Seams{Lease: l.take})
	setup.real = []string{b.url}
	w := newWhole(t, setup)
	c, _ := dial(t, w.front().URL+realtimePath, http.Header{"Api-Key": {w.key}})
	exchange(t, c, websocket.MessageText, "hello")
	_ = c.Close(websocket.StatusNormalClosure, "")
	l.want(t, w, relay.OutcomeOK, 1)
	if line := w.lines()[0]; line["bytes_in"] != 5.0 || line["bytes_out"] != 5.0 || line["route"] != "gpt-4o" || line["status"] != 101.0 {
		t.Errorf("the log has %v", line)
	}
}
