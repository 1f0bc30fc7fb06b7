package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/loadtest/scorecard"
)

func TestScorecardRefusesAnUnknownOutputBeforeItMeasures(t *testing.T) {
	err := run(t.Context(), []string{"scorecard", "--output", "xml"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "text, json or markdown") {
		t.Errorf("%v", err)
	}
}

// A whole card goes into one document, ten rows of it into another. What is not
// named stays as it is.
func TestScorecardIsWrittenIntoTwoDocuments(t *testing.T) {
	const marks = "<!-- scorecard:begin -->\n<!-- scorecard:end -->"
	dir := t.TempDir()
	d := documents{table: filepath.Join(dir, "all.md"), few: filepath.Join(dir, "few.md")}
	if err := d.check(); err == nil {
		t.Error("documents that are not there pass")
	}
	for _, file := range []string{d.table, d.few} {
		if err := os.WriteFile(file, []byte(marks), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	card := &scorecard.Card{Rows: []scorecard.Row{
		{Fault: "connection refused", Mode: scorecard.Plain}, {Fault: "slow drip", Mode: scorecard.Plain},
	}}
	if err := errors.Join(d.check(), d.rewrite(card), documents{}.check(), documents{}.rewrite(card)); err != nil {
		t.Fatal(err)
	}
	for file, rows := range map[string]int{d.table: 2, d.few: 1} {
		text, err := os.ReadFile(file)
		if got := strings.Count(string(text), "\n|") - 2; err != nil || got != rows {
			t.Errorf("%s: %v, %d rows, want %d:\n%s", file, err, got, rows, text)
		}
	}
}

func TestScorecardIsWrittenIntoADocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := rewrite(file, "table"); err == nil {
		t.Error("a document that is not there is written")
	}
	if err := os.WriteFile(file, []byte("a <!-- scorecard:begin -->old<!-- scorecard:end --> b"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(file, "table"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "a <!-- scorecard:begin -->\ntable\n<!-- scorecard:end --> b"; string(text) != want {
		t.Errorf("document = %q, want %q", text, want)
	}
	if err := os.WriteFile(file, []byte("no marks"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(file, "table"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
