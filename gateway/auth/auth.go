// Package auth decides who is calling: it finds the one credential of a request
// and turns it into a client of the policy.
//
// It never reads a body, never looks at Host, and no error of it holds any part
// of a credential. It does no I/O of its own. The pipeline of serve uses it; the
// tool that makes keys uses NewKey.
package auth

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/geo"
)

// Kind is why a caller is not admitted.
type Kind uint8

// The kinds.
const (
	// Missing: no credential at all (401).
	Missing Kind = iota + 1
	// Bad: malformed, unknown or expired (401).
	Bad
	// Ambiguous: two credentials that differ (401).
	Ambiguous
	// WrongBoundary: a well-formed key of another boundary (403).
	WrongBoundary
)

// An Error says that a caller is not admitted. Its text may be given to the
// caller: Missing and Bad read the same, so that an answer tells nothing about
// which keys exist. Ambiguous is found without looking at what the credentials
// are, so it tells nothing either.
type Error struct {
	Kind Kind
	// Boundary is the one that the key names, with WrongBoundary.
	Boundary geo.Boundary
}

func (e *Error) Error() string {
	switch e.Kind {
	case WrongBoundary:
		return "the credential belongs to another boundary: call that boundary's gateways"
	case Ambiguous:
		return "the request has two different credentials, in api-key and Authorization or in one of them twice: send only the one that is meant"
	default:
	}
	return "the credential is missing or not valid: send a key as api-key or as Authorization: Bearer"
}

// maxToken bounds a signed token: twice what an identity provider issues with
// the most groups it puts in.
const maxToken = 16 << 10

// A TokenVerifier turns a signed token into a client. It is an interface because
// keys alone are enough for a gateway that has no identity provider.
type TokenVerifier interface {
	// Verify returns the client and whom the token is of, or any error if the
	// token is not good.
	Verify(ctx context.Context, token string, s *policy.Snapshot, now time.Time) (policy.Caller, error)
}

// An Authenticator admits the clients of one boundary.
type Authenticator struct {
	Own    geo.Boundary
	Tokens TokenVerifier // nil: tokens are refused
}

// Authenticate finds the caller. The error is an *Error. The principal is never
// nil if the error is. A key of another boundary is recognised by its form
// alone, without asking the policy.
func (a Authenticator) Authenticate(ctx context.Context, h message.Header, s *policy.Snapshot, now time.Time) (policy.Caller, error) {
	value, kind := present(h)
	if kind != 0 {
		return policy.Caller{}, &Error{Kind: kind}
	}
	if boundary, ok := ParseKey(value.text); ok {
		if boundary != a.Own {
			return policy.Caller{}, &Error{Kind: WrongBoundary, Boundary: boundary}
		}
		return a.byKey(value.text, s, now)
	}
	if !value.mayBeToken || a.Tokens == nil || !looksSigned(value.text) {
		return policy.Caller{}, &Error{Kind: Bad}
	}
	p, err := a.Tokens.Verify(ctx, value.text, s, now)
	if err != nil || p.Principal == nil {
		return policy.Caller{}, &Error{Kind: Bad}
	}
	return p, nil
}

// byKey looks the key up by its hash, so that the time it takes tells nothing of
// a stored key, and a stored hash is no use as a key.
func (a Authenticator) byKey(key string, s *policy.Snapshot, now time.Time) (policy.Caller, error) {
	if s == nil || s.Boundary() != a.Own {
		return policy.Caller{}, &Error{Kind: Bad}
	}
	sum := sha256.Sum256([]byte(key))
	p, ok := s.ClientByKey(sum, now)
	if !ok || p == nil {
		return policy.Caller{}, &Error{Kind: Bad}
	}
	return policy.Caller{Principal: p, Key: sum}, nil
}

type presented struct {
	text       string
	mayBeToken bool
}

// present finds the request's credential. Two that differ are refused even if
// one of them is good: nobody may guess which of them was meant.
func present(h message.Header) (presented, Kind) {
	key, keys := h.Get("Api-Key")
	authorization, bearers := h.Get("Authorization")
	if keys == 0 && bearers == 0 {
		return presented{}, Missing
	}
	if keys > 1 || bearers > 1 {
		return presented{}, Ambiguous
	}
	var value presented
	if bearers == 1 {
		token, ok := bearer(authorization)
		switch {
		case !ok && keys == 1:
			return presented{}, Ambiguous
		case !ok:
			return presented{}, Bad
		}
		value = presented{token, true}
	}
	if keys == 1 {
		if len(key) > maxToken {
			return presented{}, Bad
		}
		if bearers == 1 && key != value.text {
			return presented{}, Ambiguous
		}
		value.text = key
		value.mayBeToken = bearers == 1
	}
	return value, 0
}

// bearer takes the credential out of an Authorization header.
func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", false
	}
	return token, strings.IndexByte(token, ' ') < 0
}

// looksSigned reports whether token has the form of a signed JWT: three parts of
// base64url. An encrypted one has five.
func looksSigned(token string) bool {
	if strings.Count(token, ".") != 2 {
		return false
	}
	for part := range strings.SplitSeq(token, ".") {
		if part == "" {
			return false
		}
	}
	for i := range len(token) {
		if c := token[i]; !isBase62(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
