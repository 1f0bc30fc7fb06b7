package azuresim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A FaultKind names what goes wrong.
type FaultKind string

// Faults of the listener and of connections. They cannot be limited to a
// deployment, since nothing of the request has been read when they strike.
const (
	FaultRefuse           FaultKind = "refuse"            // connecting is refused; requests that run are finished
	FaultDown             FaultKind = "down"              // refuse, and every connection is reset
	FaultHangConnect      FaultKind = "hang-connect"      // accepts, then silence, even towards a TLS handshake
	FaultResetConnect     FaultKind = "reset-connect"     // accepts, then resets
	FaultWrongCertificate FaultKind = "wrong-certificate" // shows a certificate that must not be trusted
)

// Faults instead of an answer.
const (
	FaultHang              FaultKind = "hang"                // takes the request, then silence
	FaultResetBeforeHeader FaultKind = "reset-before-header" // takes the request, then resets
	FaultStatus            FaultKind = "status"              // Status, with the body that Azure gives for it
	FaultThrottle          FaultKind = "throttle"            // 429 with the given header forms
	FaultDeploymentGone    FaultKind = "deployment-gone"     // 404 DeploymentNotFound
	FaultIdentityRevoked   FaultKind = "identity-revoked"    // 401 PermissionDenied, or 403 where Status says so
)

// Faults within an answer. "After" counts stream frames, or, for an answer that
// is not a stream, means its middle whatever the number.
const (
	FaultSlow            FaultKind = "slow" // Delay before the answer
	FaultResetAfterHead  FaultKind = "reset-after-header"
	FaultResetAfterBytes FaultKind = "reset-after-bytes" // Bytes of the body
	FaultStallFirstByte  FaultKind = "stall-first-byte"  // header, then silence (for Delay, if set)
	FaultStallMidStream  FaultKind = "stall-mid-stream"  // After, then silence (for Delay, if set)
	FaultErrorEvent      FaultKind = "error-event"       // an error event After frames into a 200; streams only
	FaultMalformedChunk  FaultKind = "malformed-chunk"   // breaks the transfer coding After frames
	FaultMalformedJSON   FaultKind = "malformed-json"
	FaultMalformedSSE    FaultKind = "malformed-sse" // a line that is no field; streams only
	FaultTruncated       FaultKind = "truncated"     // half an answer; Length right: ends in order, wrong: breaks off
	FaultSlowDrip        FaultKind = "slow-drip"     // one byte per Interval
)

// The wrong certificates.
const (
	CertificateOtherName = "other-name" // the default
	CertificateExpired   = "expired"
	CertificateUnknownCA = "unknown-ca"
)

// The values of Fault.Only and Fault.Length.
const (
	OnlyStream  = "stream"
	OnlyPlain   = "plain"
	LengthRight = "right" // the default
	LengthWrong = "wrong"
)

// The values of Fault.Limit: which of Azure's texts a throttle carries.
const (
	LimitTokens   = "tokens" // the default
	LimitRequests = "requests"
	LimitCapacity = "capacity"
)

// A Fault is something to go wrong. Its zero filters match every request.
type Fault struct {
	Kind       FaultKind     `yaml:"kind"`
	Deployment string        `yaml:"deployment"` // empty: any
	Operation  string        `yaml:"operation"`  // as in records; empty: any
	Only       string        `yaml:"only"`       // stream or plain; empty: both
	Count      int           `yaml:"count"`      // so many times, then never again; 0: for ever
	Share      float64       `yaml:"share"`      // of the requests that match; 0 means all
	For        time.Duration `yaml:"for"`        // ends by itself; 0: never

	Status        int           `yaml:"status"`        // status, identity-revoked
	RetryAfter    string        `yaml:"retryAfter"`    // the header's value; "date:30s" makes a date 30 s ahead
	RetryAfterMS  string        `yaml:"retryAfterMs"`  // retry-after-ms
	ResetRequests string        `yaml:"resetRequests"` // x-ratelimit-reset-requests
	ResetTokens   string        `yaml:"resetTokens"`   // x-ratelimit-reset-tokens
	Limit         string        `yaml:"limit"`         // throttle: tokens, requests or capacity
	After         int           `yaml:"after"`         // frames
	Bytes         int           `yaml:"bytes"`
	Delay         time.Duration `yaml:"delay"`
	Interval      time.Duration `yaml:"interval"`
	Certificate   string        `yaml:"certificate"`
	Length        string        `yaml:"length"`
}

// A FaultState is a fault that was set, and what it has done so far.
type FaultState struct {
	ID    string `json:"id"`
	Fault Fault  `json:"fault"`
	Fired uint64 `json:"fired"`
	Ended bool   `json:"ended"` // its count is used up or its time is over
}

// A phase is the moment at which a kind of fault strikes.
type phase int

const (
	phaseNone phase = iota
	phaseListen
	phaseAccept
	phaseHandshake
	phaseInstead
	phaseWithin
)

// phase is also the list of kinds: what it does not know does not exist.
func (k FaultKind) phase() phase {
	switch k {
	case FaultRefuse, FaultDown:
		return phaseListen
	case FaultHangConnect, FaultResetConnect:
		return phaseAccept
	case FaultWrongCertificate:
		return phaseHandshake
	case FaultHang, FaultResetBeforeHeader, FaultStatus, FaultThrottle, FaultDeploymentGone, FaultIdentityRevoked:
		return phaseInstead
	case FaultSlow, FaultResetAfterHead, FaultResetAfterBytes, FaultStallFirstByte, FaultStallMidStream,
		FaultErrorEvent, FaultMalformedChunk, FaultMalformedJSON, FaultMalformedSSE, FaultTruncated, FaultSlowDrip:
		return phaseWithin
	}
	return phaseNone
}

// FaultKinds lists every kind there is.
func FaultKinds() []FaultKind {
	return []FaultKind{
		FaultRefuse, FaultDown, FaultHangConnect, FaultResetConnect, FaultWrongCertificate,
		FaultHang, FaultResetBeforeHeader, FaultStatus, FaultThrottle, FaultDeploymentGone, FaultIdentityRevoked,
		FaultSlow, FaultResetAfterHead, FaultResetAfterBytes, FaultStallFirstByte, FaultStallMidStream,
		FaultErrorEvent, FaultMalformedChunk, FaultMalformedJSON, FaultMalformedSSE, FaultTruncated, FaultSlowDrip,
	}
}

// Validate says what is wrong with f, if anything.
func (f Fault) Validate() error {
	p := f.Kind.phase()
	switch {
	case p == phaseNone:
		return fmt.Errorf("kind = %q, want one of %v", f.Kind, FaultKinds())
	case p < phaseInstead && f.Deployment+f.Operation+f.Only != "":
		return fmt.Errorf("%s strikes before a request is read: it cannot be limited to some", f.Kind)
	case p == phaseListen && (f.Count != 0 || f.Share != 0):
		return fmt.Errorf("%s is not seen by the simulator when it strikes: use for, not count or share", f.Kind)
	case f.Count < 0 || f.After < 0 || f.Bytes < 0 || f.For < 0 || f.Delay < 0 || f.Interval < 0:
		return fmt.Errorf("%s: a number is negative", f.Kind)
	case f.Share < 0 || f.Share > 1 || f.Share != f.Share: // the last is NaN
		return fmt.Errorf("share = %g, want 0 to 1", f.Share)
	case f.Kind == FaultStatus && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status = %d, want 400 to 599", f.Status)
	case f.Kind == FaultSlowDrip && f.Interval == 0:
		return fmt.Errorf("%s needs an interval", f.Kind)
	case f.Kind == FaultSlow && f.Delay == 0:
		return fmt.Errorf("%s needs a delay", f.Kind)
	}
	for _, v := range []string{f.RetryAfter, f.RetryAfterMS, f.ResetRequests, f.ResetTokens} {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("%q cannot be a header's value", v)
		}
	}
	if v, ok := strings.CutPrefix(f.RetryAfter, "date:"); ok {
		if _, err := time.ParseDuration(v); err != nil {
			return fmt.Errorf("retry-after %q: %w", f.RetryAfter, err)
		}
	}
	return errorsOf(
		oneOf("only", f.Only, OnlyStream, OnlyPlain),
		oneOf("limit", f.Limit, LimitTokens, LimitRequests, LimitCapacity),
		oneOf("certificate", f.Certificate, CertificateOtherName, CertificateExpired, CertificateUnknownCA),
		oneOf("length", f.Length, LengthRight, LengthWrong),
	)
}

// oneOf checks an optional word.
func oneOf(name, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s = %q, want one of %v", name, value, allowed)
}

// errorsOf returns the first error.
func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// retryAfter is the header's value at a given time.
func (f Fault) retryAfter(now time.Time) string {
	ahead, ok := strings.CutPrefix(f.RetryAfter, "date:")
	if !ok {
		return f.RetryAfter
	}
	d, err := time.ParseDuration(ahead)
	if err != nil {
		return ""
	}
	return now.Add(d).UTC().Format(http.TimeFormat)
}
