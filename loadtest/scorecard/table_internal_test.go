package scorecard

import (
	"strings"
	"testing"
)

// Each row of the small table is measured: one whose fault has another name would
// drop out of it without a word.
func TestTheFewRowsAreAllMeasured(t *testing.T) {
	card := new(Card)
	card.plan(classes(reference{plainBytes: 800, streamBytes: 2000, opening: 500}, false))
	lines := strings.Split(strings.TrimSpace(card.Few()), "\n")
	if want := 2 + len(fewRows()); len(lines) != want {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), want, card.Few())
	}
	if want := "| connection refused | plain |"; !strings.HasPrefix(lines[2], want) {
		t.Errorf("the first row is %q, want %q", lines[2], want)
	}
	if columns := strings.Count(lines[0], "|"); columns != strings.Count(lines[1], "|") || columns != strings.Count(lines[2], "|") {
		t.Errorf("the rows have different numbers of columns:\n%s", card.Few())
	}
}
