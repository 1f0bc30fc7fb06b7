package proxy

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/operation"
)

// nothing is the strictest policy.
func nothing() *policy.References { return nil }

// A message passes as it is, whatever its length and however it comes, unless it
// has a reference in it: also one that begins before the bound and ends behind it.
func TestALongMessagePassesOnlyWithoutAReference(t *testing.T) {
	sound := func(n int) string { return `{"audio":"` + strings.Repeat("QUJD", n/4) + `"` }
	tool := `,"tools":[{"type":"web_search"}]}`
	for name, tt := range map[string]struct {
		message string
		passes  bool
	}{
		"short":                          {sound(100) + "}", true},
		"short, with a tool that leaves": {sound(100) + tool, false},
		"long":                           {sound(3<<20) + "}", true},
		"long, with a tool at its end":   {sound(3<<20) + tool, false},
		"long, with a tool before":       {`{"tools":[{"type":"web_search"}],` + sound(3 << 20)[1:] + "}", false},
		"long, with a function":          {`{"tools":[],` + sound(3 << 20)[1:] + "}", false}, // cannot be read as a whole
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			c := &checker{references: nothing}
			r, err := c.hold(reader(strings.NewReader(tt.message)))
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
			}
			refused, ok := errors.AsType[*operation.Error](err)
			if tt.passes != (err == nil) || tt.passes && string(got) != tt.message || err != nil && (!ok || refused.Code != "external_reference") {
				t.Errorf("%s, %s: %d bytes of %d, %v", name, how, len(got), len(tt.message), err)
			}
		}
	}
	// Wherever the bound falls in the name.
	for at := range 20 {
		message := sound(checkedMessage-at) + tool
		r, err := (&checker{references: nothing}).hold(strings.NewReader(message))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			t.Fatalf("a tool %d bytes around the bound passes", at)
		}
	}
}
