package sse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Azure's own framing.
const (
	filterChunk = `data: {"id":"","object":"","created":0,"model":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}],"choices":[],"usage":null}` + "\n\n"
	textChunk   = `data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"say \"error\" now"}}],"usage":null}` + "\n\n"
	usageChunk  = `data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}` + "\n\n"
	doneChunk   = "data: [DONE]\n\n"
	errorChunk  = `data: {"error":{"message":"That model is currently overloaded","type":"server_error","param":null,"code":null}}` + "\n\n"
)

func typed(name, rest string) string {
	return "event: " + name + "\ndata: {\"type\":\"" + name + "\"" + rest + "}\n\n"
}

// facts are all that a scanner says about a stream.
type facts struct {
	Verdict  Verdict
	Error    string
	Ended    bool
	Events   int
	Partial  bool
	Whole    int // bytes in whole events
	TooLarge bool
}

// scan feeds the stream in chunks of the given sizes, the rest in one.
func scan(form Form, stream []byte, sizes ...int) facts {
	s := NewScanner(form)
	var f facts
	at := 0
	feed := func(n int) {
		chunk := bytes.Clone(stream[at : at+n])
		whole, err := s.Feed(chunk)
		for i := range chunk {
			chunk[i] = '#' // the scanner must not keep what it was fed
		}
		if whole > 0 {
			f.Whole = at + whole
		}
		f.TooLarge = err != nil
		at += n
	}
	for _, n := range sizes {
		feed(min(n, len(stream)-at))
	}
	feed(len(stream) - at)
	f.Verdict, f.Error, f.Ended = s.Verdict(), string(s.Error()), s.Ended()
	f.Events, f.Partial = s.Events(), s.Partial()
	return f
}

func data(event string) string {
	_, after, _ := strings.Cut(strings.TrimSuffix(event, "\n\n"), "data: ")
	return after
}

func TestVerdicts(t *testing.T) {
	filler := func(n int) string { return strings.Repeat(": keep-alive\n\n", n) }
	tests := []struct {
		why    string
		form   Form
		stream string
		want   facts // Whole is the whole stream unless Partial
	}{
		{"nothing", Chat, "", facts{}},
		{"the verdict on the prompt is not content", Chat, filterChunk, facts{Events: 1}},
		{"content", Chat, filterChunk + textChunk, facts{Verdict: Good, Events: 2}},
		{"a whole answer", Chat, filterChunk + textChunk + usageChunk + doneChunk, facts{Verdict: Good, Ended: true, Events: 4}},
		{"an empty answer", Chat, doneChunk, facts{Verdict: Good, Ended: true, Events: 1}},
		{"an error opens the stream", Chat, errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 1}},
		{"an error after the verdict on the prompt", Chat, filterChunk + errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 2}},
		{"an error on the way", Chat, textChunk + errorChunk, facts{Verdict: Good, Error: data(errorChunk), Ended: true, Events: 2}},
		{"the first error counts", Chat, errorChunk + "event: error\ndata: {}\n\n", facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 2}},
		{"a named error", Chat, "event: error\ndata: {\"code\":\"x\"}\n\n", facts{Verdict: Failed, Error: `{"code":"x"}`, Ended: true, Events: 1}},
		{"a null error is none", Chat, `data: {"error":null,"choices":[{}]}` + "\n\n", facts{Verdict: Good, Events: 1}},
		{"a null error on the way is none", Chat, textChunk + `data: {"error":null,"choices":[{}]}` + "\n\n", facts{Verdict: Good, Events: 2}},
		{"an error in a nested object is none", Chat, textChunk + `data: {"choices":[{"error":{}}]}` + "\n\n", facts{Verdict: Good, Events: 2}},
		{"comments are nothing", Chat, filler(3), facts{}},
		{"comments before an error", Chat, filler(100) + errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 1}},
		{"64 kB of comments are enough", Chat, filler(5000) + errorChunk, facts{Verdict: Good, Error: data(errorChunk), Ended: true, Events: 1}},
		{"64 events are enough", Chat, strings.Repeat(filterChunk, 64) + errorChunk, facts{Verdict: Good, Error: data(errorChunk), Ended: true, Events: 65}},
		{"63 events are not", Chat, strings.Repeat("data: {}\n\n", 63) + errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 64}},
		{"not JSON", Chat, "data: <html>\n\n", facts{Verdict: Malformed, Events: 1}},
		{"half a chunk", Chat, "data: {\"choices\":[\n\n", facts{Verdict: Malformed, Events: 1}},
		{"empty data", Chat, "data:\n\n", facts{Verdict: Malformed, Events: 1}},
		{"malformed on the way", Chat, textChunk + "data: {\"choices\":[\n\n", facts{Verdict: Good, Events: 2}},
		{"half of a surrogate pair is content", Chat, `data: {"choices":[{"delta":{"content":"\ud83d"}}]}` + "\n\n", facts{Verdict: Good, Events: 1}},
		{"a stream cut off", Chat, textChunk + "data: {\"cho", facts{Verdict: Good, Events: 1, Partial: true, Whole: len(textChunk)}},
		{"a missing blank line", Chat, "data: [DONE]\n", facts{Partial: true}},
		{"other fields are nothing", Chat, "id: 7\nretry: 10\nwhat\ndata: [DONE]\n\n", facts{Verdict: Good, Ended: true, Events: 1}},
		{"no space after the colon", Chat, "data:[DONE]\n\n", facts{Verdict: Good, Ended: true, Events: 1}},
		{"two spaces are one too many", Chat, textChunk + "data:  [DONE]\n\n", facts{Verdict: Good, Events: 2}},
		{"data in two lines", Chat, "data: {\"error\":\ndata: {}}\n\n", facts{Verdict: Failed, Error: "{\"error\":\n{}}", Ended: true, Events: 1}},
		{"a byte order mark", Chat, "\xef\xbb\xbf" + errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 1}},
		{"a mark later is none", Chat, textChunk + "\xef\xbb\xbf" + errorChunk, facts{Verdict: Good, Events: 1}},
		{"CRLF", Chat, strings.ReplaceAll(filterChunk+errorChunk, "\n", "\r\n"), facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 2}},
		{"CR", Chat, strings.ReplaceAll(filterChunk+errorChunk, "\n", "\r"), facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 2}},
		{"a mixture", Chat, "data: {}\r\n\rdata: {}\n\r\ndata: {}\r\r\ndata: [DONE]\r\n\n", facts{Verdict: Good, Ended: true, Events: 4}},

		{"created is not content", Responses, typed("response.created", "") + typed("response.in_progress", ""), facts{Events: 2}},
		{"an item is", Responses, typed("response.created", "") + typed("response.output_item.added", ""), facts{Verdict: Good, Events: 2}},
		{"a response that failed at once", Responses, typed("response.created", "") + typed("response.failed", ""), facts{Verdict: Failed, Error: `{"type":"response.failed"}`, Ended: true, Events: 2}},
		{"an error event", Responses, typed("error", `,"code":"x"`), facts{Verdict: Failed, Error: `{"type":"error","code":"x"}`, Ended: true, Events: 1}},
		{"types without names", Responses, "data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"error\"}\n\n", facts{Verdict: Failed, Error: `{"type":"error"}`, Ended: true, Events: 2}},
		{"completed", Responses, typed("response.output_text.delta", "") + typed("response.completed", ""), facts{Verdict: Good, Ended: true, Events: 2}},
		{"incomplete is an end", Responses, typed("response.incomplete", ""), facts{Verdict: Good, Ended: true, Events: 1}},
		{"failed on the way", Responses, typed("response.output_text.delta", "") + typed("response.failed", ""), facts{Verdict: Good, Error: `{"type":"response.failed"}`, Ended: true, Events: 2}},
		{"a chat-like error", Responses, errorChunk, facts{Verdict: Failed, Error: data(errorChunk), Ended: true, Events: 1}},
		{"a delta that talks of errors", Responses, typed("response.output_text.delta", `,"delta":"\"type\":\"error\""`), facts{Verdict: Good, Events: 1}},

		{"speech", Typed, typed("speech.audio.delta", "") + typed("speech.audio.done", ""), facts{Verdict: Good, Ended: true, Events: 2}},
		{"an image", Typed, typed("image_generation.partial_image", "") + typed("image_generation.completed", ""), facts{Verdict: Good, Ended: true, Events: 2}},
		{"an image that failed", Typed, typed("error", ""), facts{Verdict: Failed, Error: `{"type":"error"}`, Ended: true, Events: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			stream := []byte(tt.stream)
			want := tt.want
			if !want.Partial {
				want.Whole = len(stream)
			}
			if got := scan(tt.form, stream); got != want {
				t.Fatalf("in one piece:\n got %+v\nwant %+v", got, want)
			}
			ones := make([]int, len(stream))
			for i := range ones {
				ones[i] = 1
			}
			if got := scan(tt.form, stream, ones...); got != want {
				t.Errorf("byte by byte:\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

// streams draws event streams with every kind of line ending and damage.
func streams() *rapid.Generator[[]byte] {
	piece := rapid.SampledFrom([]string{
		filterChunk, textChunk, usageChunk, doneChunk, errorChunk, KeepAlive, typed("response.created", ""), typed("response.failed", ""),
		typed("response.completed", ""), typed("error", ""), "event: error\n", "data: {\"error\":\n", "data: {\"a\":1\ndata: }\n\n", "data", "data:", ":", "\n", "\r", "\r\n", "\n\r\n",
		"\xef\xbb\xbf", "data: {\"type\":\"error\"}\r\r", "x", "data: {}\r\n\r\n", strings.Repeat(": x\n\n", 9000), "data: \"" + strings.Repeat("y", 70000) + "\"\n\n",
		"data: {\"choices\":[], \"error\":\"" + strings.Repeat("z", 70000) + "\"}\n\n",
	})
	return rapid.Custom(func(t *rapid.T) []byte {
		text := strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		switch rapid.IntRange(0, 3).Draw(t, "ends") {
		case 0:
			text = strings.ReplaceAll(text, "\n", "\r\n")
		case 1:
			text = strings.ReplaceAll(text, "\n", "\r")
		}
		return []byte(text)
	})
}

func TestChunkingChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		form := rapid.SampledFrom([]Form{Chat, Responses, Typed}).Draw(rt, "form")
		stream := streams().Draw(rt, "stream")
		want := scan(form, stream)
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 70_000)), 0, 30).Draw(rt, "sizes")
		if got := scan(form, stream, sizes...); got != want {
			rt.Fatalf("chunks %v:\n got %+v\nwant %+v", sizes, got, want)
		}
	})
}

// reference splits a stream into events by the letter of the standard, slowly.
func reference(stream []byte) (datas []string, whole int) {
	text := string(stream)
	type line struct {
		text string
		end  int
	}
	var lines []line
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '\n' && text[i] != '\r' {
			continue
		}
		l := line{text[start:i], i + 1}
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
			l.end++
		}
		lines = append(lines, l)
		start = i + 1
	}
	var data []string
	for i, l := range lines {
		if i == 0 {
			l.text = strings.TrimPrefix(l.text, "\ufeff")
		}
		if l.text == "" {
			if data != nil {
				datas = append(datas, strings.Join(data, "\n"))
			}
			data, whole = nil, l.end
			continue
		}
		name, value, _ := strings.Cut(l.text, ":")
		if name == "data" {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return datas, whole
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(filterChunk+textChunk+doneChunk), uint16(7), uint8(1))
	f.Add([]byte("data: {}\r\n\rdata: {}\n\r\ndata: {}\r\r\ndata: [DONE]\r\n\n"), uint16(1), uint8(1))
	f.Add([]byte("\xef\xbb\xbfevent: error\ndata: x\n\n"), uint16(2), uint8(2))
	f.Add([]byte(typed("response.created", "")+typed("response.failed", "")), uint16(50), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16, form uint8) {
		got := scan(Form(form%4), stream)
		datas, whole := reference(stream)
		if got.Events != len(datas) || got.Whole != whole || got.Partial != (whole < len(stream)) {
			t.Fatalf("%q: got %+v, want %d events in %d bytes", stream, got, len(datas), whole)
		}
		var sizes []int
		for range len(stream)/(int(size)+1) + 1 {
			sizes = append(sizes, int(size)+1)
		}
		if again := scan(Form(form%4), stream, sizes...); again != got {
			t.Fatalf("%q in chunks of %d: got %+v, want %+v", stream, size+1, again, got)
		}
	})
}

// Row 18 of the table of hostile input: a backend that never ends a line, or
// never ends an event.
func TestEventsAreBounded(t *testing.T) {
	for _, tt := range []struct{ why, unit string }{
		{"one line", "x"}, {"lines of data without a blank one", "data: x\n"}, {"comments without a blank line", ":\n"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			chunk := []byte(strings.Repeat(tt.unit, 32<<10/len(tt.unit)))
			s := NewScanner(Chat)
			fed := 0
			var err error
			for err == nil && fed <= 2*MaxEvent {
				_, err = s.Feed(chunk)
				fed += len(chunk)
			}
			if err == nil || fed > MaxEvent+2*len(chunk) {
				t.Fatalf("after %d bytes: %v", fed, err)
			}
			if kept := cap(s.line) + cap(s.buf); kept > 4*inspected {
				t.Errorf("keeps %d bytes", kept)
			}
			if _, again := s.Feed(chunk); again == nil {
				t.Error("the error does not stay")
			}
		})
	}
	big := []byte("data: {\"type\":\"" + strings.Repeat("x", MaxEvent) + "\"}\n\n")
	if got := scan(Responses, big); !got.TooLarge || got.Whole != 0 {
		t.Errorf("one event over the limit in one piece: %+v", got)
	}
	fits := []byte("event: response.completed\ndata: {\"type\":\"response.completed\",\"x\":\"" + strings.Repeat("x", MaxEvent-100) + "\"}\n\n")
	if got := scan(Responses, fits); got.TooLarge || !got.Ended || got.Whole != len(fits) {
		t.Errorf("one event under the limit: %+v", got)
	}
}

func TestErrorFramesAreWhatClientsExpect(t *testing.T) {
	const message = "broken \"off\"\n\x01é"
	for _, form := range []Form{Chat, Responses, Typed} {
		frame := ErrorFrame(form, "upstream_failed", message)
		got := scan(form, frame)
		if got.Verdict != Failed || !got.Ended || got.Whole != len(frame) || got.Events != 1 {
			t.Errorf("form %d: our own scanner says %+v", form, got)
		}
		var d struct {
			Type           string `json:"type"`
			Code           string `json:"code"`
			Message        string `json:"message"`
			SequenceNumber *int   `json:"sequence_number"`
			Error          *struct {
				Code, Message, Type string
				Param               *string
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(got.Error), &d); err != nil {
			t.Fatalf("form %d: %v in %s", form, err, got.Error)
		}
		if form == Responses {
			if d.Type != "error" || d.Code != "upstream_failed" || d.Message != message || d.SequenceNumber == nil || *d.SequenceNumber != 0 {
				t.Errorf("got %+v", d)
			}
			continue
		}
		if d.Error == nil || d.Error.Code != "upstream_failed" || d.Error.Message != message || d.Error.Type != "server_error" {
			t.Errorf("got %+v", d)
		}
	}
	if ErrorFrame(None, "a", "b") != nil {
		t.Error("an operation without streams has an error event")
	}
	s := NewScanner(Responses)
	if _, err := s.Feed([]byte(typed("response.created", `,"sequence_number":0`) + typed("response.in_progress", `,"sequence_number":1`))); err != nil {
		t.Fatal(err)
	}
	if frame := string(s.ErrorFrame("c", "m")); !strings.Contains(frame, `"sequence_number":2}`) {
		t.Errorf("the sequence does not go on: %s", frame)
	}
	if got := scan(Chat, []byte(KeepAlive)); got.Verdict != Undecided || got.Events != 0 || got.Partial {
		t.Errorf("a keep-alive is something: %+v", got)
	}
}

const (
	namedChunk  = `data: {"id":"c1","model":"gpt-5.4-2026-03-05","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}` + "\n\n"
	finishChunk = `data: {"id":"c1","model":"other","choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0}]}` + "\n\n"
)

// Some servers end a stream without [DONE], or leave its line open. A client has
// the whole answer all the same.
func TestWholeWithoutItsLastEvent(t *testing.T) {
	spaced := strings.ReplaceAll(finishChunk, `":`, `": `)
	second := strings.ReplaceAll(finishChunk, `"index":0`, `"index":1`)
	for _, tt := range []struct {
		why             string
		stream          string
		choices         int
		ended, finished bool
	}{
		{"nothing", "", 1, false, false},
		{"no finish", textChunk + namedChunk, 1, false, false},
		{"finished", textChunk + finishChunk, 1, false, true},
		{"finished with spaces", textChunk + spaced, 1, false, true},
		{"finished, then usage", textChunk + finishChunk + usageChunk, 1, false, true},
		{"in its first event", finishChunk, 1, false, true},
		{"one of two", textChunk + finishChunk, 2, false, false},
		{"one of two, twice", textChunk + finishChunk + finishChunk, 2, false, false},
		{"both of two", textChunk + second + finishChunk, 2, false, true},
		{"nobody knows of how many", textChunk + finishChunk, 0, false, false},
		{"finished, then an error", textChunk + finishChunk + errorChunk, 1, true, false},
		{"text that talks of it", textChunk + `data: {"choices":[{"delta":{"content":"\"finish_reason\":\"stop\""},"finish_reason":null}]}` + "\n\n", 1, false, false},
		{"an open [DONE]", textChunk + "data: [DONE]", 1, true, false},
		{"a [DONE] with one newline", textChunk + "data: [DONE]\n", 1, true, false},
		{"half a [DONE]", textChunk + "data: [DON", 1, false, false},
		{"an open event", textChunk + strings.TrimSpace(finishChunk), 1, false, false},
	} {
		for _, size := range []int{len(tt.stream), 1, 7} {
			s := NewScanner(Chat)
			s.Expect(tt.choices)
			for rest := []byte(tt.stream); len(rest) > 0; {
				n := min(size, len(rest))
				_, _ = s.Feed(rest[:n])
				rest = rest[n:]
			}
			s.Close()
			if s.Ended() != tt.ended || s.Finished() != tt.finished {
				t.Errorf("%s, in pieces of %d: ended %t, finished %t", tt.why, size, s.Ended(), s.Finished())
			}
		}
	}
}

func TestModelIsTheFirstThatIsNamed(t *testing.T) {
	for _, tt := range []struct {
		why    string
		form   Form
		stream string
		want   string
	}{
		{"Azure's first event names none", Chat, filterChunk + namedChunk + finishChunk, "gpt-5.4-2026-03-05"},
		{"after content without one", Chat, textChunk + namedChunk, "gpt-5.4-2026-03-05"},
		{"none", Chat, filterChunk + textChunk, ""},
		{"too late", Chat, strings.Repeat(textChunk, 20) + namedChunk, ""},
		{"in the response", Responses, typed("response.created", `,"response":{"id":"r","model":"gpt-5.5"}`) + typed("response.completed", `,"response":{"model":"x"}`), "gpt-5.5"},
		{"of speech", Typed, typed("speech.audio.delta", `,"audio":"x"`), ""},
		{"not a string", Chat, `data: {"model":7,"choices":[{}]}` + "\n\n", ""},
		{"inside of a choice", Chat, `data: {"choices":[{"model":"x"}]}` + "\n\n", ""},
	} {
		s := NewScanner(tt.form)
		_, _ = s.Feed([]byte(tt.stream))
		if got := string(s.Model()); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.why, got, tt.want)
		}
	}
}

func TestCommentsAreInNoEvent(t *testing.T) {
	for stream, want := range map[string]bool{"": false, ": ping\n": false, ": ping\n\n": false, ": pi": true, "data: x\n": true, "event: x\n": true, textChunk: false} {
		s := NewScanner(Chat)
		_, _ = s.Feed([]byte(stream))
		if s.InEvent() != want {
			t.Errorf("%q: in an event = %t", stream, s.InEvent())
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	for _, c := range []struct {
		name  string
		form  Form
		chunk string
	}{
		{"one_event", Chat, textChunk},
		{"ten_events", Chat, strings.Repeat(textChunk, 10)},
		{"responses_delta", Responses, typed("response.output_text.delta", `,"sequence_number":7,"delta":"hello"`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := NewScanner(c.form)
			chunk := []byte(c.chunk)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := s.Feed(chunk); err != nil || n != len(chunk) {
					b.Fatal(n, err)
				}
			}
		})
	}
	half := []byte(textChunk)
	b.Run("cut_in_two", func(b *testing.B) {
		s := NewScanner(Chat)
		b.SetBytes(int64(len(half)))
		b.ReportAllocs()
		for b.Loop() {
			_, err1 := s.Feed(half[:70])
			_, err2 := s.Feed(half[70:])
			if err1 != nil || err2 != nil {
				b.Fatal(fmt.Sprint(err1, err2))
			}
		}
	})
}
