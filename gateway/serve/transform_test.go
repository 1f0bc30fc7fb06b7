package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
	"github.com/stampgate/stampgate/gateway/sse"
)

// A changer notes what it is given, and returns what its function makes of it.
type changer struct {
	change func(text string) string

	mu    sync.Mutex // guards given
	given []string
}

func (c *changer) note(what string, text []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = append(c.given, what+string(text))
	out := []byte(c.change(string(text)))
	clear(text) // it is the transform's own until it returns
	return out
}

func (c *changer) Body(status int, _ string, body []byte) []byte {
	return c.note(strconv.Itoa(status)+" ", body)
}
func (c *changer) Event(event []byte) []byte { return c.note("", event) }
func (c *changer) Message(fromClient bool, message []byte) []byte {
	if fromClient {
		return c.note("from ", message)
	}
	return c.note("for ", message)
}

func (c *changer) was() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.given)
}

// changed is a setup whose answers these change.
func changed(list ...relay.Transform) wholeSetup {
	return seamed(serve.Seams{Pin: func(_ context.Context, c *relay.Call) (string, error) {
		c.Transforms = list
		return "", nil
	}})
}

// A plain answer is changed as a whole, once by each transform in their order, and
// announced by its new length, however it came and however large it is.
func TestPlainAnswersAreChangedWhole(t *testing.T) {
	large := `{"choices":[{"message":{"content":"` + strings.Repeat("Hi ", 1<<20) + `"}}]}`
	for _, tt := range []struct {
		name, raw, body string
		status          int
	}{
		{"small", answer("200 OK", jsonHeader, goodAnswer), goodAnswer, 200},
		{"larger than is held of others", answer("200 OK", jsonHeader, large), large, 200},
		{"of unknown length", "HTTP/1.1 200 OK\r\n" + jsonHeader + "\r\n" + large, large, 200},
		{"the client's own fault", answer("400 Bad Request", jsonHeader, `{"error":{"code":"x"}}`), `{"error":{"code":"x"}}`, 400},
		{"speech", answer("200 OK", "Content-Type: audio/mpeg\r\n", "\xff\xfb\x00"), "\xff\xfb\x00", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := &changer{change: func(text string) string { return "[" + text }}
			second := &changer{change: func(text string) string { return text + "]" }}
			w, _ := inMemory(t, says(tt.raw), changed(first, second))
			got := w.do(w.request(http.MethodPost, chatPath, plainBody))
			want := "[" + tt.body + "]"
			if got.StatusCode != tt.status || got.text != want || got.Header.Get("Content-Length") != strconv.Itoa(len(want)) {
				t.Errorf("status %d, %d bytes, announced %s", got.StatusCode, len(got.text), got.Header.Get("Content-Length"))
			}
			status := strconv.Itoa(tt.status)
			if !slices.Equal(first.was(), []string{status + " " + tt.body}) || !slices.Equal(second.was(), []string{status + " [" + tt.body}) {
				t.Errorf("given %d and %d times", len(first.was()), len(second.was()))
			}
			if line := w.lines()[0]; line["bytes_out"] != float64(len(want)) {
				t.Errorf("the log has %v", line)
			}
		})
	}
}

// What is not passed on is nobody's to change, nor is what the gateway says itself.
func TestOnlyTheClientsAnswerIsChanged(t *testing.T) {
	for name, tt := range map[string]struct {
		do   script
		want []string
	}{
		"an answer after a failure": {func(n int, c net.Conn) bool {
			if n == 1 {
				return says(answer("500 Internal Server Error", jsonHeader, `{"error":{}}`))(n, c)
			}
			return wellAnswered(n, c)
		}, []string{"200 " + goodAnswer}},
		"a refusal of ours":                 {says(answer("429 Too Many Requests", "Retry-After: 1\r\n", "{}")), nil},
		"half an answer":                    {says(answer("200 OK", jsonHeader, goodAnswer[:20])), nil},
		"a stream that opens with an error": {says(answer("200 OK", "Content-Type: text/event-stream\r\n", prelude+`data: {"error":{"message":"overloaded"}}`+"\n\n")), nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &changer{change: func(text string) string { return text }}
			w, _ := inMemory(t, tt.do, changed(c))
			if got := w.do(w.request(http.MethodPost, chatPath, plainBody)); !slices.Equal(c.was(), tt.want) || got.text == "" {
				t.Errorf("given %q; the client got %q", c.was(), got.text)
			}
		})
	}
}

// An answer that cannot be held whole cannot be changed: it is a failed attempt, and
// never passes as it is.
func TestAnAnswerWithoutRoomIsNotPassedUnchanged(t *testing.T) {
	large := strings.Repeat("secret ", 1<<17)
	setup := changed(&changer{change: func(string) string { return "changed" }})
	setup.limit = 300 << 10
	w, _ := inMemory(t, says(answer("200 OK", jsonHeader, `{"a":"`+large+`"}`)), setup)
	got := w.do(w.request(http.MethodPost, chatPath, plainBody))
	if got.StatusCode < 500 || strings.Contains(got.text, "secret") {
		t.Errorf("status %d, %d bytes", got.StatusCode, len(got.text))
	}
}

// makeOf doubles some events, drops some and leaves others, by what is in them.
func makeOf(event string) string {
	switch len(lines(event)) % 3 {
	case 0:
		return ""
	case 1:
		return event + event
	}
	return event
}

// lines is text without the ends of its lines.
func lines(text string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(text) }

// The client gets what became of each event, whatever pieces the stream came in. Of
// a CRLF at an event's end the LF may come later than the event, and is no event.
func TestEachEventOfAStreamIsChangedOnce(t *testing.T) {
	var pieces [][]byte // of the answer to the request that is served
	var given *changer
	w, _ := inMemory(t, func(_ int, c net.Conn) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for _, piece := range pieces {
			if err == nil {
				_, err = c.Write(piece)
			}
		}
		return false
	}, seamed(serve.Seams{Pin: func(_ context.Context, c *relay.Call) (string, error) {
		c.Transforms = []relay.Transform{given}
		return "", nil
	}}))
	rapid.Check(t, func(t *rapid.T) {
		events := eventsOf(t)
		var want strings.Builder
		for _, e := range events {
			want.WriteString(makeOf(e))
		}
		whole := []byte(strings.Join(events, ""))
		pieces = nil
		for at := 0; at < len(whole); {
			n := min(rapid.IntRange(1, 300).Draw(t, "piece"), len(whole)-at)
			pieces = append(pieces, whole[at:at+n])
			at += n
		}
		given = &changer{change: makeOf}
		got := w.do(w.request(http.MethodPost, chatPath, chatBody))
		same := func(got, want string) bool {
			return got == want || bytes.ContainsRune(whole, '\r') && lines(got) == lines(want)
		}
		if !slices.EqualFunc(given.was(), events, same) {
			t.Fatalf("given %q\nof %q", given.was(), events)
		}
		if !same(got.text, want.String()) {
			t.Fatalf("the client got %q\nwant %q", got.text, want.String())
		}
	})
}

// eventsOf draws the events of a whole answer, with comments between them.
func eventsOf(t *rapid.T) []string {
	ending := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "ending")
	var events []string
	for n := range rapid.IntRange(0, 8).Draw(t, "events") {
		text := strings.Repeat("x", rapid.IntRange(0, 200).Draw(t, "length"))
		events = append(events, fmt.Sprintf(`data: {"choices":[{"delta":{"content":"%d%s"}}]}`, n, text)+ending+ending)
		if rapid.Bool().Draw(t, "a comment") {
			events = append(events, ": "+text+ending+ending)
		}
	}
	return append(events, "data: [DONE]"+ending+ending)
}

// What the gateway puts into a stream itself, a comment while it is quiet and an
// error at its end, is not the transform's, even where that drops everything.
func TestWhatTheGatewaySaysInAStreamIsNotChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &changer{change: func(string) string { return "" }}
		w, _ := inMemory(t, func(_ int, c net.Conn) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+event)
			time.Sleep(4 * time.Second)
			_, _ = io.WriteString(c, event)
			return false
		}, changed(c))
		s := newSink()
		func() {
			defer func() { _ = recover() }() // what is broken off ends by a panic
			w.handler.ServeHTTP(s, w.request(http.MethodPost, chatPath, chatBody))
		}()
		if !slices.Equal(c.was(), []string{event, event}) {
			t.Errorf("given %q", c.was())
		}
		if got := s.text(); !strings.HasPrefix(got, sse.KeepAlive) || !strings.Contains(got, "upstream_failed") || strings.Contains(got, "choices") {
			t.Errorf("the client got %q", got)
		}
	})
}

// Nor is the early head of a stream, its comments, or the refusal that ends it.
func TestAnEarlyHeadIsNotChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &changer{change: func(string) string { return "" }}
		setup := changed(c)
		setup.policy = func(text string) string {
			return strings.Replace(text, "tiers: [{targets: [b0", "earlyHead: 1s, tiers: [{targets: [b0", 1)
		}
		w, _ := inMemory(t, func(n int, c net.Conn) bool {
			time.Sleep(4900 * time.Millisecond)
			return says(answer("500 Internal Server Error", jsonHeader, "{}"))(n, c)
		}, setup)
		s := newSink()
		func() {
			defer func() { _ = recover() }() // what is broken off ends by a panic
			w.handler.ServeHTTP(s, w.request(http.MethodPost, chatPath, chatBody))
		}()
		if got := s.text(); len(c.was()) != 0 || !strings.HasPrefix(got, sse.KeepAlive) || !strings.Contains(got, "upstream_failed") {
			t.Errorf("given %q; the client got %q", c.was(), got)
		}
	})
}

// Messages of a session are changed both ways, each whole; one that becomes empty
// stays a message.
func TestMessagesOfASessionAreChanged(t *testing.T) {
	b := newRealtime(t, echo)
	c := &changer{change: func(text string) string { return strings.Replace(text, "x", "xy", 1) }}
	setup := changed(c)
	setup.real = []string{b.url}
	w := newWhole(t, setup)
	conn, _ := dial(t, w.front().URL+realtimePath, http.Header{"Api-Key": {w.key}})
	large := strings.Repeat("ab", 1<<20) + "x"
	for _, tt := range []struct {
		kind       websocket.MessageType
		text, want string
	}{
		{websocket.MessageText, "x", "xyy"},
		{websocket.MessageBinary, "\x00x", "\x00xyy"},
		{websocket.MessageText, "", ""},
		{websocket.MessageText, large, large + "yy"},
	} {
		if err := conn.Write(bounded(t), tt.kind, []byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := conn.Read(bounded(t))
		if err != nil || kind != tt.kind || string(got) != tt.want {
			t.Fatalf("of %d bytes became %d, want %d; %v", len(tt.text), len(got), len(tt.want), err)
		}
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	want := []string{"from x", "for xy", "from \x00x", "for \x00xy", "from ", "for ", "from " + large, "for " + large + "y"}
	if !slices.Equal(c.was(), want) {
		t.Errorf("given %d messages, want %d", len(c.was()), len(want))
	}
	if line := w.lines()[0]; line["outcome"] != "ok" {
		t.Errorf("the log has %v", line)
	}
}
