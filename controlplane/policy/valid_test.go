package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every document in testdata/valid decodes, compiles without a fault, and says the
// same when it is written anew.
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
			if again := mustDecode(t, mustEncode(t, doc)); !Equal(doc, again) {
				t.Errorf("was %+v\nis  %+v", doc, again)
			}
		})
	}
}

// New code runs with the last release's policies: that of the first, which has every
// field that there was, compiles and means the same.
func TestThePolicyOfTheFirstReleaseCompiles(t *testing.T) {
	source, err := os.ReadFile("testdata/v1/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc := mustDecode(t, source)
	s, err := Compile(doc, Options{Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Format != 1 || s.Boundary() != "eu-1" || len(doc.Residency.Countries) != 10 || len(doc.Backends) == 0 || doc.OnModelMismatch == "" ||
		!s.DebugHeaders() || len(doc.OtherBoundaries) == 0 || len(doc.ExternalReferences.Hosts) == 0 {
		t.Errorf("%+v", doc)
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

// mustEncode writes a document in one line, every text quoted: the library's own
// encoder writes some texts so that it cannot read them.
func mustEncode(t tb, doc *Document) []byte {
	t.Helper()
	return appendFlow(nil, reflect.ValueOf(*doc))
}

func appendFlow(b []byte, v reflect.Value) []byte {
	switch value := v.Interface().(type) {
	case ExternalReferences:
		if value.Rule != "" {
			return strconv.AppendQuoteToASCII(b, string(value.Rule))
		}
		return appendFlow(b, reflect.ValueOf(referenceHosts{value.Hosts}))
	case time.Time:
		return value.AppendFormat(b, time.RFC3339Nano)
	case Duration:
		return append(b, value.String()...)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return appendFlow(b, v.Elem())
	case reflect.Struct:
		b = append(b, '{')
		for i := range v.NumField() {
			name, optional, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			f := v.Field(i)
			if optional == "omitempty" && (f.IsZero() || (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0) {
				continue
			}
			b = append(appendFlow(append(b, name+": "...), f), ", "...)
		}
		return append(b, '}')
	case reflect.Slice:
		b = append(b, '[')
		for i := range v.Len() {
			b = append(appendFlow(b, v.Index(i)), ", "...)
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		for it := v.MapRange(); it.Next(); {
			b = append(appendFlow(b, it.Key()), ": "...)
			b = append(appendFlow(b, it.Value()), ", "...)
		}
		return append(b, '}')
	case reflect.String:
		return strconv.AppendQuoteToASCII(b, v.String())
	default:
		return fmt.Append(b, v.Interface())
	}
}
