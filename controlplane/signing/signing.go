// Package signing makes and checks the Ed25519 signatures that a boundary's
// policies and orders carry, and keeps the keys.
//
// The control plane signs, gateways verify. What is signed is a message of its
// own with a domain, a version and a length before every field, so that no
// signature can be taken for one over something else. The package never decides
// whether a serial is new enough or an order still in force: that is for those
// who follow them. It does no network I/O; anything may import it.
package signing

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// The domains. A change of a message's fields needs a new version here, and
// verifiers that know both before the first signer uses it.
const (
	policyDomain = "stampgate/policy/v1"
	orderDomain  = "stampgate/order/v1"
)

// Sign signs the publication of a policy: the document of this digest (SHA-256,
// hex) is the boundary's policy number serial.
func Sign(key PrivateKey, boundary geo.Boundary, serial uint64, digest string) []byte {
	return key.sign(policyMessage(boundary, serial, digest))
}

// An OrderClaim is all of an order that its signature covers. Times count in
// nanoseconds since 1970 UTC, so a time zone makes no difference.
type OrderClaim struct {
	ID       string
	Boundary geo.Boundary
	Kind     string
	Name     string
	Action   string
	Reason   string
	Author   string
	Created  time.Time
	Expires  time.Time
}

// SignOrder signs an order.
func SignOrder(key PrivateKey, claim OrderClaim) []byte {
	return key.sign(orderMessage(claim))
}

// A SignatureError says that none of the trusted keys made the signature.
type SignatureError struct {
	Subject string // what was signed: "policy 7 of eu"
}

func (e *SignatureError) Error() string {
	return e.Subject + ": the signature is not of a trusted key"
}

// A Verifier checks signatures against the keys that a process trusts. Several
// keys are trusted at once while one replaces another. It never changes, so any
// number of goroutines may use it.
type Verifier struct {
	keys []PublicKey
}

// NewVerifier makes a Verifier. It refuses an empty list, which would trust
// nobody and look like a broken control plane.
func NewVerifier(keys []PublicKey) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("no trusted keys: name at least one, as ed25519:<base64>")
	}
	if slices.Contains(keys, PublicKey{}) {
		return nil, errors.New("a trusted key is empty")
	}
	return &Verifier{keys: slices.Clone(keys)}, nil
}

// Verify checks the signature on a policy. The error is a *SignatureError.
func (v *Verifier) Verify(boundary geo.Boundary, serial uint64, digest string, signature []byte) error {
	if v.trusts(policyMessage(boundary, serial, digest), signature) {
		return nil
	}
	return &SignatureError{Subject: fmt.Sprintf("policy %d of %q", serial, boundary)}
}

// VerifyOrder checks the signature on an order. The error is a *SignatureError.
func (v *Verifier) VerifyOrder(claim OrderClaim, signature []byte) error {
	if v.trusts(orderMessage(claim), signature) {
		return nil
	}
	return &SignatureError{Subject: fmt.Sprintf("order %q of %q", claim.ID, claim.Boundary)}
}

func (v *Verifier) trusts(message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	return slices.ContainsFunc(v.keys, func(k PublicKey) bool {
		return ed25519.Verify(k.raw[:], message, signature)
	})
}

func policyMessage(boundary geo.Boundary, serial uint64, digest string) []byte {
	return message(policyDomain, string(boundary), number(serial), digest)
}

func orderMessage(c OrderClaim) []byte {
	return message(orderDomain, c.ID, string(c.Boundary), c.Kind, c.Name, c.Action, c.Reason, c.Author,
		nanos(c.Created), nanos(c.Expires))
}

// message joins fields so that two different lists never give the same bytes:
// each is preceded by its length as 8 bytes, big-endian.
func message(fields ...string) []byte {
	var b []byte
	for _, f := range fields {
		b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

func number(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// nanos writes a time as seconds and nanoseconds: UnixNano alone overflows for
// the zero time and past the year 2262.
func nanos(t time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))               // the bits are signed
	return string(binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))) // 0 … 999,999,999
}
