package scorecard

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
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
		{"a finish without [DONE]", Stream, 200, prelude + word + finish, nil, false, false},
		{"[DONE] without its last newline", Stream, 200, prelude + word + finish + "data: [DONE]\n", nil, true, false},
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
	plain := job{mode: Plain, faulty: 1}
	midStream := job{mode: Stream, faulty: 1, variant: variant{midStream: true}}
	passOn := job{mode: Plain, faulty: 1, variant: variant{right: PassedOn, once: true}}
	for _, tt := range []struct {
		name  string
		job   job
		tally Tally
		want  string // part of the problem, "" for none
	}{
		{"all answered", plain, good, ""},
		{"one lost", midStream, Tally{Requests: 10, Complete: 8, Honest: 1, Struck: 1}, "1 of 10 requests got a wrong answer"},
		{"broken off after the first byte", midStream, Tally{Requests: 10, Complete: 9, Honest: 1, Struck: 1}, ""},
		{"broken off before the first byte", job{mode: Stream, faulty: 1}, Tally{Requests: 10, Complete: 9, Honest: 1, Struck: 1}, "before the first byte"},
		{"outside", plain, Tally{Requests: 10, Complete: 10, Struck: 1, Outside: 1}, "outside the boundary"},
		{"nothing was tested", plain, Tally{Requests: 10, Complete: 10}, "never struck"},
		{"a healthy run", job{mode: Plain}, Tally{Requests: 10, Complete: 10}, ""},
		{"passed on", passOn, Tally{Requests: 10, Complete: 7, PassedOn: 3, MostAttempts: 1, MostArrived: 1, Struck: 3}, ""},
		{"passed on after a second attempt", passOn, Tally{Requests: 10, Complete: 7, PassedOn: 3, MostAttempts: 1, MostArrived: 2, Struck: 3}, "want 1 at most"},
		{"every target asked twice and more", plain, Tally{Requests: 10, Complete: 10, MostAttempts: 4, Struck: 1}, "want 3 at most"},
		{"a fair share of 200 first attempts", plain, Tally{Requests: 200, Complete: 200, First: 94, Struck: 1}, ""},
		{"failing fast looks like being free", plain, Tally{Requests: 200, Complete: 200, First: 95, Struck: 1}, "a fair share is 94"},
		{
			"the only target of its region",
			job{mode: Plain, faulty: 1, class: class{regions: true}},
			Tally{Requests: 200, Complete: 200, First: 200, Struck: 1},
			"",
		},
		{
			"answered, though retired everywhere",
			job{mode: Plain, faulty: 3, variant: variant{right: Retired}},
			Tally{Requests: 10, Complete: 1, PassedOn: 9, Struck: 9},
			"every target is retired",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(tt.job.problems(tt.tally), "; ")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheRightAnswerToARequestThatWasStruck(t *testing.T) {
	refusal := answer{status: 400, raw: []byte("filtered")}
	whole := answer{status: 200, text: "sea", whole: true}
	for _, tt := range []struct {
		name string
		want Right
		a    answer
		ok   bool
	}{
		{"the backend's words", PassedOn, refusal, true},
		{"the backend's words where another target could answer", Complete, refusal, false},
		{"other words", PassedOn, answer{status: 400, raw: []byte("refused")}, false},
		{"another status", PassedOn, answer{status: 502, raw: []byte("filtered")}, false},
		{"the words of a broken connection", PassedOn, answer{status: 400, raw: []byte("filtered"), err: io.ErrUnexpectedEOF}, false},
		{"a complete answer of another target", PassedOn, answer{complete: true, text: "sea"}, true},
		{"an answer with other text", PassedOn, answer{complete: true, text: "see"}, false},
		{"out of time", NotRepeated, answer{status: 504}, true},
		{"out of time where another target could answer", Complete, answer{status: 504}, false},
		{"retired everywhere", Retired, answer{status: 410}, true},
		{"retired at one", Complete, answer{status: 410}, false},
		{"a stream without [DONE]", AsItIs, whole, true},
		{"a stream without [DONE] that should have it", Complete, whole, false},
	} {
		var tally Tally
		if ok := tally.judge(tt.a, tt.want, "sea", refusal); ok != tt.ok || ok == (tally == Tally{}) {
			t.Errorf("%s: %v, %+v", tt.name, ok, tally)
		}
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

// The short form leaves out variants, never a row, and measures coming back with
// one faulty target.
func TestPlan(t *testing.T) {
	var c Card
	all := classes(reference{plainBytes: 800, streamBytes: 2000, opening: 500}, true)
	jobs := c.plan(all)
	for _, mode := range []Mode{Plain, Stream, Session} {
		if !slices.ContainsFunc(jobs, func(j job) bool { return j.row < 0 && j.mode == mode }) {
			t.Errorf("no healthy run for %s", mode)
		}
	}
	short := thinned(jobs)
	if len(short) >= len(jobs) {
		t.Errorf("%d jobs in the short form of %d", len(short), len(jobs))
	}
	for n, r := range c.Rows {
		if r.Right == "" {
			t.Errorf("row %+v", r)
		}
		if !slices.ContainsFunc(short, func(j job) bool { return j.row == n }) {
			t.Errorf("%s, %s, %d faulty has no run in the short form", r.Fault, r.Mode, r.Faulty)
		}
	}
	names := map[string]bool{}
	for _, cl := range all {
		if names[cl.name] {
			t.Errorf("two classes are called %s", cl.name)
		}
		names[cl.name] = true
	}
	for _, j := range jobs {
		if j.row < 0 {
			continue
		}
		if j.rightAnswer() == Retired && j.mostAttempts() < targets {
			t.Errorf("%s may not ask every target", j.class.name)
		}
		if f, err := faultFor(j.variant.fault, j.mode); err != nil {
			t.Error(err)
		} else if f.Operation == "" && !j.class.early && !slices.Contains([]azuresim.FaultKind{azuresim.FaultRefuse, azuresim.FaultDown}, f.Kind) {
			t.Errorf("%s strikes a gateway's own probes, too", j.variant.fault)
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
