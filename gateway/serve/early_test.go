package serve_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/sse"
)

const ping = ": ping\n\n"

// Comments of a backend neither hold the client back nor put our own off.
func TestBackendsCommentsDoNotReplaceOurs(t *testing.T) {
	for name, comment := range map[string]string{"whole": ping, "without an empty line": ": ping\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var beats []beat
				for range 8 {
					beats = append(beats, beat{5 * time.Second, comment})
				}
				w, res := play(t, patient, plays(false, append(beats, beat{0, "\n" + event + done})...))
				if res.Outcome != relay.OutcomeOK {
					t.Errorf("result %+v", res)
				}
				if w.writes[0].after != quiet {
					t.Errorf("the first byte came after %v", w.writes[0].after)
				}
				last := time.Duration(0)
				for _, got := range w.writes {
					if got.after-last > quiet {
						t.Errorf("nothing from %v to %v", last, got.after)
					}
					last = got.after
				}
				if text := strings.ReplaceAll(w.text(), sse.KeepAlive, ""); text != strings.Repeat(comment, 8)+"\n"+event+done {
					t.Errorf("%q", w.text())
				}
			})
		})
	}
}

// early has a call with an early head after 10 s pass through a proxy, whose two
// targets do what the script says.
func early(t *testing.T, do script) (*sink, relay.Result, *rig) {
	t.Helper()
	network, _ := memory(t, do)
	r := newRig(t, setup{
		endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network, keepAlive: quiet, early: "10s",
		timeouts: "connect: 1s, firstByte: 25s, idle: 1m, total: 5m",
	})
	w := newSink()
	return w, r.serve(w, r.call(t.Context(), http.Header{}, chatBody)), r
}

// With an early head the client of a stream sees a sign of life before any
// backend has begun, and attempts go on behind it.
func TestEarlyHeadCoversAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, res, r := early(t, func(n int, c net.Conn) bool {
			if n == 1 {
				return silent(n, c) // until its 25 s are over
			}
			time.Sleep(2 * time.Second)
			_, _ = io.WriteString(c, streamHead+event+done)
			return false
		})
		if res.Outcome != relay.OutcomeOK || res.Attempts != 2 || res.Status != 200 || res.Aborted || res.FirstByte != 27*time.Second {
			t.Errorf("result %+v", res)
		}
		if w.status != 200 || w.header.Get("Content-Type") != "text/event-stream" || w.header.Get("X-Stampgate-Attempts") != "1" {
			t.Errorf("status %d, header %v", w.status, w.header)
		}
		expect(t, w, write{10 * time.Second, sse.KeepAlive}, write{25 * time.Second, sse.KeepAlive}, write{27 * time.Second, event + done})
		if r.suspects() != 1 || res.BytesOut != int64(len(w.text())) {
			t.Errorf("%d blamed, %d bytes", r.suspects(), res.BytesOut)
		}
	})
}

// A backend that is quick is not touched by it.
func TestEarlyHeadIsNotSentBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, res, _ := early(t, plays(false, beat{9 * time.Second, event}, beat{12 * time.Second, event + done}))
		if res.Outcome != relay.OutcomeOK {
			t.Errorf("result %+v", res)
		}
		expect(t, w, write{9 * time.Second, event}, write{21 * time.Second, event + done})
	})
}

// A failure behind an early head is an event of the stream's own form, and the
// connection ends.
func TestFailureBehindAnEarlyHead(t *testing.T) {
	after := func(text string) script {
		return func(_ int, c net.Conn) bool {
			time.Sleep(12 * time.Second)
			_, _ = io.WriteString(c, text)
			return false
		}
	}
	for name, tt := range map[string]struct {
		do      script
		want    string
		outcome string
	}{
		"every target fails":     {after(answer("500 Internal Server Error", jsonHeader, "{}")), `"code":"upstream_failed"`, refusal.OutcomeFailed},
		"every target throttles": {after(answer("429 Too Many Requests", "Retry-After: 60\r\n", "{}")), `"code":"throttled"`, refusal.OutcomeThrottled},
		"every target is silent": {silent, `"code":"upstream_timeout"`, refusal.OutcomeTimeout},
		"the client's own":       {after(answer("400 Bad Request", jsonHeader, filterError)), "data: " + filterError + "\n\n", relay.OutcomeRejected},
		"no stream at all":       {after(answer("200 OK", jsonHeader, goodAnswer)), `"code":"upstream_failed"`, refusal.OutcomeFailed},
		"the client's own event": {after(streamHead + "data: " + filterError + "\n\n"), "data: " + filterError, relay.OutcomeRejected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, res, _ := early(t, tt.do)
				if res.Outcome != tt.outcome || res.Refusal != nil || res.Status != 200 || w.status != 200 {
					t.Errorf("result %+v", res)
				}
				if name != "the client's own event" && !res.Aborted {
					t.Error("the connection does not end")
				}
				last := w.writes[len(w.writes)-1].text
				if !strings.HasPrefix(last, "data: {") || !strings.Contains(last, tt.want) || !strings.HasSuffix(last, "\n\n") {
					t.Errorf("the last write is %q, want %s", last, tt.want)
				}
			})
		})
	}
}

// A plain answer has no early head.
func TestPlainAnswerHasNoEarlyHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(_ int, c net.Conn) bool {
			time.Sleep(time.Minute)
			_, _ = io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
			return false
		})
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: patient, early: "10s"})
		w := newSink()
		r.serve(w, r.call(t.Context(), http.Header{}, plainBody))
		expect(t, w, write{time.Minute, goodAnswer})
	})
}
