package strictjson

import (
	"encoding/binary"
	"math/bits"
)

func (w *Walk) space() {
	d, i := w.data, w.pos
	for i < len(d) && (d[i] == ' ' || d[i] == '\n' || d[i] == '\t' || d[i] == '\r') {
		i++
	}
	w.pos = i
}

// value passes over one value of any kind.
func (w *Walk) value() (Kind, bool) {
	if w.pos >= len(w.data) {
		return 0, w.truncated()
	}
	switch w.data[w.pos] {
	case '{':
		return Object, w.nested()
	case '[':
		return Array, w.nested()
	}
	return w.scalar()
}

func (w *Walk) scalar() (Kind, bool) {
	switch c := w.data[w.pos]; {
	case c == '"':
		_, _, _, ok := w.text()
		return String, ok
	case c == '-' || '0' <= c && c <= '9':
		return Number, w.number()
	case c == 't':
		return Bool, w.literal("true")
	case c == 'f':
		return Bool, w.literal("false")
	case c == 'n':
		return Null, w.literal("null")
	}
	return 0, w.fail("want a value")
}

func (w *Walk) literal(want string) bool {
	have := w.data[w.pos:min(w.pos+len(want), len(w.data))]
	if string(have) == want {
		w.pos += len(want)
		return true
	}
	if string(have) == want[:len(have)] {
		return w.truncated()
	}
	return w.fail("want a value")
}

// nested passes over an array or object without recursion: one bit for each that
// is open says which it is. Names in nested objects are checked for syntax only:
// what is in there is opaque to the gateway.
func (w *Walk) nested() bool {
	var objects [hardDepth / 64]uint64 // bit n: the n-th open one is an object
	depth := 0                         // of those that are open, below the walked object
	for {
		// At the start of a value.
		if w.pos >= len(w.data) {
			return w.truncated()
		}
		c := w.data[w.pos]
		if c == '{' || c == '[' {
			if depth+1 >= w.limits.MaxDepth {
				return w.fail("nested too deep")
			}
			bit := uint64(1) << (depth % 64)
			if c == '{' {
				objects[depth/64] |= bit
			} else {
				objects[depth/64] &^= bit
			}
			depth++
			w.pos++
			w.space()
			if w.pos < len(w.data) && w.data[w.pos] == c+2 { // } is { plus 2, ] is [ plus 2
				w.pos++
				depth--
			} else {
				if c == '{' && !w.key() {
					return false
				}
				continue
			}
		} else if _, ok := w.scalar(); !ok {
			return false
		}
		// Behind a value: close what ends here, then go to the next one.
		for {
			if depth == 0 {
				return true
			}
			inObject := objects[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			w.space()
			if w.pos >= len(w.data) {
				return w.truncated()
			}
			c := w.data[w.pos]
			if c == '}' && inObject || c == ']' && !inObject {
				w.pos++
				depth--
				continue
			}
			if c != ',' {
				return w.fail("want a comma or the end of the array or object")
			}
			w.pos++
			w.space()
			if inObject && !w.key() {
				return false
			}
			break
		}
	}
}

// key passes over a name, the colon, and the space around them.
func (w *Walk) key() bool {
	if _, _, _, ok := w.text(); !ok {
		return false
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
	return true
}

// text passes over a string, quotes included, and returns what is between them.
func (w *Walk) text() (start, end int, escaped, ok bool) {
	if w.pos >= len(w.data) {
		return 0, 0, false, w.truncated()
	}
	if w.data[w.pos] != '"' {
		return 0, 0, false, w.fail("want a string")
	}
	w.pos++
	start = w.pos
	for {
		w.pos = plain(w.data, w.pos)
		if w.pos >= len(w.data) {
			return 0, 0, false, w.truncated()
		}
		switch w.data[w.pos] {
		case '"':
			w.pos++
			return start, w.pos - 1, escaped, true
		case '\\':
			escaped = true
			if !w.escape() {
				return 0, 0, false, false
			}
		default:
			return 0, 0, false, w.fail("a control character in a string")
		}
	}
}

// plain returns the index of the next quote, backslash or control character at
// or after i. It looks at eight bytes at a time: a byte x is below n, for n up to
// 0x80, if x-n borrows while x's own high bit is clear. The borrow may mark bytes
// above a true one wrongly, so only the lowest mark counts.
func plain(d []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for ; i+8 <= len(d); i += 8 {
		v := binary.LittleEndian.Uint64(d[i:])
		quote := v ^ ones*'"'
		slash := v ^ ones*'\\'
		hit := ((v-ones*0x20)&^v | (quote-ones)&^quote | (slash-ones)&^slash) & highs
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(d); i++ {
		if c := d[i]; c < 0x20 || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// escape passes over a backslash and what it escapes. A \u of a surrogate must
// be the first half of a pair.
func (w *Walk) escape() bool {
	if w.pos+1 >= len(w.data) {
		return w.truncated()
	}
	switch w.data[w.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		w.pos += 2
		return true
	case 'u':
	default:
		return w.fail("an unknown escape")
	}
	r, ok := w.hex()
	if !ok {
		return false
	}
	switch {
	case r >= 0xDC00 && r <= 0xDFFF:
		w.pos -= 6
		return w.ambiguous("half of a surrogate pair")
	case r >= 0xD800 && r <= 0xDBFF:
		if w.pos < len(w.data) && w.data[w.pos] != '\\' || w.pos+1 < len(w.data) && w.data[w.pos+1] != 'u' {
			return w.ambiguous("half of a surrogate pair")
		}
		low, ok := w.hex()
		if !ok {
			return false
		}
		if low < 0xDC00 || low > 0xDFFF {
			return w.ambiguous("half of a surrogate pair")
		}
	}
	return true
}

// hex passes over \uXXXX.
func (w *Walk) hex() (rune, bool) {
	if w.pos+6 > len(w.data) {
		for _, c := range w.data[min(w.pos+2, len(w.data)):] {
			if hexDigit(c) < 0 {
				return 0, w.fail("an unknown escape")
			}
		}
		return 0, w.truncated()
	}
	r := hex4(w.data[w.pos+2:])
	if r < 0 {
		return 0, w.fail("an unknown escape")
	}
	w.pos += 6
	return r, true
}

// hex4 reads four hex digits; negative if they are none.
func hex4(d []byte) rune {
	var r rune
	for _, c := range d[:4] {
		h := hexDigit(c)
		if h < 0 {
			return -1
		}
		r = r<<4 | h
	}
	return r
}

func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// number passes over a number as the grammar has it: -0.5e+10, not .5, 01 or NaN.
// One that the input ends in may go on.
func (w *Walk) number() bool {
	if w.data[w.pos] == '-' {
		w.pos++
	}
	switch {
	case w.pos >= len(w.data):
		return w.truncated()
	case w.data[w.pos] == '0':
		w.pos++
	default:
		if !w.digits() {
			return false
		}
	}
	if w.pos < len(w.data) && w.data[w.pos] == '.' {
		w.pos++
		if !w.digits() {
			return false
		}
	}
	if w.pos < len(w.data) && w.data[w.pos]|0x20 == 'e' {
		w.pos++
		if w.pos < len(w.data) && (w.data[w.pos] == '+' || w.data[w.pos] == '-') {
			w.pos++
		}
		if !w.digits() {
			return false
		}
	}
	if w.pos >= len(w.data) {
		return w.truncated()
	}
	return true
}

// digits passes over one digit or more.
func (w *Walk) digits() bool {
	start := w.pos
	for w.pos < len(w.data) && '0' <= w.data[w.pos] && w.data[w.pos] <= '9' {
		w.pos++
	}
	switch {
	case w.pos > start:
		return true
	case w.pos >= len(w.data):
		return w.truncated()
	}
	return w.fail("want a digit")
}
