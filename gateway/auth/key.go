package auth

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/stampgate/stampgate/geo"
)

// A key reads sg_<boundary>_<43 characters of base62>. 43 × log2(62) ≈ 256 bit.
const (
	keyPrefix   = "sg_"
	secretChars = 43
	alphabet    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ParseKey takes a key apart. It says which boundary the key is for, not whether
// any client has it.
func ParseKey(key string) (boundary geo.Boundary, ok bool) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	at := len(rest) - secretChars - 1
	if !ok || at < 1 || rest[at] != '_' || !geo.Boundary(rest[:at]).Valid() {
		return "", false
	}
	for i := at + 1; i < len(rest); i++ {
		if !isBase62(rest[i]) {
			return "", false
		}
	}
	return geo.Boundary(rest[:at]), true
}

// NewKey makes a key for a client of the boundary. The caller shows it once and
// keeps only its SHA-256.
func NewKey(boundary geo.Boundary) (string, error) {
	if !boundary.Valid() {
		return "", fmt.Errorf("make a key: boundary %q is not 1 to %d small letters, digits and hyphens", boundary, geo.MaxName)
	}
	secret := make([]byte, 0, secretChars)
	var random [64]byte
	for len(secret) < secretChars {
		rand.Read(random[:]) // never returns an error; ends the process if the system has no randomness
		for _, r := range random {
			// Of the 256 values, 4 × 62 = 248 share out evenly; the rest are drawn again.
			if r < 248 && len(secret) < secretChars {
				secret = append(secret, alphabet[r%62])
			}
		}
	}
	return keyPrefix + string(boundary) + "_" + string(secret), nil
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
