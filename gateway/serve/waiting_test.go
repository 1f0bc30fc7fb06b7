package serve_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/refusal"
)

// A request that waits for its turn to repeat ends as what ends it: its client's
// leaving is nobody's failure, its time's end no fault of a backend.
func TestWhatEndsARequestThatWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		timeouts string
		leaves   time.Duration
		want     string
	}{
		"the client leaves": {"connect: 1s, total: 10m", 2 * time.Second, refusal.OutcomeClientGone},
		// It waits for a third of its time, and then goes though the scouts still run.
		"its time is up": {"connect: 1s, total: 30s", 0, refusal.OutcomeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The first target fails at once, the second answers in minutes: its scouts are
				// the first three requests.
				network, _ := memory(t, func(_ int, c net.Conn) bool {
					time.Sleep(5 * time.Minute)
					return false
				})
				bad, _ := memory(t, func(_ int, c net.Conn) bool {
					_, _ = io.WriteString(c, answer("500 Internal Server Error", jsonHeader, "{}"))
					return false
				})
				network.Connect = byPort(bad.Connect, network.Connect)
				r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:2"}, dialer: network, timeouts: tt.timeouts})
				scouts, end := context.WithCancel(t.Context())
				done := make(chan struct{}, 3)
				for i := range 3 {
					go func() {
						c := r.call(scouts, http.Header{}, plainBody)
						c.Client = fmt.Sprint("scout-", i)
						r.serve(newSink(), c)
						done <- struct{}{}
					}()
					synctest.Wait()
				}
				ctx, cancel := context.WithCancel(t.Context())
				if tt.leaves > 0 {
					time.AfterFunc(tt.leaves, cancel)
				}
				c := r.call(ctx, http.Header{}, plainBody)
				c.Client = "late"
				res := r.serve(newSink(), c)
				cancel()
				if res.Outcome != tt.want {
					t.Errorf("outcome %s after %d attempts, want %s", res.Outcome, res.Attempts, tt.want)
				}
				end()
				for range 3 {
					<-done
				}
			})
		})
	}
}

// Where every target refuses at no cost, the answer is the same whether or not the
// targets are known to refuse.
func TestRefusalsOfEveryTargetAreOneAnswer(t *testing.T) {
	for _, status := range []string{"403 Forbidden", "401 Unauthorized", "421 Misdirected Request"} {
		var s setup
		for range 2 {
			s.endpoints = append(s.endpoints, newBackend(t, func(_ int, c net.Conn) bool {
				_, err := io.WriteString(c, answer(status, jsonHeader, "{}"))
				return err == nil
			}).url)
		}
		r := newRig(t, s)
		front := r.front()
		for i := range 12 {
			if got := r.post(front, http.Header{}, plainBody); got.StatusCode != http.StatusServiceUnavailable || got.text != "no_backend_in_boundary" {
				t.Errorf("%s, call %d: %d %s", status, i+1, got.StatusCode, got.text)
			}
		}
	}
}

// A backend that is silent to the request for an upgrade is given up long before
// clients give up: it costs no model time.
func TestSilentUpgradeGoesElsewhereInTime(t *testing.T) {
	release := make(chan struct{})
	quiet := newBackend(t, func(int, net.Conn) bool { <-release; return false })
	t.Cleanup(func() { close(release) })
	other := newRealtime(t, echo)
	r := newRig(t, setup{endpoints: []string{quiet.url, other.url}, timeouts: "connect: 1s, firstByte: 30s, idle: 30s, total: 10m", hold: time.Millisecond})
	url, _ := r.sessions()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, websocket.MessageText, "hello")
	_ = c.Close(websocket.StatusNormalClosure, "")
	if res := r.result(); res.Attempts != 2 {
		t.Errorf("result %+v", res)
	}
	if r.suspects() == 0 {
		t.Error("no evidence against the silent one")
	}
}

// byPort leads dials to port 1 one way and all others another.
func byPort(one, other func(context.Context, netip.AddrPort) (net.Conn, error)) func(context.Context, netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		if to.Port() == 1 {
			return one(ctx, to)
		}
		return other(ctx, to)
	}
}
