package answer

import (
	"bytes"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
)

// modelLimit is longer than the name of any model, in bytes.
const modelLimit = 256

// A Look is what one pass over a plain answer finds. Its bytes alias the answer.
type Look struct {
	// Whole: the brackets close and nothing follows. An answer that was cut off is
	// not whole.
	Whole bool
	// Failed: the answer has an error, and be it in a 200.
	Failed bool
	// Model is what the answer says served it; nil if it says nothing.
	Model []byte
}

// Scan looks over an answer in JSON. It finds every truncation of an object or
// array at a fraction of the cost of parsing; it does not validate. Of the
// members it knows those of the outermost object alone. It does not allocate
// unless the model's name holds escapes.
func Scan(b []byte) Look {
	var look Look
	depth := 0
	key := []byte(nil) // of the outermost object's member whose value is next
	wantKey := false   // the next string of the outermost object is a name
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c < '"' || c > ',' && c < '[' { // most of an embedding: digits, points and minus signs
			continue
		}
		switch c {
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return look
			}
			if depth == 1 {
				if wantKey {
					key, wantKey = b[i+1:end], false
				} else {
					look.member(key, b[i:end+1])
					key = nil
				}
			}
			i = end
		case '{', '[':
			if depth == 1 && c == '{' {
				look.member(key, b[i:i+1])
				key = nil
			}
			wantKey = depth == 0 && c == '{'
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				look.Whole = depth == 0 && len(bytes.TrimSpace(b[i+1:])) == 0
				return look
			}
		case ',':
			wantKey = depth == 1 && b[firstByte(b)] == '{'
		}
	}
	return look
}

// firstByte is where the answer's first value begins.
func firstByte(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return i
		}
	}
	return 0
}

// stringEnd returns the index of the quote that ends the string which begins at
// b[at]; -1 if it does not end.
func stringEnd(b []byte, at int) int {
	for i := at + 1; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		end := i + n
		escapes := 0
		for end-escapes-1 > at && b[end-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end
		}
		i = end + 1
	}
}

// member takes a member's value: a whole string, or the first byte of an object.
func (l *Look) member(name, value []byte) {
	switch string(name) {
	case "error": // null, false and "" are no errors
		l.Failed = l.Failed || value[0] == '{' || len(value) > len(`""`)
	case "model":
		if value[0] == '"' && len(value) <= modelLimit && l.Model == nil && len(value) > len(`""`) {
			l.Model = modelName(value)
		}
	}
}

// modelName decodes a string; nil if it is none.
func modelName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var m strictjson.Member
	object := append(append([]byte(`{"m":`), quoted...), '}')
	w := strictjson.Begin(object, strictjson.Limits{MaxDepth: 1, MaxNames: 1})
	if !w.Next(&m) {
		return nil
	}
	return strictjson.Text(object, m)
}
