// Package signing makes and checks the Ed25519 signatures that a boundary's
// policies and orders carry, and keeps the keys.
//
// The control plane signs, gateways verify. What is signed is a message of its
// own with a domain, the format's number and a length before every field, so that
// no signature can be taken for one over something else, and a format that a
// verifier does not know is refused by its number. The package never decides
// whether a serial is new enough or an order still in force: that is for those
// who follow them. It does no network I/O; anything may import it.
package signing

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// The formats that this program signs and knows. A change of what a message
// holds is a new number here, which verifiers know before the first signer uses it.
const (
	PolicyFormat = 1
	OrderFormat  = 1
)

// The domains keep a signature over one kind of thing from passing for another.
const (
	policyDomain = "stampgate/policy"
	orderDomain  = "stampgate/order"
)

// Digest returns the SHA-256 in hex by which a PolicyClaim names a document: of
// its bytes as they were written.
func Digest(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// A PolicyClaim is all of a publication that its signature covers. Times count
// in nanoseconds since 1970 UTC, so a time zone makes no difference.
type PolicyClaim struct {
	Format      int
	Boundary    geo.Boundary
	Serial      uint64
	Digest      string // of the document
	Author      string
	Message     string
	Time        time.Time
	Publication string // its ID
	Publisher   string // version of the program that published
}

// CheckFormat returns a *FormatError if this program does not know the format. It
// names the version that published, though nothing vouches for that.
func (c PolicyClaim) CheckFormat() error {
	if c.Format == PolicyFormat {
		return nil
	}
	return &FormatError{Subject: fmt.Sprintf("%s, published by version %.40q,", c.subject(), c.Publisher), Format: c.Format, Known: PolicyFormat}
}

func (c PolicyClaim) subject() string { return fmt.Sprintf("policy %d of %.40q", c.Serial, c.Boundary) }

// SignPolicy signs a publication.
func SignPolicy(key PrivateKey, claim PolicyClaim) []byte { return key.sign(claim.message()) }

// An OrderClaim is all of an order that its signature covers.
type OrderClaim struct {
	Format   int
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

// OrderID names the order that does this to that. There is one order for a thing,
// so that giving it twice extends it and a lost answer does no harm.
func OrderID(action, kind, name string) string { return action + "-" + kind + "-" + name }

// CheckFormat returns a *FormatError if this program does not know the format.
func (c OrderClaim) CheckFormat() error {
	if c.Format == OrderFormat {
		return nil
	}
	return &FormatError{Subject: c.subject(), Format: c.Format, Known: OrderFormat}
}

func (c OrderClaim) subject() string { return fmt.Sprintf("order %.80q of %.40q", c.ID, c.Boundary) }

// SignOrder signs an order.
func SignOrder(key PrivateKey, claim OrderClaim) []byte { return key.sign(claim.message()) }

// A FormatError says that something is written in a format that this program
// does not know: by a newer one, so nothing of it may be relied on.
type FormatError struct {
	Subject string // what it is: "policy 7 of eu"
	Format  int
	Known   int // the newest that this program knows
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s is in format %d, and this program knows format %d alone: upgrade it to the version that wrote this", e.Subject, e.Format, e.Known)
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

// VerifyPolicy checks the signature on a policy. The error is a *FormatError or
// a *SignatureError.
func (v *Verifier) VerifyPolicy(claim PolicyClaim, signature []byte) error {
	if err := claim.CheckFormat(); err != nil {
		return err
	}
	return v.verify(claim.subject(), claim.message(), signature)
}

// VerifyOrder checks the signature on an order. The error is a *FormatError or a
// *SignatureError.
func (v *Verifier) VerifyOrder(claim OrderClaim, signature []byte) error {
	if err := claim.CheckFormat(); err != nil {
		return err
	}
	return v.verify(claim.subject(), claim.message(), signature)
}

func (v *Verifier) verify(subject string, message, signature []byte) error {
	if v.trusts(message, signature) {
		return nil
	}
	return &SignatureError{Subject: subject}
}

func (v *Verifier) trusts(message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	return slices.ContainsFunc(v.keys, func(k PublicKey) bool {
		return ed25519.Verify(k.raw[:], message, signature)
	})
}

func (c PolicyClaim) message() []byte {
	return message(policyDomain, number(uint64(c.Format)), string(c.Boundary), number(c.Serial), c.Digest,
		c.Author, c.Message, nanos(c.Time), c.Publication, c.Publisher)
}

func (c OrderClaim) message() []byte {
	return message(orderDomain, number(uint64(c.Format)), c.ID, string(c.Boundary), c.Kind, c.Name, c.Action, c.Reason, c.Author,
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
