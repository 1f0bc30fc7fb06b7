package proxy

import (
	"bytes"
	"encoding/json"
	"testing"
)

// Every JSON object or array balances, and no truncation of one does.
func FuzzBalanced(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, ` {"a":[1,{"b":"}"}]} `, `{"a":"\"]"}`, `{"a":"\\"}`, `["\u005d"]`, "[1]\r\n", `{"a":"{"}`, `[[[[]]]]`,
		`"text"`, `1`, `null`, ``, `}`, `{]`, `{}{}`, `[1]x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<10 || !json.Valid(b) {
			balanced(b) // must not panic
			return
		}
		text := bytes.TrimSpace(b)
		if text[0] != '{' && text[0] != '[' {
			if balanced(b) {
				t.Fatalf("%q is neither an object nor an array", b)
			}
			return
		}
		if !balanced(b) {
			t.Fatalf("%q does not balance", b)
		}
		for n := range len(text) {
			if balanced(text[:n]) {
				t.Fatalf("%q balances, a truncation of %q", text[:n], b)
			}
		}
	})
}
