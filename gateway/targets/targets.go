// Package targets keeps what a gateway has learned about each target and makes
// every routing decision of a request: which target next, whether to try again,
// and what to answer when nothing is left.
//
// State is kept by policy.Key, outside any snapshot, so that it survives a
// change of policy. The decisions are pure: time and randomness are passed in,
// there is no I/O and no goroutine here. Serve and relay are the main users;
// health, gossip and status read from it.
//
// The machines are packages of their own: throttle (gates), breaker, budget and
// pick. What others have learned, of the same stamp or of other stamps, comes in
// as Reports by ApplyRemote and ApplyHint, and can only add caution.
package targets

import (
	"time"

	"github.com/stampgate/stampgate/gateway/throttle"
)

// Kind is how an attempt ended, as far as the target is concerned.
type Kind uint8

// The kinds. Each comment says what the answer is about, what the request does
// next, and what it means for the target. Package answer maps answers to kinds.
const (
	// Success: a complete answer, or a stream that ended as it should. Clears
	// every exclusion that it disproves.
	Success Kind = iota
	// Throttled: 429, 503 that names a time, or a spent quota. Gates; never a
	// failure, and costs neither an attempt nor budget.
	Throttled
	// ConnectFailed: no TCP connection. A failure whoever sees it; cost nothing.
	ConnectFailed
	// TLSFailed: no TLS session, such as a wrong certificate. As ConnectFailed.
	TLSFailed
	// ServerError: 500, 502, 504, 529, 503 without a time, or an error of the
	// server's own inside a 200. A failure; needs evidence from two clients.
	ServerError
	// FirstByteTimeout: sent, but the stream did not begin in time. As ServerError.
	FirstByteTimeout
	// Broken: a malformed, truncated, stalled or broken-off answer, or a
	// connection lost after the request was sent. As ServerError.
	Broken
	// GaveUp: 408, 409 or 424: the backend began and did not finish. Counts half a
	// failure; repeated elsewhere inside the budget.
	GaveUp
	// Unfit: the backend cannot serve this although the policy says it can: 404
	// model_not_found, 400 for our api-version, 421, 425, 449, 499 or a redirect.
	// Counts half a failure; cost nothing.
	Unfit
	// IdentityRefused: 401 for our own credential. Sets the target aside once a
	// renewed credential is refused as well.
	IdentityRefused
	// OperationForbidden: our identity may not do this there (403, or 401 that says
	// so). Sets aside this operation on this target.
	OperationForbidden
	// DeploymentMissing: 404 DeploymentNotFound. Sets the target aside.
	DeploymentMissing
	// Retired: 410, the model is no longer served there. Sets the target aside for long.
	Retired
	// Lost: a kept connection ended just when a request was written to it that may
	// not be repeated. Final; no evidence: it may have died unused.
	Lost
	// Rejected: a 4xx about the client's own request, or a content filter. Final;
	// no evidence, neither good nor bad.
	Rejected
	// Canceled: the client went away or is too slow, or the gateway stops. No evidence.
	Canceled
	// OutOfTime: the route's answer or total time is over. Final; no evidence.
	OutOfTime
	// LocalFault: this machine failed, for example for want of descriptors. Final;
	// no evidence.
	LocalFault
)

// failure reports whether the kind makes a target suspect.
func (k Kind) failure() bool {
	switch k {
	case ConnectFailed, TLSFailed, ServerError, FirstByteTimeout, Broken, GaveUp, Unfit,
		IdentityRefused, OperationForbidden, DeploymentMissing, Retired:
		return true
	case Success, Throttled, Lost, Rejected, Canceled, OutOfTime, LocalFault:
	}
	return false
}

// Free reports whether the backend did no work for the attempt, so that it
// counts neither toward the attempts nor toward the budget.
func (k Kind) Free() bool {
	switch k {
	case Throttled, ConnectFailed, TLSFailed, Unfit, IdentityRefused, OperationForbidden, DeploymentMissing, Retired:
		return true
	case Success, ServerError, FirstByteTimeout, Broken, GaveUp, Lost, Rejected, Canceled, OutOfTime, LocalFault:
	}
	return false
}

// heard reports whether the backend had a part in how it ended.
func (k Kind) heard() bool {
	switch k {
	case Lost, Canceled, OutOfTime, LocalFault:
		return false
	default:
		return true
	}
}

// Final reports whether no other target may be asked after an attempt of this
// kind: it is over, or another target would say the same.
func (k Kind) Final() bool { return !k.failure() && !k.Free() }

// An Outcome is what one attempt taught.
type Outcome struct {
	Kind      Kind
	FirstByte time.Duration // from sending to the first byte of the answer; 0 if none came
	Signals   Signals
	// Sent: the request may have reached the backend in full. A failure of such
	// an attempt is ambiguous: the backend may have done the work.
	Sent bool
	// Model is the name that the answer gives as its model; "" if it names none.
	Model string
	// Credential numbers the credential that was sent: it grows with each renewal.
	Credential uint64
}

// Signals are what a backend said about its limits, read from headers by
// throttle.ParseSignals. The zero value says nothing.
type Signals = throttle.Signals
