// Package auth decides who is calling: it finds the one credential of a request
// and turns it into a client of the policy.
//
// It never reads a body, never looks at Host, and no error or log line of it
// holds any part of a credential. The gateway's api uses it; the tool that makes
// keys uses NewKey.
package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// Kind is why a caller is not admitted.
type Kind uint8

// The kinds.
const (
	// Missing: no credential at all (401).
	Missing Kind = iota + 1
	// Bad: malformed, unknown, expired or ambiguous (401, one text for all).
	Bad
	// WrongBoundary: a well-formed key of another boundary (421).
	WrongBoundary
)

// An Error says that a caller is not admitted. Its text may be given to the
// caller.
type Error struct{ Kind Kind }

func (e *Error) Error() string { return "not written" }

// ParseKey takes a key apart. It says which boundary the key is for, not whether
// any client has it.
func ParseKey(key string) (boundary geo.Boundary, ok bool) { return "", false }

// NewKey makes a key for a client of the boundary.
func NewKey(boundary geo.Boundary) (string, error) { return "", errors.New("not written") }

// A TokenVerifier turns a signed token into a client. It is an interface because
// keys alone are enough for a gateway that has no identity provider.
type TokenVerifier interface {
	// Verify returns the client, or any error if the token is not good.
	Verify(ctx context.Context, token string, s *policy.Snapshot, now time.Time) (*policy.Principal, error)
}

// An Authenticator admits the clients of one boundary.
type Authenticator struct {
	Own    geo.Boundary
	Tokens TokenVerifier // nil: tokens are refused
}

// Authenticate finds the caller. The error is an *Error. The principal is never
// nil if the error is.
func (a Authenticator) Authenticate(ctx context.Context, h http.Header, s *policy.Snapshot, now time.Time) (*policy.Principal, error) {
	return nil, &Error{Kind: Bad}
}

// Authenticate is Authenticator.Authenticate for keys alone.
func Authenticate(h http.Header, s *policy.Snapshot, own geo.Boundary, now time.Time) (*policy.Principal, error) {
	return Authenticator{Own: own}.Authenticate(context.Background(), h, s, now)
}
