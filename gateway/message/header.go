package message

import "strings"

// A Field is one line of a header. Its name is in canonical form: Api-Key.
type Field struct{ Name, Value string }

// A Header is the lines of a header in their order.
type Header []Field

// Get returns the value of a field, and how often the field is there: 0 if not at
// all. The name must be in canonical form.
func (h Header) Get(name string) (value string, n int) {
	for i := range h {
		if h[i].Name == name {
			if n++; n == 1 {
				value = h[i].Value
			}
		}
	}
	return value, n
}

// Has reports whether the field is there.
func (h Header) Has(name string) bool {
	_, n := h.Get(name)
	return n > 0
}

// Add returns the header with another field at its end.
func (h Header) Add(name, value string) Header { return append(h, Field{name, value}) }

// HasToken reports whether a token, in any case, stands in the comma-separated
// values of a field.
func (h Header) HasToken(name, token string) bool {
	for i := range h {
		if h[i].Name != name {
			continue
		}
		for word := range strings.SplitSeq(h[i].Value, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}
