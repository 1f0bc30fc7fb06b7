package serve_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
)

// silent takes every request and never answers.
func silent(_ int, c net.Conn) bool {
	_, _ = io.Copy(io.Discard, c)
	return false
}

// One deadline holds for all attempts together.
func TestTotalTimeOverAllAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, b := memory(t, silent)
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1", "http://127.0.0.3:1"}, dialer: network,
			timeouts: "connect: 1s, firstByte: 4s, idle: 4s, total: 10s",
		})
		w := newSink()
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if took := time.Since(w.start); took != 10*time.Second || b.requests.Load() != 3 {
			t.Errorf("%d attempts in %v, want 3 in 10s", b.requests.Load(), took)
		}
		if f := told(res); f.Status == 0 || f.Status != http.StatusGatewayTimeout || f.Code != "upstream_timeout" || !f.Final || res.Outcome != refusal.OutcomeTimeout {
			t.Errorf("result %+v, refusal %+v", res, res.Refusal)
		}
	})
}

// The first-byte timeout of a stream runs from the sending of each attempt.
func TestSilentTargetFailsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(n int, c net.Conn) bool {
			if n == 1 {
				return silent(n, c)
			}
			_, _ = io.WriteString(c, streamHead+event+done)
			return false
		})
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network,
			timeouts: "connect: 1s, firstByte: 4s, idle: 4s, total: 1m",
		})
		w := newSink()
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if took := time.Since(w.start); took != 4*time.Second || res.Outcome != relay.OutcomeOK || w.text() != event+done {
			t.Errorf("%s %q after %v, want the stream after 4s", res.Outcome, w.text(), took)
		}
	})
}

// No more than the policy's attempts may cost a backend work.
func TestAttemptLimit(t *testing.T) {
	for limit, want := range map[string]int{"max: 1": 1, "max: 2": 2, "": 3} {
		t.Run(limit, func(t *testing.T) {
			var s setup
			s.attempts = limit
			var all []*backend
			for range 5 {
				b := newBackend(t, says(answer("500 Internal Server Error", "", "")))
				all = append(all, b)
				s.endpoints = append(s.endpoints, b.url)
			}
			got := newRig(t, s).ask(plainBody)
			n := 0
			for _, b := range all {
				n += int(b.requests.Load())
			}
			if n != want || got.StatusCode != http.StatusBadGateway || got.text != "upstream_failed" {
				t.Errorf("%d attempts, status %d %q; want %d, 502 upstream_failed", n, got.StatusCode, got.text, want)
			}
		})
	}
}

// Refusals that cost a backend nothing count toward no limit.
func TestFreeRefusalsDoNotCount(t *testing.T) {
	last := good(t)
	s := setup{attempts: "max: 1", endpoints: []string{
		refusing(t),
		newBackend(t, says(answer("429 Too Many Requests", "Retry-After: 9\r\n", ""))).url,
		newBackend(t, says(answer("503 Service Unavailable", "Retry-After: 9\r\n", ""))).url,
		newBackend(t, says(answer("401 Unauthorized", "", ""))).url,
		newBackend(t, says(answer("404 Not Found", jsonHeader, `{"error":{"code":"DeploymentNotFound"}}`))).url,
		last.url,
	}}
	wantGood(t, newRig(t, s).ask(plainBody), "6")
}

// A failure that may have done the work is never repeated for a call that
// creates an object, whatever the failure.
func TestAmbiguousFailureOfAStatefulCallIsNotRepeated(t *testing.T) {
	for name, raw := range map[string]string{
		"no answer":          "",
		"half a header":      "HTTP/1.1 200 OK\r\nContent-",
		"half an answer":     "HTTP/1.1 200 OK\r\n" + jsonHeader + "Content-Length: 99\r\n\r\n{",
		"500":                answer("500 Internal Server Error", "", ""),
		"503 without a time": answer("503 Service Unavailable", "", ""),
	} {
		t.Run(name, func(t *testing.T) {
			bad, other := newBackend(t, says(raw)), good(t)
			got := newRig(t, setup{endpoints: []string{bad.url, other.url}}).ask(storeBody)
			if got.StatusCode != http.StatusBadGateway || bad.requests.Load() != 1 || other.conns.Load() != 0 {
				t.Errorf("status %d, %d requests, %d connections to the other target; want 502, 1 and none",
					got.StatusCode, bad.requests.Load(), other.conns.Load())
			}
		})
	}
}

// But where nothing can have happened, such a call goes on to the next target.
func TestRefusedStatefulCallIsRepeated(t *testing.T) {
	for name, bad := range map[string]string{
		"connection refused": refusing(t),
		"429":                newBackend(t, says(answer("429 Too Many Requests", "Retry-After: 9\r\n", ""))).url,
		"401":                newBackend(t, says(answer("401 Unauthorized", "", ""))).url,
	} {
		t.Run(name, func(t *testing.T) {
			wantGood(t, newRig(t, setup{endpoints: []string{bad, good(t).url}}).ask(storeBody), "2")
		})
	}
}

// The policy may forbid to repeat what was sent but not answered.
func TestPolicyForbidsRepeatingAmbiguousFailures(t *testing.T) {
	bad, other := newBackend(t, says("")), good(t)
	s := setup{endpoints: []string{bad.url, other.url}, attempts: "repeatAmbiguous: false"}
	if got := newRig(t, s).ask(plainBody); got.StatusCode != http.StatusBadGateway || other.conns.Load() != 0 {
		t.Errorf("status %d, %d connections to the other target", got.StatusCode, other.conns.Load())
	}
	// A 500 is an answer: nothing about it is ambiguous.
	s.endpoints[0] = newBackend(t, says(answer("500 Internal Server Error", "", ""))).url
	wantGood(t, newRig(t, s).ask(plainBody), "2")
}

// When every target is throttled the answer is 429 with the soonest of their
// times; when none can serve for another reason it is 503.
func TestNothingIsLeft(t *testing.T) {
	throttled := func(seconds int) string {
		return newBackend(t, says(answer("429 Too Many Requests", fmt.Sprintf("Retry-After: %d\r\n", seconds), ""))).url
	}
	for _, tt := range []struct {
		name      string
		endpoints []string
		status    int
		code      string
		most      time.Duration // of retry-after
	}{
		{"all throttled", []string{throttled(50), throttled(7), throttled(30)}, 429, "throttled", 9 * time.Second},
		{"all refuse connections", []string{refusing(t), refusing(t)}, 503, "no_backend_in_boundary", time.Minute},
		{"one refuses, the others are throttled", []string{refusing(t), throttled(20)}, 503, "no_backend_in_boundary", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: tt.endpoints})
			r.ask(plainBody)
			f := told(<-r.results)
			if f.Status == 0 || f.Status != tt.status || f.Code != tt.code {
				t.Fatalf("refusal %+v, want %d %s", f, tt.status, tt.code)
			}
			if f.After <= 0 || f.After > tt.most {
				t.Errorf("retry after %v, want at most %v", f.After, tt.most)
			}
		})
	}
}

// A refusal of our own credential is told to its keeper; one of the client's
// request is not, nor that our identity lacks a role, which no renewal changes.
func TestRefusedCredentialIsTold(t *testing.T) {
	for status, want := range map[string]int32{"401 Unauthorized": 1, "403 Forbidden": 0, "400 Bad Request": 0, "429 Too Many": 0} {
		r := newRig(t, setup{endpoints: []string{newBackend(t, says(answer(status, "", "{}"))).url}})
		r.ask(plainBody)
		if got := r.rejected.Load(); got != want {
			t.Errorf("%s: told %d times, want %d", status, got, want)
		}
	}
}
