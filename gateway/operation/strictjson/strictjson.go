// Package strictjson walks over the members of a JSON object and refuses
// whatever two parsers might read differently: a name that occurs twice (after
// unescaping), invalid UTF-8, half of a surrogate pair, a byte order mark,
// anything after the object, and nesting beyond a limit.
//
// It is one pass over the bytes, builds no values, and does not allocate unless
// a string holds escapes or an object has many names. It is pure. The gateway's
// packages that must look into JSON use it; what they do not ask for stays
// opaque.
package strictjson

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Limits bound a walk.
type Limits struct {
	MaxDepth int // of nested arrays and objects, the outermost included; at most 512
	MaxNames int // of the object walked over
}

// hardDepth is where the stack of open arrays and objects ends: 512 bits.
const hardDepth = 512

// A SyntaxError says what is wrong and where. It repeats nothing of the input.
type SyntaxError struct {
	Offset int // bytes from the start
	Text   string
	// Truncated: the input ended too early; what was walked over so far is good.
	Truncated bool
	// Ambiguous: it is JSON by the grammar, but may be read in two ways.
	Ambiguous bool
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Text, e.Offset) }

// A Kind is the type of a value.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// A Member is one name and value of the object. Name is decoded; it may alias
// the input. data[Start:End] is the value as written.
type Member struct {
	Name       []byte
	Kind       Kind
	Start, End int
}

// A Walk goes over the members of one object. Use it in one place: it must not
// be copied once begun.
type Walk struct {
	data   []byte
	pos    int
	limits Limits
	names  nameSet
	err    *SyntaxError
	state  walkState
	within bool // the object may be followed by something, and is known to be UTF-8
}

type walkState uint8

const (
	walkStart walkState = iota
	walkMembers
	walkEnd
)

// Begin starts a walk over data, which must be one object and nothing else.
func Begin(data []byte, limits Limits) Walk {
	limits.MaxDepth = min(limits.MaxDepth, hardDepth)
	return Walk{data: data, limits: limits}
}

// BeginWithin starts a walk over the object at the beginning of data, which is
// part of what another walk has passed over. What follows it is not looked at: End
// says where that begins.
func BeginWithin(data []byte, limits Limits) Walk {
	w := Begin(data, limits)
	w.within = true
	return w
}

// End returns the offset behind the object, once Next has returned false without
// an error.
func (w *Walk) End() int { return w.pos }

// Next moves to the next member. It returns false at the end of the object or
// at the first error: see Err.
func (w *Walk) Next(m *Member) bool {
	if w.err != nil || w.state == walkEnd {
		return false
	}
	first := w.state == walkStart
	if first && !w.open() {
		return false
	}
	w.space()
	switch {
	case w.pos >= len(w.data):
		return w.truncated()
	case w.data[w.pos] == '}':
		w.pos++
		return w.finish()
	case first:
	case w.data[w.pos] == ',':
		w.pos++
		w.space()
	default:
		return w.fail("want a comma or the end of the object")
	}
	return w.member(m)
}

// Err returns what ended the walk early, nil if nothing did. Only after Next has
// returned false without an error is the whole input known to be good.
func (w *Walk) Err() error {
	if w.err == nil {
		return nil // not a nil *SyntaxError in an interface
	}
	return w.err
}

// Fault is Err by its type.
func (w *Walk) Fault() *SyntaxError { return w.err }

func (w *Walk) open() bool {
	if bytes.HasPrefix(w.data, []byte("\xef\xbb\xbf")) {
		return w.fail("a byte order mark")
	}
	// A truncated last character is reported where the walk gets to it.
	if !w.within && !utf8.Valid(w.data) {
		if at := invalidUTF8(w.data); at >= 0 {
			w.pos = at
			return w.ambiguous("invalid UTF-8")
		}
	}
	w.space()
	if w.pos >= len(w.data) {
		return w.truncated()
	}
	if w.data[w.pos] != '{' {
		return w.fail("not an object")
	}
	if w.limits.MaxDepth < 1 {
		return w.fail("nested too deep")
	}
	w.pos++
	w.state = walkMembers
	return true
}

// invalidUTF8 finds the first byte that cannot be part of valid UTF-8; -1 if
// that is only so because the input ends inside a character.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			if !utf8.FullRune(data[i:]) {
				return -1
			}
			return i
		}
		i += n
	}
	return -1
}

func (w *Walk) finish() bool {
	if w.within {
		w.state = walkEnd
		return false
	}
	w.space()
	if w.pos < len(w.data) {
		return w.fail("something after the object")
	}
	w.state = walkEnd
	return false
}

func (w *Walk) member(m *Member) bool {
	nameAt := w.pos
	start, end, escaped, ok := w.text()
	if !ok {
		return false
	}
	name := w.data[start:end]
	if escaped {
		name = unescape(name)
	}
	switch w.names.add(name, w.limits.MaxNames) {
	case nameDuplicate:
		w.pos = nameAt
		return w.ambiguous("a name that occurs twice")
	case nameTooMany:
		return w.fail("too many names")
	case nameNew:
	}
	w.space()
	if w.pos >= len(w.data) {
		return w.truncated()
	}
	if w.data[w.pos] != ':' {
		return w.fail("want a colon")
	}
	w.pos++
	w.space()
	m.Name, m.Start = name, w.pos
	if m.Kind, ok = w.value(); !ok {
		return false
	}
	m.End = w.pos
	return true
}

func (w *Walk) fail(text string) bool {
	w.err = &SyntaxError{Offset: w.pos, Text: text}
	return false
}

func (w *Walk) ambiguous(text string) bool {
	w.err = &SyntaxError{Offset: w.pos, Text: text, Ambiguous: true}
	return false
}

func (w *Walk) truncated() bool {
	w.err = &SyntaxError{Offset: len(w.data), Text: "unexpected end", Truncated: true}
	return false
}

// Text decodes a member of kind String: the bytes between the quotes, without
// escapes. The result aliases data if it holds none.
func Text(data []byte, m Member) []byte {
	raw := data[m.Start+1 : m.End-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return unescape(raw)
}
