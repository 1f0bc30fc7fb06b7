package serve_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/relay"
)

// noEvidence fails if anything was learned against a target.
func noEvidence(t *testing.T, r *rig) {
	t.Helper()
	for _, s := range r.registry.Status(time.Now()) {
		if s.Breaker != breaker.Closed || s.Suspect || !s.Available {
			t.Errorf("%s: breaker %v, suspect %t, available %t", s.Backend, s.Breaker, s.Suspect, s.Available)
		}
	}
}

// A backend that ends its kept connections between requests fails no call, not
// even one that must not be repeated, and is not blamed: nothing was written to
// what had died.
func TestAKeptConnectionThatDiedUnusedFailsNoStatefulCall(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"closed": func(net.Conn) {},
		"reset": func(c net.Conn) {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		},
		"told to go away": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{}, 100)
			b := newBackend(t, func(_ int, c net.Conn) bool {
				if _, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer)); err != nil {
					return false
				}
				// The next request is let go once the connection has ended.
				end(c)
				_ = c.Close()
				ended <- struct{}{}
				return false
			})
			r := newRig(t, setup{endpoints: []string{b.url}})
			front := r.front()
			for n := range 20 {
				got := r.post(front, http.Header{"Content-Type": {"application/json"}}, storeBody)
				if got.StatusCode != http.StatusOK || got.text != goodAnswer {
					t.Errorf("call %d: %d %q", n, got.StatusCode, got.text)
				}
				<-ended
			}
			if n := b.requests.Load(); n != 20 {
				t.Errorf("%d requests arrived for 20 calls", n)
			}
			noEvidence(t, r)
		})
	}
}

// A kept connection that ends after a request was written to it may have ended
// because of it. What may not be repeated fails then, once, and the target is not
// blamed; what may be is repeated.
func TestAKeptConnectionThatDiesInUseIsNoEvidence(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"may not be repeated": {storeBody, http.StatusBadGateway},
		"may be repeated":     {plainBody, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			var requests sync.Map // by connection
			b := newBackend(t, func(_ int, c net.Conn) bool {
				if _, second := requests.LoadOrStore(c, true); second {
					return false // it has read the request, and ends
				}
				_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
				return err == nil
			})
			r := newRig(t, setup{endpoints: []string{b.url}})
			front := r.front()
			for range 10 {
				if got := r.post(front, http.Header{"Content-Type": {"application/json"}}, tt.body); got.StatusCode != http.StatusOK {
					t.Fatalf("on a new connection: %d", got.StatusCode)
				}
				before := b.requests.Load()
				got := r.post(front, http.Header{"Content-Type": {"application/json"}}, tt.body)
				if got.StatusCode != tt.want {
					t.Fatalf("on a kept connection: %d, want %d", got.StatusCode, tt.want)
				}
				if tt.want != http.StatusOK && b.requests.Load() != before+1 {
					t.Fatalf("a call that may not be repeated arrived %d times", b.requests.Load()-before)
				}
				if tt.want == http.StatusOK {
					r.pools.Close() // of the repetition: each round begins with a new one
				}
			}
			noEvidence(t, r)
		})
	}
}

// A zone is a name server whose answer changes.
type zone struct {
	now   atomic.Pointer[[]netip.Addr]
	asked atomic.Int32
}

func (z *zone) set(text string) { z.now.Store(&[]netip.Addr{netip.MustParseAddr(text)}) }

func (z *zone) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	z.asked.Add(1)
	return *z.now.Load(), nil
}

// Kept connections follow their name: within 35 s of a change of DNS no new request
// goes to an address that the name no longer has, although it still answers. What
// runs there finishes, no request waits for the name server, and it is asked at most
// once in ten seconds.
func TestKeptConnectionsFollowDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names zone
		names.set("127.0.0.4")
		dialer, b := memory(t, func(_ int, c net.Conn) bool {
			_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
			return err == nil
		})
		inner := dialer.Connect
		var mu sync.Mutex
		dials := map[string]int{}
		dialer.Resolver = &names
		dialer.Connect = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			mu.Lock()
			dials[a.Addr().String()]++
			mu.Unlock()
			return inner(ctx, a)
		}
		r := newRig(t, setup{endpoints: []string{"http://localhost:80"}, dialer: dialer})
		call := func() {
			t.Helper()
			w := newSink()
			if res := r.serve(w, r.call(t.Context(), http.Header{}, plainBody)); res.Outcome != relay.OutcomeOK {
				t.Fatalf("outcome %s", res.Outcome)
			}
		}
		for range 60 {
			call()
			time.Sleep(time.Second)
		}
		if dials["127.0.0.4"] != 1 || names.asked.Load() > 7 {
			t.Errorf("in a minute without a change: dials %v, %d look-ups", dials, names.asked.Load())
		}
		names.set("127.0.0.5")
		changed := time.Now()
		for dials["127.0.0.5"] == 0 && time.Since(changed) < time.Minute {
			call()
			time.Sleep(time.Second)
		}
		if took := time.Since(changed); took > 36*time.Second || took < 20*time.Second {
			t.Errorf("followed after %v, want 25 s to 36 s", took)
		}
		t.Logf("%d requests, dials %v, %d look-ups", b.requests.Load(), dials, names.asked.Load())
		// An answer outside the fence changes nothing about what was admitted.
		names.set("10.30.0.4")
		for range 60 {
			call()
			time.Sleep(time.Second)
		}
		if len(dials) != 2 || dials["127.0.0.5"] != 1 {
			t.Errorf("dials %v", dials)
		}
		r.pools.Close()
		synctest.Wait()
	})
}
