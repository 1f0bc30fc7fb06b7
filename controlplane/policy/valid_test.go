package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Every document in testdata/valid decodes, compiles without a fault, and comes
// back from its canonical form unchanged.
func TestValidDocumentsCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc := mustDecode(t, source)
			if _, err := Compile(doc, Options{}); err != nil {
				t.Fatalf("compile: %v", err)
			}
			canonical := mustCanonical(t, doc)
			again := mustDecode(t, canonical)
			if !reflect.DeepEqual(doc, again) {
				t.Errorf("decode of the canonical form differs:\n%s", canonical)
			}
			if !bytes.Equal(canonical, mustCanonical(t, again)) {
				t.Error("the canonical form is not a fixed point")
			}
		})
	}
}

// tb is what the helpers need of a test; rapid's tests have it too.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func mustDecode(t tb, source []byte) *Document {
	t.Helper()
	doc, err := Decode(source)
	if err != nil {
		t.Fatalf("decode: %v\n%s", err, source)
	}
	return doc
}

func mustCanonical(t tb, doc *Document) []byte {
	t.Helper()
	b, err := Canonical(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
