package signing

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const publicPrefix = "ed25519:"

// A PublicKey is what verifiers trust. It is comparable; the zero value is no
// key and verifies nothing.
type PublicKey struct {
	raw [ed25519.PublicKeySize]byte
}

// ParsePublicKey reads "ed25519:<base64>". There is one spelling of each key:
// what it accepts, String gives back unchanged.
func ParsePublicKey(s string) (PublicKey, error) {
	text, ok := strings.CutPrefix(s, publicPrefix)
	if !ok {
		return PublicKey{}, errors.New("public key: want ed25519:<base64>")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return PublicKey{}, errors.New("public key: not base64 after ed25519")
	}
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("public key: %d bytes, want %d", len(raw), ed25519.PublicKeySize)
	}
	k := PublicKey{raw: [ed25519.PublicKeySize]byte(raw)}
	if k == (PublicKey{}) {
		return PublicKey{}, errors.New("public key: all zero")
	}
	if k.String() != s { // the decoder skips line ends
		return PublicKey{}, errors.New("public key: line end inside")
	}
	return k, nil
}

// String returns "ed25519:<base64>".
func (k PublicKey) String() string { return publicPrefix + base64.StdEncoding.EncodeToString(k.raw[:]) }

// MarshalText writes the key for JSON and YAML.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the key from JSON and YAML.
func (k *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// A PrivateKey signs. It never prints itself, whatever it is printed with; its
// value leaves it only into the file that LoadOrCreateKey writes. It is inside a
// function because fmt does not call the methods of unexported fields, and
// follows pointers to slices where a verb does not fit: of a struct that holds a
// key in such a field it then shows an address.
type PrivateKey struct {
	reveal func() ed25519.PrivateKey
}

func newPrivateKey(key ed25519.PrivateKey) PrivateKey {
	return PrivateKey{reveal: func() ed25519.PrivateKey { return key }}
}

// GenerateKey makes a new key.
func GenerateKey() (PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("make signing key: %w", err)
	}
	return newPrivateKey(key), nil
}

// Public returns the key that verifies what this one signs.
func (k PrivateKey) Public() PublicKey {
	return PublicKey{raw: [ed25519.PublicKeySize]byte(k.public())}
}

func (k PrivateKey) public() ed25519.PublicKey {
	return ed25519.PublicKey(k.value()[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

func (k PrivateKey) sign(message []byte) []byte { return ed25519.Sign(k.value(), message) }

func (k PrivateKey) value() ed25519.PrivateKey {
	if k.reveal == nil {
		panic("signing: a zero PrivateKey was used; make one with GenerateKey or LoadOrCreateKey")
	}
	return k.reveal()
}

const hidden = "[signing key]"

// String hides the key.
func (PrivateKey) String() string { return hidden }

// GoString hides the key.
func (PrivateKey) GoString() string { return hidden }

// Format hides the key from every verb, also those that ask for numbers.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the key.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }
