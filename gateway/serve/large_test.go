package serve_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/relay"
)

// A plain answer that is too large to hold passes as it comes, whole.
func TestLargePlainAnswer(t *testing.T) {
	large := `{"data":"` + strings.Repeat("x", 5<<20) + `"}`
	for name, raw := range map[string]string{
		"with its length": answer("200 OK", jsonHeader, large),
		"in chunks":       "HTTP/1.1 200 OK\r\n" + jsonHeader + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(raw)).url}})
			got := r.ask(plainBody)
			if got.StatusCode != 200 || got.err != nil || got.text != large {
				t.Errorf("status %d, %v, %d bytes of %d", got.StatusCode, got.err, len(got.text), len(large))
			}
		})
	}
}

// One that breaks off on its way is broken off for the client, too: it must never
// look complete.
func TestLargePlainAnswerThatBreaksOff(t *testing.T) {
	large := `{"data":"` + strings.Repeat("x", 3<<20) + `"}`
	for name, raw := range map[string]string{
		"with its length": "HTTP/1.1 200 OK\r\n" + jsonHeader + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large[:2<<20],
		"in chunks":       "HTTP/1.1 200 OK\r\n" + jsonHeader + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(large), large[:2<<20]),
		"in whole chunks": "HTTP/1.1 200 OK\r\n" + jsonHeader + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", 2<<20, large[:2<<20]),
	} {
		t.Run(name, func(t *testing.T) {
			other := good(t)
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(raw)).url, other.url}})
			got := r.ask(plainBody)
			if got.StatusCode != 200 || got.err == nil {
				t.Errorf("status %d, %d bytes, error %v; want a 200 that breaks off", got.StatusCode, len(got.text), got.err)
			}
			if res := <-r.results; res.Outcome != relay.OutcomeBrokenOff || !res.Aborted || res.Attempts != 1 || other.conns.Load() != 0 {
				t.Errorf("result %+v, %d connections to the other target", res, other.conns.Load())
			}
		})
	}
}

// Up to the limit an answer is held, so a break is a failed attempt.
func TestAnswerThatBreaksOffWithinTheLimit(t *testing.T) {
	other := good(t)
	bad := newBackend(t, says("HTTP/1.1 200 OK\r\n"+jsonHeader+fmt.Sprintf("Content-Length: %d\r\n\r\n", 2<<20)+strings.Repeat("x", 1<<20-100)))
	r := newRig(t, setup{endpoints: []string{bad.url, other.url}})
	wantGood(t, r.ask(plainBody), "2")
}

// An event that never ends is cut at a bound.
func TestEndlessEvent(t *testing.T) {
	bad := newBackend(t, func(_ int, c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+event+"data: ")
		for range 64 {
			if _, err := io.WriteString(c, strings.Repeat("x", 1<<20)); err != nil {
				break
			}
		}
		return false
	})
	r := newRig(t, setup{endpoints: []string{bad.url}})
	got := r.ask(chatBody)
	if got.err == nil || !strings.HasPrefix(got.text, event+`data: {"error"`) || len(got.text) > 1000 {
		t.Errorf("%v, %d bytes, want one event, an error event and a broken connection", got.err, len(got.text))
	}
}
