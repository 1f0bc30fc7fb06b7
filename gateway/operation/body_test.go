package operation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/refusal"
)

func TestScanFindsWhatItReads(t *testing.T) {
	body := []byte(` {
		"messages": [{"role": "user", "content": "say \"model\": \"x\" {[ \ud83d\ude00 é"}],
		"model" : "gpt\u002d4o", "stream":true, "stream_options": {"include_usage" : true, "x": [1]},
		"max_tokens":100, "max_completion_tokens": 0, "n":128, "best_of": null, "user": "u1",
		"store": false, "previous_response_id": null, "temperature": -0.5e-3
	}` + "\n")
	b, err := ScanBody(body)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(v Value) string { return string(body[v.Start:v.End]) }
	for _, c := range []struct{ got, want string }{
		{b.Model.String(), "gpt-4o"},
		{raw(b.Model.Value), `"gpt\u002d4o"`},
		{raw(b.Stream.Value), "true"},
		{raw(b.Store.Value), "false"},
		{raw(b.MaxTokens.Value), "100"},
		{fmt.Sprint(b.Stream.On, b.Store.On), "true false"},
		{fmt.Sprint(b.MaxTokens.N, b.MaxCompletionTokens, b.N.N), fmt.Sprint(100, Count{b.MaxCompletionTokens.Value, true, 0}, 128)},
		{fmt.Sprint(b.BestOf.Set, b.BestOf.Present()), "false true"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// Rows 21 and 22 of the table of hostile input.
func TestHostileBodiesAreRefused(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }
	deepObjects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	names := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"n%d":0`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	tests := []struct {
		why, body, param string
		ok               bool
	}{
		{why: "empty"},
		{why: "space alone", body: " \n"},
		{why: "not an object", body: `[]`},
		{why: "a string", body: `"model"`},
		{why: "a null", body: `null`},
		{why: "the smallest object", body: `{}`, ok: true},
		{why: "a byte order mark", body: "\xef\xbb\xbf{}"},
		{why: "UTF-16 with a mark", body: "\xff\xfe{\x00}\x00"},
		{why: "UTF-16 without", body: "{\x00}\x00"},
		{why: "trailing data", body: `{}{}`},
		{why: "trailing bracket", body: `{}}`},
		{why: "trailing NUL", body: "{}\x00"},
		{why: "cut off", body: `{"a":`},
		{why: "cut off in a string", body: `{"a":"x`},
		{why: "cut off in a character", body: "{\"a\":\"\xc3"},
		{why: "a trailing comma", body: `{"a":1,}`},
		{why: "a comma in front", body: `{,"a":1}`},
		{why: "a trailing comma in an array", body: `{"a":[1,]}`},
		{why: "a comment", body: `{/**/}`},
		{why: "single quotes", body: `{'a':1}`},
		{why: "a bare name", body: `{a:1}`},
		{why: "NaN", body: `{"temperature":NaN}`},
		{why: "Infinity", body: `{"temperature":-Infinity}`},
		{why: "a leading zero", body: `{"temperature":01}`},
		{why: "a bare point", body: `{"temperature":.5}`},
		{why: "a plus", body: `{"temperature":+1}`},
		{why: "hexadecimal", body: `{"temperature":0x1}`},
		{why: "a number of any size is opaque", body: `{"temperature":1e999}`, ok: true},
		{why: "mismatched brackets", body: `{"a":[1}]`},

		{why: "a name twice", body: `{"model":"a","model":"b"}`},
		{why: "the same name, escaped", body: `{"model":"a","mode\u006c":"b"}`},
		{why: "the same name that nobody reads", body: `{"x":1,"x":1}`},
		{why: "the empty name twice", body: `{"":1,"":1}`},
		{why: "a duplicate after many names", body: strings.TrimSuffix(names(100), "}") + `,"n\u0039\u0039":0}`},
		{why: "another case is another name", body: `{"model":"a","MODEL":"b","Stream":7}`, ok: true},
		{why: "a long s is another letter", body: `{"` + "\u017f" + `tream":7}`, ok: true},
		{why: "a name with a NUL is another name", body: `{"model\u0000":7}`, ok: true},
		{why: "duplicates inside what is opaque", body: `{"a":{"b":1,"b":2}}`, ok: true},
		{why: "a duplicate in stream_options", body: `{"stream_options":{"include_usage":true,"include\u005fusage":false}}`, param: "stream_options"},
		{why: "1024 names", body: names(1024), ok: true},
		{why: "1025 names", body: names(1025)},

		{why: "invalid UTF-8 in a value", body: "{\"a\":\"\xff\"}"},
		{why: "invalid UTF-8 in a name", body: "{\"\xc0\xaf\":1}"},
		{why: "an encoded surrogate", body: "{\"a\":\"\xed\xa0\x80\"}"},
		{why: "a lone high surrogate", body: `{"a":"\ud800"}`},
		{why: "a lone low surrogate", body: `{"a":"\udc00"}`},
		{why: "two high surrogates", body: `{"a":"\ud800\ud800"}`},
		{why: "a high surrogate and another escape", body: `{"a":"\ud800\n"}`},
		{why: "a lone surrogate deep inside", body: `{"a":[{"b":"\uD800x"}]}`},
		{why: "a lone surrogate in a name", body: `{"\ud800":1}`},
		{why: "a pair", body: `{"a":"\uD83D\uDE00"}`, ok: true},
		{why: "a raw control character", body: "{\"a\":\"\n\"}"},
		{why: "a raw NUL", body: "{\"a\":\"\x00\"}"},
		{why: "an escaped NUL is opaque", body: `{"a":"\u0000"}`, ok: true},
		{why: "an unknown escape", body: `{"a":"\x41"}`},
		{why: "a short escape", body: `{"a":"\u12"}`},
		{why: "DEL is allowed by the grammar", body: "{\"a\":\"\x7f\"}", ok: true},

		{why: "depth 64", body: deep(64), ok: true},
		{why: "depth 65", body: deep(65)},
		{why: "depth 64 of objects", body: deepObjects(64), ok: true},
		{why: "depth 65 of objects", body: deepObjects(65)},
		{why: "depth 10,000", body: deep(10_000)},
		{why: "depth 1,000,000, never closed", body: `{"a":` + strings.Repeat("[", 1_000_000)},

		{why: "a model that is a number", body: `{"model":1}`, param: "model"},
		{why: "a model that is a list", body: `{"model":["a"]}`, param: "model"},
		{why: "a long model", body: `{"model":"` + strings.Repeat("m", 513) + `"}`, param: "model"},
		{why: "a stream that is a string", body: `{"stream":"true"}`, param: "stream"},
		{why: "a stream that is 1", body: `{"stream":1}`, param: "stream"},
		{why: "a store that is an object", body: `{"store":{}}`, param: "store"},
		{why: "a user that is a number", body: `{"user":7}`, param: "user"},
		{why: "a previous response that is false", body: `{"previous_response_id":false}`, param: "previous_response_id"},
		{why: "stream options that are a list", body: `{"stream_options":[]}`, param: "stream_options"},
		{why: "a usage that is a string", body: `{"stream_options":{"include_usage":"yes"}}`, param: "stream_options.include_usage"},
		{why: "2^63 tokens", body: `{"max_tokens":9223372036854775808}`, param: "max_tokens"},
		{why: "2^64+1 tokens, which is 1 to a careless reader", body: `{"max_tokens":18446744073709551617}`, param: "max_tokens"},
		{why: "2^31 tokens", body: `{"max_tokens":2147483648}`, param: "max_tokens"},
		{why: "2^31-1 tokens", body: `{"max_tokens":2147483647}`, ok: true},
		{why: "many zeros", body: `{"max_tokens":` + "1" + strings.Repeat("0", 400) + `}`, param: "max_tokens"},
		{why: "negative tokens", body: `{"max_tokens":-1}`, param: "max_tokens"},
		{why: "minus zero tokens", body: `{"max_tokens":-0}`, param: "max_tokens"},
		{why: "1e2 tokens", body: `{"max_tokens":1e2}`, param: "max_tokens"},
		{why: "100.0 tokens", body: `{"max_tokens":100.0}`, param: "max_tokens"},
		{why: "1e999 tokens", body: `{"max_completion_tokens":1e999}`, param: "max_completion_tokens"},
		{why: "tokens in a string", body: `{"max_tokens":"100"}`, param: "max_tokens"},
		{why: "129 choices", body: `{"n":129}`, param: "n"},
		{why: "128 choices", body: `{"n":128}`, ok: true},
		{why: "best of 1000", body: `{"best_of":1000}`, param: "best_of"},
		{why: "nulls are as good as nothing", body: `{"model":null,"stream":null,"stream_options":null,"max_tokens":null,"n":null,"user":null,"store":null}`, ok: true},
		{why: "fields that name an upstream are opaque", body: `{"api_base":"http://evil","base_url":"x","deployment_id":"y"}`, ok: true},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			_, err := ScanBody([]byte(tt.body))
			if tt.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantStatus(t, err, 400)
			e, _ := errors.AsType[*refusal.Error](err)
			if e.Param != tt.param {
				t.Errorf("param %q, want %q (%s)", e.Param, tt.param, e.Message)
			}
			if strings.Contains(e.Message, "evil") || len(e.Message) > 200 {
				t.Errorf("the message repeats the input: %q", e.Message)
			}
		})
	}
}

func TestRouteComesFromOnePlace(t *testing.T) {
	dated, err := Recognise("POST", "/openai/deployments/in-path/embeddings", "api-version=2024-10-21")
	if err != nil {
		t.Fatal(err)
	}
	v1, err := Recognise("POST", "/openai/v1/embeddings", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		m          Match
		body, want string
	}{
		{dated, `{"model":"in-body"}`, "in-path"},
		{dated, `{}`, "in-path"},
		{v1, `{"model":"in-body"}`, "in-body"},
		{v1, `{"MODEL":"x","model":"in-body"}`, "in-body"},
		{v1, `{}`, ""},
		{v1, `{"MODEL":"x"}`, ""},
		{v1, `{"model":null}`, ""},
		{v1, `{"model":""}`, ""},
	} {
		b, err := ScanBody([]byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Route(tt.m, &b)
		if got != tt.want {
			t.Errorf("%s: route %q, want %q", tt.body, got, tt.want)
		}
		if tt.want == "" {
			wantStatus(t, err, 400)
		}
	}
}

// naive is the reference: encoding/json and checks that are slow but plain.
func naive(body []byte, depth int) (members map[string]json.RawMessage, ok bool) {
	if !utf8.Valid(body) || bytes.HasPrefix(body, []byte("\ufeff")) || !json.Valid(body) || !soundStrings(body, depth) {
		return nil, false
	}
	if json.Unmarshal(body, &members) != nil || members == nil {
		return nil, false
	}
	return members, !repeats(body)
}

// soundStrings looks for half surrogates and for depth, given valid JSON.
func soundStrings(body []byte, limit int) bool {
	depth, inside := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inside && c == '\\' && body[i+1] == 'u':
			hex := strings.ToLower(string(body[i+2 : i+6]))
			i += 5
			if hex >= "dc00" && hex <= "dfff" {
				return false
			}
			if hex >= "d800" && hex <= "dbff" {
				if i+7 > len(body) || body[i+1] != '\\' || body[i+2] != 'u' {
					return false
				}
				low := strings.ToLower(string(body[i+3 : i+7]))
				if low < "dc00" || low > "dfff" {
					return false
				}
				i += 6
			}
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case !inside && (c == '{' || c == '['):
			if depth++; depth > limit {
				return false
			}
		case !inside && (c == '}' || c == ']'):
			depth--
		}
	}
	return true
}

// repeats reports whether a name occurs twice in the outermost object.
func repeats(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return true
	}
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil || seen[name.(string)] {
			return true
		}
		seen[name.(string)] = true
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return true
		}
	}
	return false
}

// agree holds ScanBody against the reference.
func agree(t interface{ Fatalf(string, ...any) }, body []byte) {
	before := bytes.Clone(body)
	b, err := ScanBody(body)
	if !bytes.Equal(before, body) {
		t.Fatalf("the body was changed: %q", before)
	}
	members, ok := naive(body, maxDepth)
	if err != nil {
		e, is := errors.AsType[*refusal.Error](err)
		if !is {
			t.Fatalf("%q: error %v", body, err)
		}
		if ok && e.Param == "" && len(members) <= maxMembers {
			t.Fatalf("refuses %q: %v", body, err)
		}
		if ok && e.Param != "" && !badValue(members, e.Param) {
			t.Fatalf("refuses %q for its %s: %v", body, e.Param, err)
		}
		return
	}
	if !ok {
		t.Fatalf("accepts %q", body)
	}
	check := func(v Value, name string) json.RawMessage {
		raw, is := members[name]
		if is != v.Present() || string(raw) != string(body[v.Start:v.End]) {
			t.Fatalf("%s of %q is %q, want %q", name, body, body[v.Start:v.End], raw)
		}
		return raw
	}
	text := func(v Text, name string) {
		var want *string
		if raw := check(v.Value, name); raw != nil && json.Unmarshal(raw, &want) != nil {
			t.Fatalf("accepts %s of %q", name, body)
		}
		if v.Set != (want != nil) || want != nil && *want != v.String() {
			t.Fatalf("%s of %q is %q", name, body, v.String())
		}
	}
	count := func(v Count, name string) {
		var want *int64
		if raw := check(v.Value, name); raw != nil && json.Unmarshal(raw, &want) != nil {
			t.Fatalf("accepts %s of %q", name, body)
		}
		if v.Set != (want != nil) || want != nil && *want != v.N {
			t.Fatalf("%s of %q is %d", name, body, v.N)
		}
	}
	flag := func(v Flag, name string) {
		if raw := check(v.Value, name); v.On != (string(raw) == "true") {
			t.Fatalf("%s of %q is %v", name, body, v.On)
		}
	}
	text(b.Model, "model")
	flag(b.Stream, "stream")
	flag(b.Store, "store")
	count(b.MaxTokens, "max_tokens")
	count(b.MaxCompletionTokens, "max_completion_tokens")
	count(b.N, "n")
	count(b.BestOf, "best_of")
	if b.Model.Present() {
		replaced(t, body, &b, members)
	}
}

// badValue reports whether the reference, too, finds fault with the value.
func badValue(members map[string]json.RawMessage, param string) bool {
	raw := members[strings.TrimSuffix(param, ".include_usage")]
	switch param {
	case "model", "user", "previous_response_id":
		var s *string
		return json.Unmarshal(raw, &s) != nil || s != nil && len(*s) > maxText
	case "stream", "store":
		var b *bool
		return json.Unmarshal(raw, &b) != nil
	case "stream_options", "stream_options.include_usage":
		var o map[string]json.RawMessage
		if json.Unmarshal(raw, &o) != nil || repeats(raw) || len(o) > maxMembers {
			return true
		}
		var b *bool
		return json.Unmarshal(o["include_usage"], &b) != nil
	}
	n, ok := new(big.Int).SetString(string(raw), 10)
	limit := maxTokens
	if param == "n" || param == "best_of" {
		limit = maxChoices
	}
	return !ok || raw[0] == '-' || n.Cmp(big.NewInt(limit)) > 0
}

// edited is the body with its model replaced.
func edited(t interface{ Fatalf(string, ...any) }, text []byte, b *Body, deployment string) []byte {
	r, length, err := body.Memory(text).Open(EditModel(b, deployment))
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, err := io.ReadAll(r)
	if err != nil || int64(len(out)) != length {
		t.Fatalf("%d bytes, announced %d, %v", len(out), length, err)
	}
	return out
}

// replaced checks that EditModel changes the model and nothing else.
func replaced(t interface{ Fatalf(string, ...any) }, text []byte, b *Body, members map[string]json.RawMessage) {
	const deployment = "d\"\\\x01é-1"
	out := edited(t, text, b, deployment)
	after, ok := naive(out, maxDepth)
	if !ok || len(after) != len(members) {
		t.Fatalf("%q became %q", text, out)
	}
	var model string
	if err := json.Unmarshal(after["model"], &model); err != nil || model != deployment {
		t.Fatalf("%q became %q", text, out)
	}
	tail := len(text) - b.Model.End
	if !bytes.Equal(out[:b.Model.Start], text[:b.Model.Start]) || !bytes.Equal(out[len(out)-tail:], text[b.Model.End:]) {
		t.Fatalf("%q became %q", text, out)
	}
}

func TestScanAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		agree(rt, []byte(almostJSON().Draw(rt, "body")))
	})
}

// almostJSON draws texts that are nearly requests: pieces of JSON in an order
// that makes sense more often than not.
func almostJSON() *rapid.Generator[string] {
	name := rapid.SampledFrom([]string{
		`"model"`, `"MODEL"`, `"mode\u006c"`, `"stream"`, `"stream_options"`, `"max_tokens"`, `"max_completion_tokens"`,
		`"n"`, `"user"`, `"store"`, `"previous_response_id"`, `"best_of"`, `"a"`, `"\ud83d\ude00"`, `""`, `"x\ny"`,
	})
	scalar := rapid.SampledFrom([]string{
		`"gpt-4o"`, `"\u0041\"\\"`, `"é"`, `"\ud800"`, `""`, "\"\xff\"", `true`, `false`, `null`, `0`, `7`, `-1`, `1.5`, `1e2`, `01`, `128`,
		`99999999999999999999`, `tru`, `"a` + "\n" + `"`, `"12345678"`, `"1234567\"8"`,
	})
	space := rapid.SampledFrom([]string{"", "", "", " ", "\n\t", "\r"})
	var value func(depth int) *rapid.Generator[string]
	object := func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			var parts []string
			for range rapid.IntRange(0, 5).Draw(t, "members") {
				parts = append(parts, space.Draw(t, "space")+name.Draw(t, "name")+space.Draw(t, "space")+":"+value(depth-1).Draw(t, "value"))
			}
			return "{" + strings.Join(parts, ",") + space.Draw(t, "space") + "}"
		})
	}
	value = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			v := scalar.Draw(t, "scalar")
			if depth > 0 {
				switch rapid.IntRange(0, 5).Draw(t, "kind") {
				case 0:
					v = object(depth).Draw(t, "object")
				case 1:
					v = "[" + strings.Join(rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "items"), ",") + "]"
				case 2:
					v = `{"include_usage":` + scalar.Draw(t, "usage") + `}`
				}
			}
			return space.Draw(t, "space") + v + space.Draw(t, "space")
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		text := object(3).Draw(t, "object")
		if rapid.IntRange(0, 3).Draw(t, "damage") == 0 && len(text) > 0 {
			at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text = text[:at] + rapid.SampledFrom([]string{"", ",", "}", "]", `"`, "\\", "x", "\x00"}).Draw(t, "with") + text[at+1:]
		}
		return text
	})
}

func FuzzScanBody(f *testing.F) {
	for _, seed := range []string{
		`{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`,
		`{"model":"a","mode\u006c":"b"}`, `{"MODEL":"a","max_tokens":1e2}`, `{"n":128,"user":null,"store":false}`,
		"{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":[[[{}]]]}`, `{}x`, "\ufeff{}", `{"max_tokens":18446744073709551617}`,
		`{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"\u0068":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

func benchBody(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"model":"gpt-4o","stream":true,"max_tokens":512,"temperature":0.7,"messages":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":"user","content":"%s\n\"quoted\" %d"}`, strings.Repeat("The quick brown fox jumps over the lazy dog. ", 12), i)
	}
	b.WriteString(`],"user":"u","stream_options":{"include_usage":true}}`)
	return b.Bytes()
}

func BenchmarkScanBody(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		body := benchBody(size)
		b.Run(fmt.Sprintf("%dkB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ScanBody(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	many := []byte(`{"a":[` + strings.Repeat(`{"k":1.25,"v":[true,null]},`, 40000) + `0]}`)
	b.Run("small_tokens", func(b *testing.B) {
		b.SetBytes(int64(len(many)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ScanBody(many); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// For comparison: what a check by encoding/json alone costs.
func BenchmarkEncodingJSONValid(b *testing.B) {
	body := benchBody(16 << 10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !json.Valid(body) {
			b.Fatal("not valid")
		}
	}
}

// A request's body is scanned without a byte of garbage.
func TestScanningAllocatesNothing(t *testing.T) {
	body := benchBody(4 << 10)
	n := testing.AllocsPerRun(100, func() {
		if _, err := ScanBody(body); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
