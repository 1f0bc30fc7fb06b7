package sse

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// endings is text made of whole events, with every way to end a line.
func endings() *rapid.Generator[[]byte] {
	line := rapid.SampledFrom([]string{"data: x", "data:", ": a comment", "event: e", "id: 1", "data: \xff\x00", "\xef\xbb\xbfdata: y", "x", strings.Repeat("z", 300)})
	ending := rapid.SampledFrom([]string{"\n", "\r\n", "\r"})
	return rapid.Custom(func(t *rapid.T) []byte {
		one := rapid.Bool().Draw(t, "one ending")
		with := ending.Draw(t, "ending")
		next := func() string {
			if one {
				return with
			}
			return ending.Draw(t, "another ending")
		}
		var text []byte
		for range rapid.IntRange(0, 6).Draw(t, "events") {
			for range rapid.IntRange(0, 3).Draw(t, "lines") {
				text = append(append(text, line.Draw(t, "line")...), next()...)
			}
			text = append(text, next()...)
		}
		return text
	})
}

// wholeOf is how much of p a scanner takes for whole events, and how many with data
// it has found in it. A byte order mark is one at the stream's beginning alone.
func wholeOf(p []byte, first bool) (whole, events int) {
	s := NewScanner(Chat)
	if !first {
		_, _ = s.Feed([]byte(":\n\n"))
	}
	whole, _ = s.Feed(p)
	return whole, s.Events()
}

// What Split yields is the input cut into single events: together they are the
// input, each is whole by the scanner's own reading, none can be cut further, and
// they hold as many events with data.
func checkSplit(fatal func(format string, args ...any), text []byte) {
	whole, events := wholeOf(text, true)
	if whole != len(text) {
		return // not the whole events that Split wants
	}
	var parts [][]byte
	found := 0
	for p := range Split(text) {
		parts = append(parts, p)
		whole, n := wholeOf(p, len(parts) == 1)
		if len(p) == 0 || whole != len(p) || n > 1 {
			fatal("%q of %q: %d of %d bytes are whole, with %d events", p, text, whole, len(p), n)
		}
		// A line and an empty one are an event: an empty line before the end must have
		// nothing but empty lines before it.
		for cut := 1; cut < len(p); cut++ {
			if whole, _ := wholeOf(p[:cut], len(parts) == 1); whole == cut && holds(p[:cut]) && (p[cut-1] != '\r' || p[cut] != '\n') {
				fatal("%q of %q is more than one event", p, text)
			}
		}
		found += n
	}
	if joined := slices.Concat(parts...); !bytes.Equal(joined, text) {
		fatal("%q becomes %q", text, joined)
	}
	if found != events {
		fatal("%q has %d events, the parts have %d", text, events, found)
	}
}

// holds reports whether there is a line in p that is not empty.
func holds(p []byte) bool {
	return len(bytes.Trim(bytes.TrimPrefix(p, []byte("\xef\xbb\xbf")), "\r\n")) > 0
}

func TestSplitYieldsWholeEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkSplit(t.Fatalf, endings().Draw(t, "text")) })
}

func FuzzSplit(f *testing.F) {
	for _, text := range []string{"", "\n", "\r\n\r\n", "data: x\n\n", "data: x\r\n\r\ndata: y\r\r: z\n\n", "\n\ndata: x\n\n", "data: x\r\r\n", "\xef\xbb\xbf\n\ndata: x\n\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkSplit(t.Fatalf, text) })
}

func TestSplitStopsWhenAsked(t *testing.T) {
	n := 0
	for range Split([]byte("data: x\n\ndata: y\n\n")) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d events after a break", n)
	}
}
