// Package secret holds the one type in which keys, tokens and passwords travel
// through a process.
//
// A Secret cannot print, log or encode itself, and cannot be read from a
// document: a policy or a configuration names the file or the variable that
// holds the value. The package does no I/O. Everything may import it.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// mask is all that is ever shown of a secret.
const mask = "[secret]"

// ErrInDocument refuses a secret that is written out in a document.
var ErrInDocument = errors.New("a secret may not be written in a document: name the file or the variable that holds it")

// A Secret never prints itself. Reveal is the only way to its value, so a
// search for Reveal finds every use.
//
// The value is behind a pointer because fmt does not call the methods of
// unexported fields: a struct that holds a Secret in one and is printed with
// %+v then shows an address. For the same reason two Secrets are compared with
// Equal, not with ==.
type Secret struct{ value *string }

// New wraps a value.
func New(value string) Secret { return Secret{value: &value} }

// Reveal returns the value.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no value, or an empty one.
func (s Secret) IsZero() bool { return s.value == nil || *s.value == "" }

// Equal compares in a time that depends on the lengths alone.
func (s Secret) Equal(other string) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other)) == 1
}

// String returns a mask.
func (Secret) String() string { return mask }

// GoString returns a mask.
func (Secret) GoString() string { return mask }

// Format writes a mask for every verb: without it %d or %x would walk into the
// struct.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalText returns a mask. YAML, JSON map keys and most loggers use it.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalJSON returns a mask.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalBinary refuses: gob and the like have no use for a mask.
func (Secret) MarshalBinary() ([]byte, error) {
	return nil, errors.New("a secret is not stored in binary form")
}

// UnmarshalText refuses: see ErrInDocument.
func (*Secret) UnmarshalText([]byte) error { return ErrInDocument }

// UnmarshalJSON refuses: see ErrInDocument.
func (*Secret) UnmarshalJSON([]byte) error { return ErrInDocument }

// UnmarshalYAML refuses: see ErrInDocument.
func (*Secret) UnmarshalYAML(func(any) error) error { return ErrInDocument }
