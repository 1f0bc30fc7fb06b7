package answer_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/answer"
)

func TestScanFindsModelAndErrorOfTheOutermostObjectAlone(t *testing.T) {
	for _, tt := range []struct {
		body   string
		whole  bool
		failed bool
		model  string
	}{
		{`{"choices":[{"message":{"content":"Hi"}}],"model":"gpt-5.4-2026-03-05"}`, true, false, "gpt-5.4-2026-03-05"},
		{` { "model" : "gpt-5.4" , "error" : null } `, true, false, "gpt-5.4"},
		{`{"error":{"code":"server_error"}}`, true, true, ""},
		{`{"error":"overloaded"}`, true, true, ""},
		{`{"error":{}}`, true, true, ""},
		{`{"error":null}`, true, false, ""},
		{`{"error":""}`, true, false, ""},
		{`{"error":false,"model":"m"}`, true, false, "m"},
		{`{"error":[],"model":"m"}`, true, false, "m"},
		{`{"data":{"error":{"code":"x"},"model":"inner"},"model":"outer"}`, true, false, "outer"},
		{`{"data":[{"error":{}},"error",{"model":"inner"}]}`, true, false, ""},
		{`[{"error":{}},{"model":"x"}]`, true, false, ""},
		{`["error",{},"model","x"]`, true, false, ""},
		{`{"a":"error","b":"model","c":"x"}`, true, false, ""},
		{`{"a":"\"error\":{","model":"m"}`, true, false, "m"},
		{`{"a":"\\","model":"m"}`, true, false, "m"},
		{`{"model":"g\u0070t"}`, true, false, "gpt"},
		{`{"model":""}`, true, false, ""},
		{`{"model":7}`, true, false, ""},
		{`{"model":"` + strings.Repeat("m", 1000) + `"}`, true, false, ""},
		{`{"model":"first","model":"second"}`, true, false, "first"},
		{`{"model":"m","choices":[`, false, false, "m"},
		{`{"model":"m`, false, false, ""},
		{`{"error":{"code":"ser`, false, true, ""},
		{`{"a":1}{"b":2}`, false, false, ""},
		{``, false, false, ""},
		{`}`, false, false, ""},
		{`"error"`, false, false, ""},
		{`,`, false, false, ""},
	} {
		got := answer.Scan([]byte(tt.body))
		if got.Whole != tt.whole || got.Failed != tt.failed || string(got.Model) != tt.model {
			t.Errorf("%.80s: whole %t, failed %t, model %q; want %t, %t, %q", tt.body, got.Whole, got.Failed, got.Model, tt.whole, tt.failed, tt.model)
		}
	}
}

// Every JSON object or array is whole, no truncation of one is, and what is said
// to be the model and the error is what a parser finds.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, ` {"a":[1,{"b":"}"}]} `, `{"a":"\"]"}`, `{"a":"\\"}`, `["\u005d"]`, "[1]\r\n", `{"a":"{"}`, `[[[[]]]]`,
		`"text"`, `1`, `null`, ``, `}`, `{]`, `{}{}`, `[1]x`, `{"model":"m","error":{}}`, `{"error":"x","n":[{"model":"i"}]}`, `{"model":"\ud83d"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		look := answer.Scan(b) // must not panic
		if len(b) > 1<<10 || !json.Valid(b) {
			return
		}
		text := bytes.TrimSpace(b)
		if text[0] != '{' && text[0] != '[' {
			if look.Whole {
				t.Fatalf("%q is neither an object nor an array", b)
			}
			return
		}
		if !look.Whole {
			t.Fatalf("%q is not whole", b)
		}
		for n := range len(text) {
			if answer.Scan(text[:n]).Whole {
				t.Fatalf("%q is whole, a truncation of %q", text[:n], b)
			}
		}
		var members map[string]json.RawMessage
		if text[0] != '{' || json.Unmarshal(b, &members) != nil || bytes.Contains(b, []byte(`\`)) {
			return // a name that holds escapes is not recognised
		}
		if raw, ok := members["error"]; look.Failed && (!ok && bytes.Count(b, []byte("error")) < 2) {
			t.Fatalf("%q: failed, though its error is %s", b, raw)
		}
		if _, ok := members["model"]; look.Model != nil && !ok {
			t.Fatalf("%q: model %q, which it does not have", b, look.Model)
		}
	})
}

func completion() []byte {
	return []byte(`{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"finish_reason":"stop","index":0,"message":{"content":"` +
		strings.Repeat("Some text of an answer. \\n", 80) + `","role":"assistant"}}],"created":1,"id":"c","model":"gpt-5.4-2026-03-05","object":"chat.completion","usage":{"total_tokens":3}}`)
}

func TestScanOfAGoodAnswerAllocatesNothing(t *testing.T) {
	body := completion()
	if n := testing.AllocsPerRun(100, func() { answer.Scan(body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkScan(b *testing.B) {
	numbers := []byte(`{"data":[{"embedding":[` + strings.Repeat("-0.0123456,", 1536) + `0]}],"model":"m"}`)
	for name, body := range map[string][]byte{"completion": completion(), "embedding": numbers} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if !answer.Scan(body).Whole {
					b.Fatal("not whole")
				}
			}
		})
	}
}
