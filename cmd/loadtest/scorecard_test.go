package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScorecardRefusesAnUnknownOutputBeforeItMeasures(t *testing.T) {
	err := run(t.Context(), []string{"scorecard", "--output", "xml"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "text, json or markdown") {
		t.Errorf("%v", err)
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
