package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func limits() Limits { return Limits{MaxDepth: 64, MaxNames: 1024} }

// walk returns what a walk over data finds.
func walk(data []byte, l Limits) (names []string, err error) {
	var m Member
	w := Begin(data, l)
	for w.Next(&m) {
		names = append(names, string(m.Name)+"="+string(data[m.Start:m.End]))
	}
	return names, w.Err()
}

func TestMembersComeInOrderAsWritten(t *testing.T) {
	const doc = "{ \"a\" : 1 ,\"b\":[ {\"a\":\"}\"} , null ],\"\\u0063\\n\":\"\\ud83d\\ude00\" , \"d\":-0.5E+2,\"e\":{},\"f\":[],\"g\":true}\r\n"
	names, err := walk([]byte(doc), limits())
	if err != nil {
		t.Fatal(err)
	}
	want := `[a=1 b=[ {"a":"}"} , null ] c` + "\n" + `="\ud83d\ude00" d=-0.5E+2 e={} f=[] g=true]`
	if got := fmt.Sprint(names); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTextIsDecoded(t *testing.T) {
	data := []byte(`{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"}`)
	var m Member
	w := Begin(data, limits())
	if !w.Next(&m) || m.Kind != String {
		t.Fatalf("%v, %+v", w.Err(), m)
	}
	if got := string(Text(data, m)); got != "\"\\/\b\f\n\r\té😀é" {
		t.Errorf("got %q", got)
	}
}

// Whoever holds only the beginning of an object learns that it is only that,
// and keeps the members that were whole. Event streams rely on it.
func TestEveryBeginningIsTruncatedAndNothingElse(t *testing.T) {
	const doc = `{"type":"x","n":-1.5e-7,"t":[true,false,null,{"\u00e9":"\ud83d\ude00é😀\n"}],"choices":[[],{}] }`
	whole, err := walk([]byte(doc), limits())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(doc) {
		names, err := walk([]byte(doc[:n]), limits())
		fault, ok := errors.AsType[*SyntaxError](err)
		if !ok || !fault.Truncated || fault.Ambiguous {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		for i, name := range names {
			if name != whole[i] {
				t.Errorf("the first %d bytes: member %s, want %s", n, name, whole[i])
			}
		}
	}
}

// The eight-byte step finds what a plain loop finds, wherever it stands.
func TestPlainStopsAtTheFirstSpecialByte(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			for _, filler := range []byte{'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff} {
				d := []byte(strings.Repeat(string(rune('a')), 40))
				for i := range d {
					d[i] = filler
				}
				d[at], d[30] = byte(c), '"'
				want := 30
				if c < 0x20 || c == '"' || c == '\\' {
					want = at
				}
				if got := plain(d, 0); got != want {
					t.Fatalf("byte %#x at %d among %#x: stops at %d", c, at, filler, got)
				}
			}
		}
	}
}

func TestLimitsAreLimits(t *testing.T) {
	for _, tt := range []struct {
		doc    string
		limits Limits
		ok     bool
	}{
		{`{}`, Limits{MaxDepth: 1}, true},
		{`{}`, Limits{}, false},
		{`{"a":1}`, Limits{MaxDepth: 1, MaxNames: 1}, true},
		{`{"a":1,"b":1}`, Limits{MaxDepth: 1, MaxNames: 1}, false},
		{`{"a":[]}`, Limits{MaxDepth: 1, MaxNames: 1}, false},
		{`{"a":[]}`, Limits{MaxDepth: 2, MaxNames: 1}, true},
		{`{"a":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`, Limits{MaxDepth: 1 << 30, MaxNames: 1}, true},
		{`{"a":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + `}`, Limits{MaxDepth: 1 << 30, MaxNames: 1}, false},
	} {
		if _, err := walk([]byte(tt.doc), tt.limits); (err == nil) != tt.ok {
			t.Errorf("%.40s with %+v: %v", tt.doc, tt.limits, err)
		}
	}
}

func TestAppendStringIsReadBackTheSame(t *testing.T) {
	for _, s := range []string{"", "a", "\"\\\n\x00\x1f\x7f", "é😀\u2028", "\xff"} {
		var got string
		if err := json.Unmarshal(AppendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q became %q, %v", s, got, err)
		}
	}
}

func TestWalkingAllocatesNothing(t *testing.T) {
	data := []byte(`{"model":"gpt-4o","messages":[{"role":"user","content":"hello\n\u00e9"}],"stream":true,"max_tokens":10}`)
	n := testing.AllocsPerRun(100, func() {
		var m Member
		w := Begin(data, limits())
		for w.Next(&m) {
			_ = m.Kind
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzWalk: what is accepted is valid to encoding/json too, and what is refused
// only as ambiguous is at least that.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\ud83d\ude00"}],"c":-1e9}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte("{\"a\":\"\xc3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := walk(data, Limits{MaxDepth: 512, MaxNames: 1 << 20})
		if err == nil && (!json.Valid(data) || !utf8.Valid(data)) {
			t.Fatalf("accepts %q", data)
		}
		if fault, ok := errors.AsType[*SyntaxError](err); ok && (fault.Offset < 0 || fault.Offset > len(data)) {
			t.Fatalf("%q: offset %d", data, fault.Offset)
		}
	})
}
