package credential

import "fmt"

// A Secret never prints itself. Reveal is the only way to its value, so a search
// for Reveal finds every use.
type Secret struct{ value string }

// NewSecret hides a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

const hidden = "[secret]"

// String hides the value.
func (Secret) String() string { return hidden }

// GoString hides the value from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the value from every verb, such as %d and %x.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText hides the value from JSON, YAML and zerolog.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
