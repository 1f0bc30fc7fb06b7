package serve_test

import (
	"bufio"
	"context"
	"errors"
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
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

const (
	quiet      = 15 * time.Second
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" // ends with the connection
)

// A beat is one step of a scripted stream.
type beat struct {
	after time.Duration
	text  string
}

// plays is a backend that sends a stream in steps and then stays silent until
// the gateway hangs up, or ends the connection.
func plays(stay bool, beats ...beat) script {
	return func(_ int, c net.Conn) bool {
		if _, err := io.WriteString(c, streamHead); err != nil {
			return false
		}
		for _, b := range beats {
			time.Sleep(b.after)
			if b.text == "" {
				continue
			}
			if _, err := io.WriteString(c, b.text); err != nil {
				return false
			}
		}
		if stay {
			_, _ = io.Copy(io.Discard, c)
		}
		return false
	}
}

// play has one stream pass through a proxy in virtual time.
func play(t *testing.T, timeouts string, do script) (*sink, relay.Result) {
	t.Helper()
	network, _ := memory(t, do)
	r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: timeouts, keepAlive: quiet})
	w := newSink()
	return w, r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
}

func expect(t *testing.T, w *sink, want ...write) {
	t.Helper()
	if len(w.writes) != len(want) {
		t.Fatalf("writes %+v, want %+v", w.writes, want)
	}
	for n := range want {
		if w.writes[n] != want[n] {
			t.Errorf("write %d is %+v, want %+v", n, w.writes[n], want[n])
		}
	}
}

const patient = "connect: 1s, firstByte: 2m, idle: 2m, total: 10m"

// While a backend is quiet the client is sent comments, so that no balancer on
// the way takes the connection for dead.
func TestKeepAliveWhileTheBackendIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, res := play(t, patient, plays(false, beat{0, event}, beat{40 * time.Second, event + done}))
		if res.Outcome != relay.OutcomeOK || res.Status != 200 {
			t.Errorf("result %+v", res)
		}
		expect(t, w,
			write{0, event}, write{quiet, sse.KeepAlive}, write{2 * quiet, sse.KeepAlive}, write{40 * time.Second, event + done})
	})
}

// A backend that sends something now and then is not quiet.
func TestNoKeepAliveWhileEventsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := quiet - time.Nanosecond
		w, _ := play(t, patient, plays(false, beat{0, event}, beat{step, event}, beat{step, event + done}))
		expect(t, w, write{0, event}, write{step, event}, write{2 * step, event + done})
	})
}

// A comment must not come between the halves of an event: what the client has
// ends with a whole one.
func TestKeepAliveStaysBetweenEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		half := len(event) / 2
		w, res := play(t, patient, plays(false, beat{0, event + event[:half]}, beat{20 * time.Second, event[half:] + done}))
		if res.Outcome != relay.OutcomeOK {
			t.Errorf("result %+v", res)
		}
		// Quiet began with the half.
		expect(t, w, write{0, event}, write{quiet, sse.KeepAlive}, write{20 * time.Second, event + done})
	})
}

// A stream that has opened and then thinks for long is committed, so that the
// client sees that something lives; one of which nothing whole has come is not.
func TestQuietOpeningIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, res := play(t, patient, plays(false, beat{time.Second, prelude}, beat{29 * time.Second, event + done}))
		if res.Outcome != relay.OutcomeOK || res.FirstByte != quiet+time.Second {
			t.Errorf("result %+v", res)
		}
		expect(t, w,
			write{quiet + time.Second, prelude}, write{quiet + time.Second, sse.KeepAlive}, write{30 * time.Second, event + done})
	})
	synctest.Test(t, func(t *testing.T) {
		half := len(prelude) / 2
		w, _ := play(t, patient, plays(false, beat{0, prelude[:half]}, beat{40 * time.Second, prelude[half:] + event + done}))
		expect(t, w, write{40 * time.Second, prelude + event + done})
	})
	synctest.Test(t, func(t *testing.T) {
		w, _ := play(t, patient, plays(false, beat{100 * time.Second, event + done}))
		expect(t, w, write{100 * time.Second, event + done})
	})
}

// An error event after a quiet opening comes too late for another target: it is
// the client's, and the connection is broken off.
func TestErrorAfterAQuietOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failure = `data: {"error":{"message":"overloaded"}}` + "\n\n"
		w, res := play(t, patient, plays(false, beat{0, prelude}, beat{20 * time.Second, failure}))
		if res.Outcome != relay.OutcomeBrokenOff || !res.Aborted || res.Refusal != nil {
			t.Errorf("result %+v", res)
		}
		expect(t, w, write{quiet, prelude}, write{quiet, sse.KeepAlive}, write{20 * time.Second, failure})
	})
}

// A stall after the first byte ends honestly: with an error event of the
// stream's own form, and a connection that is broken off.
func TestStallMidStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, res := play(t, "connect: 1s, firstByte: 5s, idle: 10s, total: 1m", plays(true, beat{time.Second, event + event[:10]}))
		if res.Outcome != relay.OutcomeBrokenOff || !res.Aborted || res.Refusal != nil {
			t.Errorf("result %+v", res)
		}
		if len(w.writes) != 2 || w.writes[0] != (write{time.Second, event}) || w.writes[1].after != 11*time.Second {
			t.Fatalf("writes %+v", w.writes)
		}
		if frame := w.writes[1].text; !strings.HasPrefix(frame, `data: {"error":`) || !strings.HasSuffix(frame, "\n\n") || strings.Contains(frame, "[DONE]") {
			t.Errorf("the last frame is %q", frame)
		}
	})
}

// The total time ends a stream, too, however lively it is.
func TestTotalTimeEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var beats []beat
		for range 20 {
			beats = append(beats, beat{time.Second, event})
		}
		w, res := play(t, "connect: 1s, firstByte: 5s, idle: 5s, total: 9500ms", plays(true, beats...))
		if res.Outcome != relay.OutcomeBrokenOff || !res.Aborted || time.Since(w.start) != 9500*time.Millisecond {
			t.Errorf("result %+v after %v", res, time.Since(w.start))
		}
		if last := w.writes[len(w.writes)-1].text; !strings.HasPrefix(last, `data: {"error":`) {
			t.Errorf("the last frame is %q", last)
		}
	})
}

// A stream that ends without its last event, in order or not, never looks whole.
func TestStreamWithoutItsEnd(t *testing.T) {
	for name, cut := range map[string]string{"after an event": event, "within an event": event + event[:20]} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, res := play(t, patient, plays(false, beat{0, event}, beat{time.Second, cut}))
				if res.Outcome != relay.OutcomeBrokenOff || !res.Aborted {
					t.Errorf("result %+v", res)
				}
				if text := w.text(); !strings.HasPrefix(text, event+event+`data: {"error":`) || !strings.HasSuffix(text, "}\n\n") {
					t.Errorf("text %q", text)
				}
			})
		})
	}
}

// What comes after the stream's own last event changes nothing for the client:
// it has the whole answer.
func TestConnectionLostAfterTheLastEvent(t *testing.T) {
	b := newBackend(t, func(_ int, c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := event + done
		_, _ = io.WriteString(c, "4d\r\n")
		_, _ = io.WriteString(c, chunk[:min(len(chunk), 0x4d)])
		return false
	})
	if n := len(event + done); n >= 0x4d {
		t.Fatalf("the events have %d bytes, more than the chunk claims", n)
	}
	r := newRig(t, setup{endpoints: []string{b.url}})
	if got := r.ask(chatBody); got.StatusCode != 200 || got.text != event+done || got.err != nil {
		t.Errorf("status %d, %q, %v", got.StatusCode, got.text, got.err)
	}
}

// A drain that is over tells each stream so.
func TestDrainCutsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, plays(true, beat{0, event}))
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: patient})
		ctx, cut := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cut(lifecycle.ErrDraining) })
		w := newSink()
		res := r.serve(w, r.call(ctx, http.Header{}, chatBody))
		if res.Outcome != refusal.OutcomeDrained || !res.Aborted || time.Since(w.start) != 3*time.Second {
			t.Errorf("result %+v after %v", res, time.Since(w.start))
		}
		if text := w.text(); !strings.HasPrefix(text, event+`data: {"error":`) || !strings.Contains(text, "draining") {
			t.Errorf("text %q", text)
		}
	})
}

// A client that hangs up ends the backend's work at once, before the first byte
// and after it: tokens cost money.
func TestClientGoneCancelsTheBackend(t *testing.T) {
	for name, first := range map[string]string{"before the header": "", "mid-stream": streamHead + event} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}), make(chan struct{})
			b := newBackend(t, func(_ int, c net.Conn) bool {
				_, _ = io.WriteString(c, first)
				close(begun)
				_, _ = io.Copy(io.Discard, c) // ends when the gateway hangs up
				close(ended)
				return false
			})
			other := good(t)
			r := newRig(t, setup{endpoints: []string{b.url, other.url}, timeouts: "connect: 1s, firstByte: 30m, idle: 30m, total: 2h"})
			front := r.front()
			c, err := net.Dial("tcp", front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			req, err := http.NewRequest(http.MethodPost, front.URL+chatPath, strings.NewReader(chatBody))
			if err != nil {
				t.Fatal(err)
			}
			if err := req.Write(c); err != nil {
				t.Fatal(err)
			}
			<-begun
			if first != "" {
				if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
					t.Fatalf("%q, %v", line, err)
				}
			}
			_ = c.Close()
			<-ended
			if res := <-r.results; res.Outcome != refusal.OutcomeClientGone || res.Attempts != 1 || other.conns.Load() != 0 {
				t.Errorf("result %+v, %d connections to the other target", res, other.conns.Load())
			}
		})
	}
}

// A client that no longer takes bytes ends the attempt, too, and is no failure of
// the backend.
func TestWriteToAClientThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, plays(true, beat{0, event}))
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: patient})
		w := newSink()
		w.fail = true
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if res.Outcome != refusal.OutcomeClientGone || !res.Aborted || time.Since(w.start) != 0 {
			t.Errorf("result %+v after %v", res, time.Since(w.start))
		}
		for _, st := range r.registry.Status(time.Now()) {
			if st.Suspect {
				t.Error("the target is suspect, although the client went")
			}
		}
	})
}

// Events pass when they come, in the same bytes, however they were cut.
func TestStreamPassesByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := ": comment\r\n\r\n" + prelude + strings.Repeat(event, 50) + strings.ReplaceAll(event, "\n", "\r\n") + done
		var beats []beat
		for at := 0; at < len(whole); {
			n := min(1+at%37, len(whole)-at)
			beats = append(beats, beat{time.Millisecond, whole[at : at+n]})
			at += n
		}
		w, res := play(t, patient, plays(false, beats...))
		if res.Outcome != relay.OutcomeOK || w.text() != whole {
			t.Errorf("result %+v, %q", res, w.text())
		}
		if len(w.writes) < 50 {
			t.Errorf("%d writes: events were collected", len(w.writes))
		}
		for _, got := range w.writes {
			if !strings.HasSuffix(got.text, "\n\n") && !strings.HasSuffix(got.text, "\n\r\n") {
				t.Errorf("a write ends within an event: %q", got.text)
			}
		}
	})
}

// A slow drip is slow, not broken: no read takes longer than the idle time.
func TestSlowDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var beats []beat
		for _, c := range event + done {
			beats = append(beats, beat{time.Second, string(c)})
		}
		w, res := play(t, "connect: 1s, firstByte: 2s, idle: 2s, total: 10m", plays(false, beats...))
		if res.Outcome != relay.OutcomeOK || w.text() != event+done {
			t.Errorf("result %+v, %q", res, w.text())
		}
	})
}

var errTest = errors.New("test")

// The end of the call's own context, for whatever reason, is not held against
// the backend.
func TestCanceledCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, b := memory(t, plays(true))
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}, dialer: network, timeouts: patient})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errTest) })
		w := newSink()
		res := r.serve(w, r.call(ctx, http.Header{}, chatBody))
		if res.Outcome != refusal.OutcomeClientGone || res.Attempts != 1 || len(w.writes) != 0 || b.requests.Load() != 1 {
			t.Errorf("result %+v, %d requests, writes %+v", res, b.requests.Load(), w.writes)
		}
	})
}
