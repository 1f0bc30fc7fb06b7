package relay

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// nothing is the strictest policy.
func nothing() *policy.References { return nil }

// utf16 is text in UTF-16, which some parsers of JSON take.
func utf16(text string) string {
	var out []byte
	for i := range len(text) {
		out = append(out, text[i], 0)
	}
	return string(out)
}

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
		"in UTF-16":                      {utf16(`{"tools":[{"type":"web_search"}]}`), false},
		"sound as it is":                 {strings.Repeat("\x00\x01\x7f\xff", 1<<20), true},
		"long, with UTF-16 at its end":   {sound(3<<20) + utf16(tool), false},
		"long, with a function":          {`{"tools":[],` + sound(3 << 20)[1:] + "}", true},
		"long, an image":                 {`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,` + strings.Repeat("QUJD", 1<<20) + `"}]}}`, true},
		"long, an image from elsewhere":  {`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://elsewhere.example/` + strings.Repeat("QUJD", 1<<20) + `"}]}}`, false},
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
			refused, ok := errors.AsType[*refusal.Error](err)
			if tt.passes != (err == nil) || tt.passes && string(got) != tt.message || err != nil && (!ok || refused.Reply().Code != "external_reference") {
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

// What is held of a message counts in the budget while it is held, and no longer.
func TestAHeldMessageCountsInTheBudget(t *testing.T) {
	budget := bytebudget.New(5<<20, 3<<20)
	first, second := budget.Open("payroll", nil), budget.Open("payroll", nil)
	long := `{"audio":"` + strings.Repeat("QUJD", (1<<20+1<<19)/4) + `"}`
	c, other := &checker{references: nothing, budget: first}, &checker{references: nothing, budget: second}
	if _, err := c.hold(strings.NewReader(long)); err != nil {
		t.Fatal(err)
	}
	if held := budget.Held(); held < int64(len(long)) || held > checkedMessage+1 {
		t.Errorf("%d bytes are held for a message of %d", held, len(long))
	}
	if _, err := other.hold(strings.NewReader(long)); !errors.Is(err, errNoRoom) {
		t.Errorf("a second message beyond the client's bound: %v", err)
	}
	second.Release()
	c.release()
	if held := budget.Held(); held != 0 {
		t.Errorf("%d bytes are held for a message that has passed", held)
	}
	// The room of a small message is kept for the next one.
	for range 100 {
		if _, err := c.hold(strings.NewReader(`{"audio":""}`)); err != nil {
			t.Fatal(err)
		}
		c.release()
	}
	if held := budget.Held(); held == 0 || held > keptRoom {
		t.Errorf("%d bytes are held between small messages", held)
	}
	first.Release()
	if held := budget.Held(); held != 0 {
		t.Errorf("%d bytes are held after the session", held)
	}
}
