package scorecard_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/scorecard"
)

func card() *scorecard.Card {
	row := func(faulty, complete int) scorecard.Row {
		return scorecard.Row{
			Fault: "500", Mode: scorecard.Plain, Faulty: faulty, Right: scorecard.Complete,
			MaxAdded: time.Duration(11+faulty) * time.Millisecond, Back: time.Duration(faulty) * 2500 * time.Millisecond,
			Tally: scorecard.Tally{Requests: 10_000, Complete: complete, Attempts: 10_500, First: 300 * faulty},
		}
	}
	return &scorecard.Card{Rows: []scorecard.Row{row(1, 10_000), row(2, 9_999)}, Took: 61 * time.Second}
}

// One lost request of many must not be rounded away.
func TestTable(t *testing.T) {
	table := card().Table()
	if want := "| 500 | plain | complete | 100 % / 99.9 % | 0 % | 0.05 | 3.0 % / 6.0 % | 12 ms / 13 ms | 2.5 s / 5.0 s | 0 |"; !strings.Contains(table, want) {
		t.Errorf("no line %q in\n%s", want, table)
	}
	other := card()
	other.Rows[1].Right, other.Rows[1].Complete, other.Rows[1].PassedOn, other.Rows[1].Back = scorecard.Retired, 0, 10_000, 0
	if want := "| 500 | plain | complete / 410 | 100 % | 0 % | 0.05 | 3.0 % / 6.0 % | 12 ms / 13 ms | 2.5 s / – | 0 |"; !strings.Contains(other.Table(), want) {
		t.Errorf("no line %q in\n%s", want, other.Table())
	}
	if want := "20000 requests in 1m1s"; !strings.Contains(table, want) {
		t.Errorf("no %q in\n%s", want, table)
	}
	if strings.Contains(table, "\n\n|") {
		t.Error("an empty line parts the table")
	}
}

func TestOutputs(t *testing.T) {
	var text, out bytes.Buffer
	if err := card().Write(&text, scorecard.Text); err != nil || !strings.Contains(text.String(), "100 % / 99.9 %") {
		t.Errorf("text: %v\n%s", err, text.String())
	}
	if err := card().Write(&out, scorecard.JSON); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows []struct {
			Fault    string
			Complete int
		}
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Rows) != 2 || back.Rows[1].Complete != 9_999 {
		t.Errorf("json: %v, %+v", err, back)
	}
	if err := card().Write(&out, "xml"); err == nil {
		t.Error("an unknown output is accepted")
	}
}

func TestReplaceChangesOnlyWhatIsBetweenTheMarks(t *testing.T) {
	const begin, end = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"
	for _, tt := range []struct{ name, document, want string }{
		{"an empty place", "a\n" + begin + "\n" + end + "\nb\n", "a\n" + begin + "\nnew\n" + end + "\nb\n"},
		{"an old table", "a\n" + begin + "\nold\n\nold\n" + end + " b", "a\n" + begin + "\nnew\n" + end + " b"},
		{"no mark", "a\n", ""},
		{"no end", begin + "\n", ""},
		{"the wrong order", end + begin, ""},
		{"two places", begin + end + begin + end, ""},
		{"two ends", begin + end + end, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := scorecard.Replace(tt.document, "\nnew\n\n")
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if err == nil {
				if again, _ := scorecard.Replace(got, "new"); again != got {
					t.Errorf("a second time gives %q", again)
				}
			}
		})
	}
}
