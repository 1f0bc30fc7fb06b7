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
)

const (
	filterError  = `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`
	contextError = `{"error":{"message":"maximum context length is 8192 tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	finish       = `data: {"model":"gpt-4o-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	named        = `data: {"model":"gpt-4o-1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n"
)

// suspects is how many targets are blamed for something.
func (r *rig) suspects() int {
	n := 0
	for _, st := range r.registry.Status(time.Now()) {
		if st.Suspect {
			n++
		}
	}
	return n
}

// The client's own fault is told to the client in the words of the backend, with
// the same status and in the same bytes, wherever it stands, and nobody else is
// asked.
func TestTheClientsFaultIsPassedOnAsItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		ask, raw string
		status   int
		text     string
	}{
		"a content filter":                      {chatBody, answer("400 Bad Request", jsonHeader, filterError), 400, filterError},
		"a content filter in a plain 200":       {plainBody, answer("200 OK", jsonHeader, filterError), 200, filterError},
		"a content filter as the first event":   {chatBody, streamHead + "data: " + filterError + "\n\n", 200, "data: " + filterError + "\n\n"},
		"a content filter after the prelude":    {chatBody, streamHead + prelude + "data: " + filterError + "\n\n" + done, 200, prelude + "data: " + filterError + "\n\n" + done},
		"a context too long as the first event": {chatBody, streamHead + "data: " + contextError + "\n\n", 200, "data: " + contextError + "\n\n"},
		"an error that is larger than is held":  {plainBody, answer("400 Bad Request", jsonHeader, `{"error":{"code":"x","message":"`+strings.Repeat("m", 2<<20)+`"}}`), 400, `{"error":{"code":"x","message":"` + strings.Repeat("m", 2<<20) + `"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			b, other := newBackend(t, says(tt.raw)), good(t)
			r := newRig(t, setup{endpoints: []string{b.url, other.url}})
			got := r.ask(tt.ask)
			if got.StatusCode != tt.status || got.text != tt.text || got.err != nil || other.conns.Load() != 0 {
				t.Errorf("status %d, %.300q, %v, %d connections to the other target", got.StatusCode, got.text, got.err, other.conns.Load())
			}
			if res := <-r.results; res.Outcome != relay.OutcomeRejected || res.Attempts != 1 || res.Aborted {
				t.Errorf("result %+v", res)
			}
			if r.suspects() != 0 {
				t.Error("the target is blamed")
			}
		})
	}
}

// A large answer is judged by what of it was held: an error in it about the
// backend is not the client's.
func TestLargeErrorAboutTheBackend(t *testing.T) {
	bad := newBackend(t, says(answer("200 OK", jsonHeader, `{"error":{"code":"server_error","message":"`+strings.Repeat("m", 2<<20)+`"}}`)))
	r := newRig(t, setup{endpoints: []string{bad.url, good(t).url}})
	wantGood(t, r.ask(plainBody), "2")
}

// A stream whose every choice has ended is whole without [DONE], and one whose
// last line is open is whole, too: nothing is appended, nobody is blamed.
func TestOddButWholeStreams(t *testing.T) {
	for name, whole := range map[string]string{
		"without [DONE]":             named + finish,
		"with a [DONE] left open":    named + finish + "data: [DONE]",
		"with one newline":           named + finish + "data: [DONE]\n",
		"of nothing but an open one": "data: [DONE]",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(streamHead+whole)).url}})
			got := r.ask(chatBody)
			if got.StatusCode != 200 || got.text != whole || got.err != nil {
				t.Errorf("status %d, %q, %v", got.StatusCode, got.text, got.err)
			}
			if res := <-r.results; res.Outcome != relay.OutcomeOK || res.Aborted {
				t.Errorf("result %+v", res)
			}
			if r.suspects() != 0 {
				t.Error("the target is blamed")
			}
		})
	}
}

// But one that lacks a choice, or breaks off inside of an event, is not.
func TestStreamsThatLackSomething(t *testing.T) {
	const two = `{"messages":[],"stream":true,"n":2}`
	for name, tt := range map[string]struct{ ask, stream string }{
		"one choice of two":         {two, named + finish},
		"no reason to have ended":   {chatBody, named},
		"half an event at its end":  {chatBody, named + finish + `data: {"cho`},
		"cut off in its last event": {chatBody, named + finish[:len(finish)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(streamHead+tt.stream)).url}})
			if got := r.ask(tt.ask); got.err == nil || !strings.Contains(got.text, `{"error":`) {
				t.Errorf("%q, %v", got.text, got.err)
			}
		})
	}
}

// A wait that only the text names keeps the target from being asked again.
func TestWaitInTheTextIsHonoured(t *testing.T) {
	b := newBackend(t, func(_ int, c net.Conn) bool {
		_, err := io.WriteString(c, answer("429 Too Many Requests", jsonHeader, `{"error":{"code":"429","message":"Rate limit. Please retry after 45 seconds."}}`))
		return err == nil
	})
	r := newRig(t, setup{endpoints: []string{b.url}})
	front := r.front()
	for range 3 {
		r.post(front, http.Header{}, plainBody)
		if f := told(<-r.results); f.Status == 0 || f.Status != 429 || f.After < 40*time.Second || f.After > 47*time.Second {
			t.Errorf("refusal %+v", f)
		}
	}
	if n := b.requests.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// The log must not hold what a backend sent, which net/http quotes.
func TestBackendsBytesStayOutOfTheLog(t *testing.T) {
	for _, raw := range []string{"SSH-2.0-secret\r\n", "HTTP/1.1 200 OK\r\nsecret\r\n\r\n", "HTTP/1.1 secret OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n"} {
		r := newRig(t, setup{endpoints: []string{newBackend(t, says(raw)).url}})
		r.ask(plainBody)
		if res := <-r.results; res.Err == nil || strings.Contains(res.Err.Error(), "secret") || strings.Contains(res.Err.Error(), "SSH") {
			t.Errorf("%q: %v", raw, res.Err)
		}
	}
}

// A plain answer may take minutes: it is neither cut by the limit of streams nor
// repeated.
func TestSlowPlainAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, b := memory(t, func(_ int, c net.Conn) bool {
			time.Sleep(4 * time.Minute)
			_, _ = io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
			return false
		})
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network,
			timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 10m",
		})
		w := newSink()
		res := r.serve(w, r.call(t.Context(), http.Header{}, plainBody))
		if res.Outcome != relay.OutcomeOK || w.text() != goodAnswer || b.requests.Load() != 1 || time.Since(w.start) != 4*time.Minute {
			t.Errorf("result %+v after %v, %d requests", res, time.Since(w.start), b.requests.Load())
		}
	})
}

// What is over its time is over: 504, not repeated, and nobody is blamed.
func TestTimeThatIsUpIsNobodysFault(t *testing.T) {
	slowly := func(_ int, c net.Conn) bool { // a byte each second: no read is idle
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+jsonHeader+"Content-Length: 1000\r\n\r\n")
		for {
			time.Sleep(time.Second)
			if _, err := io.WriteString(c, " "); err != nil {
				return false
			}
		}
	}
	const limits = "connect: 1s, firstByte: 5s, answer: 30s, idle: 5s, total: 2m"
	for name, tt := range map[string]struct {
		ask, timeouts string
		do            script
		want          time.Duration
	}{
		"a silent answer":  {plainBody, limits, silent, 30 * time.Second},
		"a slow answer":    {plainBody, limits, slowly, 30 * time.Second},
		"the total time":   {plainBody, "connect: 1s, firstByte: 5s, idle: 5s, total: 40s", silent, 40 * time.Second},
		"total of streams": {chatBody, "connect: 1s, firstByte: 30s, idle: 5s, total: 30s", silent, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, b := memory(t, tt.do)
				r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network, timeouts: tt.timeouts})
				w := newSink()
				res := r.serve(w, r.call(t.Context(), http.Header{}, tt.ask))
				if f := told(res); f.Status == 0 || f.Status != 504 || f.Code != "upstream_timeout" || !f.Final || res.Outcome != refusal.OutcomeTimeout {
					t.Errorf("result %+v, %+v", res, f)
				}
				if took := time.Since(w.start); took != tt.want || b.requests.Load() != 1 {
					t.Errorf("%d requests in %v, want one in %v", b.requests.Load(), took, tt.want)
				}
				if tt.ask == plainBody && r.suspects() != 0 {
					t.Error("the target is blamed")
				}
			})
		})
	}
}

// A plain answer that stalls half way is still its backend's fault.
func TestPlainAnswerThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(n int, c net.Conn) bool {
			if n > 1 {
				_, _ = io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
				return false
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+jsonHeader+"Content-Length: 1000\r\n\r\n{")
			return silent(n, c)
		})
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network,
			timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 2m",
		})
		w := newSink()
		res := r.serve(w, r.call(t.Context(), http.Header{}, plainBody))
		if res.Outcome != relay.OutcomeOK || res.Attempts != 2 || time.Since(w.start) != 5*time.Second || r.suspects() != 1 {
			t.Errorf("result %+v after %v, %d blamed", res, time.Since(w.start), r.suspects())
		}
	})
}

// The second attempt has what is left of the total time, and is not blamed for it.
func TestRestOfTheTotalTimeBlamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(n int, c net.Conn) bool {
			if n == 2 {
				time.Sleep(12 * time.Second)
				_, _ = io.WriteString(c, streamHead+event+done)
				return false
			}
			return silent(n, c)
		})
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network,
			timeouts: "connect: 2s, firstByte: 20s, idle: 20s, total: 30s",
		})
		res := r.serve(newSink(), r.call(t.Context(), http.Header{}, chatBody))
		if res.Outcome != refusal.OutcomeTimeout || res.Attempts != 2 || r.suspects() != 0 {
			t.Errorf("result %+v, %d blamed; the first no longer is, and the second had ten seconds of its twenty", res, r.suspects())
		}
	})
}

// Streams that our own total time ends open no breaker.
func TestOwnTotalTimeOpensNoBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(_ int, c net.Conn) bool {
			_, _ = io.WriteString(c, streamHead)
			for {
				if _, err := io.WriteString(c, event); err != nil {
					return false
				}
				time.Sleep(time.Second)
			}
		})
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 10s"})
		for n := range 8 {
			call := r.call(t.Context(), http.Header{}, chatBody)
			call.Client = string(rune('a' + n%2))
			w := newSink()
			res := r.serve(w, call)
			if res.Outcome != relay.OutcomeBrokenOff || !strings.Contains(w.text(), "upstream_timeout") || r.suspects() != 0 {
				t.Fatalf("stream %d: %+v, %d blamed", n, res, r.suspects())
			}
		}
	})
}
