// Package targets keeps what a gateway has learned about each target and makes
// every routing decision of a request: which target next, whether to try again,
// and what to answer when nothing is left.
//
// State is kept by policy.Key, outside any snapshot, so that it survives a
// change of policy. The decisions are pure: time and randomness are passed in,
// there is no I/O and no goroutine here. The proxy is the main user; health,
// gossip and status read from it.
//
// The machines are packages of their own: throttle (gates), breaker, budget and
// pick. What others have learned, of the same stamp or of other stamps, comes in
// by ApplyRemote and ApplyHint, and can only add caution.
package targets

import (
	"time"

	"github.com/stampgate/stampgate/gateway/throttle"
)

// Kind is how an attempt ended, as far as the target is concerned.
type Kind uint8

// The kinds. The comment says what each does to the target.
const (
	// Success: a complete answer, or a stream that ended as it should.
	Success Kind = iota
	// Throttled: 429, or 503 that names a time. Gates; never a failure.
	Throttled
	// ConnectFailed: no TCP connection. Counts whoever sees it; cost nothing.
	ConnectFailed
	// TLSFailed: no TLS session, such as a wrong certificate. Counts whoever sees it; cost nothing.
	TLSFailed
	// ServerError: 500, 502, 504, or 503 without a time, or an error event that
	// opened a 200 stream. Needs evidence from two clients.
	ServerError
	// FirstByteTimeout: sent, but no answer in time. Needs evidence from two clients.
	FirstByteTimeout
	// Broken: a malformed, truncated, stalled or broken-off answer, or a
	// connection lost after the request was sent. Needs evidence from two clients.
	Broken
	// IdentityRefused: 401 or 403 for our own credential. An alarm of its own.
	IdentityRefused
	// DeploymentMissing: 404 DeploymentNotFound.
	DeploymentMissing
	// Rejected: another 4xx, a content filter: the target works, the request does not.
	Rejected
	// Canceled: the client went away. Says nothing about the target.
	Canceled
)

// failure reports whether the kind makes a target suspect.
func (k Kind) failure() bool {
	switch k {
	case ConnectFailed, TLSFailed, ServerError, FirstByteTimeout, Broken, IdentityRefused:
		return true
	case Success, Throttled, DeploymentMissing, Rejected, Canceled:
	}
	return false
}

// refusal reports whether the backend did no work for the attempt, so that it
// counts neither toward the attempts nor toward the budget.
func (k Kind) refusal() bool {
	switch k {
	case Throttled, ConnectFailed, TLSFailed, IdentityRefused, DeploymentMissing:
		return true
	case Success, ServerError, FirstByteTimeout, Broken, Rejected, Canceled:
	}
	return false
}

// An Outcome is what one attempt taught.
type Outcome struct {
	Kind      Kind
	FirstByte time.Duration // from sending to the first byte of the answer; 0 if none came
	Signals   Signals
	// Sent: the request may have reached the backend in full. A failure of such
	// an attempt is ambiguous: the backend may have done the work.
	Sent bool
}

// Signals are what a backend said about its limits, read from headers by
// throttle.ParseSignals. The zero value says nothing.
type Signals = throttle.Signals
