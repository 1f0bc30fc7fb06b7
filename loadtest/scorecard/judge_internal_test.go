package scorecard

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	prelude = `data: {"choices":[],"prompt_filter_results":[]}` + "\n\n"
	word    = `data: {"choices":[{"delta":{"content":"sea"},"finish_reason":null}]}` + "\n\n"
	finish  = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	done    = "data: [DONE]\n\n"
	failure = `data: {"error":{"code":"upstream_failed"}}` + "\n\n"
)

// A stream that was cut must never be taken for complete, nor one that merely
// looks cut for an honest end.
func TestHowAnAnswerEnded(t *testing.T) {
	cut := io.ErrUnexpectedEOF
	for _, tt := range []struct {
		name             string
		mode             Mode
		status           int
		raw              string
		err              error
		complete, honest bool
	}{
		{"a whole stream", Stream, 200, prelude + word + finish + done, nil, true, false},
		{"a whole stream with a comment", Stream, 200, prelude + ": keep-alive\n\n" + word + finish + done, nil, true, false},
		{"an error event and a broken connection", Stream, 200, prelude + word + failure, cut, false, true},
		{"an error event, but the connection ends in order", Stream, 200, prelude + word + failure, nil, false, false},
		{"a broken connection without an error event", Stream, 200, prelude + word, cut, false, false},
		{"a silent truncation", Stream, 200, prelude + word, nil, false, false},
		{"[DONE] without a finish", Stream, 200, prelude + word + done, nil, false, false},
		{"[DONE] after an error", Stream, 200, prelude + word + failure + finish + done, nil, false, false},
		{"[DONE] after half an event", Stream, 200, prelude + finish + `data: {"choi` + "\n\n" + done, nil, false, false},
		{"[DONE], but the connection breaks", Stream, 200, prelude + word + finish + done, cut, false, false},
		{"a whole plain answer", Plain, 200, `{"choices":[{"message":{"content":"sea"}}]}`, nil, true, false},
		{"half a plain answer", Plain, 200, `{"choices":[{"message":{"con`, nil, false, false},
		{"a plain answer cut by the connection", Plain, 200, `{"choices":[{"message":{"content":"sea"}}]}`, cut, false, false},
		{"a refusal", Plain, 502, `{"error":{"code":"upstream_failed"}}`, nil, false, false},
		{"a refused stream", Stream, 502, failure, cut, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answer{status: tt.status, raw: []byte(tt.raw), err: tt.err}
			a.read(tt.mode)
			if a.complete != tt.complete || a.honest() != tt.honest {
				t.Errorf("complete %v, honest %v; want %v, %v", a.complete, a.honest(), tt.complete, tt.honest)
			}
			if a.complete && a.text != "sea" {
				t.Errorf("text = %q", a.text)
			}
		})
	}
}

func TestRequirements(t *testing.T) {
	good := Tally{Requests: 10, Complete: 10, Struck: 1}
	for _, tt := range []struct {
		name  string
		job   job
		tally Tally
		want  string // part of the problem, "" for none
	}{
		{"all answered", job{mode: Plain, faulty: 1}, good, ""},
		{"one lost", job{mode: Stream, faulty: 1, variant: variant{midStream: true}}, Tally{Requests: 10, Complete: 8, Honest: 1, Struck: 1}, "1 of 10 requests were neither"},
		{"broken off after the first byte", job{mode: Stream, faulty: 1, variant: variant{midStream: true}}, Tally{Requests: 10, Complete: 9, Honest: 1, Struck: 1}, ""},
		{"broken off before the first byte", job{mode: Stream, faulty: 1}, Tally{Requests: 10, Complete: 9, Honest: 1, Struck: 1}, "before the first byte"},
		{"outside", job{mode: Plain, faulty: 1}, Tally{Requests: 10, Complete: 10, Struck: 1, Outside: 1}, "outside the boundary"},
		{"nothing was tested", job{mode: Plain, faulty: 1}, Tally{Requests: 10, Complete: 10}, "never struck"},
		{"a healthy run", job{mode: Plain}, Tally{Requests: 10, Complete: 10}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(tt.job.problems(tt.tally), "; ")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOpeningEndsWithTheFirstChoice(t *testing.T) {
	if got, want := opening([]byte(prelude+word+finish)), len(prelude+word); got != want {
		t.Errorf("opening = %d, want %d", got, want)
	}
	if got := opening([]byte(prelude)); got != len(prelude) {
		t.Errorf("opening of a stream without one = %d", got)
	}
}

// The offsets cover the whole answer, and only those that come after its opening
// excuse an answer that is broken off.
func TestOffsets(t *testing.T) {
	all := resets(reference{plainBytes: 800, streamBytes: 2000, opening: 500}, false).variants
	if len(all) != 2*offsets {
		t.Fatalf("%d variants, want %d", len(all), 2*offsets)
	}
	begun := 0
	for _, v := range all {
		if v.midStream {
			begun++
			if v.only != Stream {
				t.Errorf("%+v is excused", v)
			}
		}
	}
	if begun != 15 { // 500, 600 … 1900
		t.Errorf("%d of the offsets come after the opening, want 15", begun)
	}
	if !slices.ContainsFunc(all, func(v variant) bool { return v.fault == "reset-after-bytes;0" }) {
		t.Error("no offset is 0")
	}
}

func TestEveryFaultIsMeasuredInBothModes(t *testing.T) {
	var c Card
	jobs := c.plan(classes(reference{plainBytes: 800, streamBytes: 2000, opening: 500}, true))
	for _, mode := range []Mode{Plain, Stream} {
		if !slices.ContainsFunc(jobs, func(j job) bool { return j.row < 0 && j.mode == mode }) {
			t.Errorf("no healthy run for %s", mode)
		}
	}
	rows := map[string]int{}
	for _, r := range c.Rows {
		rows[r.Fault]++
	}
	for fault, n := range rows {
		if want := 4; n != want && !strings.HasPrefix(fault, "error event") {
			t.Errorf("%s has %d rows, want %d", fault, n, want)
		}
	}
}

func TestRowsAreHeldAgainstTheHealthyRun(t *testing.T) {
	c := Card{Healthy: map[Mode]Row{}, Rows: []Row{{Fault: "f", Mode: Plain, Faulty: 1}}}
	c.collect(
		[]job{{row: -1, mode: Plain}, {row: 0, mode: Plain, faulty: 1}, {row: 0, mode: Plain, faulty: 1, variant: variant{fault: "v"}}},
		[]Row{
			{firstBytes: []time.Duration{1, 2, 3}},
			{Tally: Tally{Requests: 2, Complete: 2, Attempts: 3}, firstBytes: []time.Duration{4, 5}},
			{Tally: Tally{Requests: 2, Complete: 1, Attempts: 3}, firstBytes: []time.Duration{1, 9}, Problems: []string{"lost"}},
		})
	r := c.Rows[0]
	if r.Requests != 4 || r.Complete != 3 || r.ExtraCalls() != 0.5 || r.MedianAdded != 3 || r.MaxAdded != 7 {
		t.Errorf("row = %+v", r)
	}
	if err := c.Err(); err == nil || err.Error() != "f, plain, 1 of 3 faulty: v: lost" {
		t.Errorf("problems = %v", err)
	}
}
