package serve

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/stampgate/stampgate/gateway/message"
)

// requestID takes the client's id if it is well-formed, and makes one otherwise.
func requestID(h message.Header) string {
	if id, n := h.Get("X-Request-Id"); n == 1 && wellFormed(id) {
		return id
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the documentation of crypto/rand
	return hex.EncodeToString(b[:])
}

// wellFormed admits what is safe in a header, a log line and a query: 8 to 128
// letters, digits, dots, hyphens and underscores.
func wellFormed(id string) bool {
	if len(id) < 8 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
