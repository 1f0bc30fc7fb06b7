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
	FaultStatus            FaultKind = "status"              // Status, with Azure's body for it or for Error
	FaultThrottle          FaultKind = "throttle"            // 429 with the given header forms
	FaultDeploymentGone    FaultKind = "deployment-gone"     // 404 DeploymentNotFound
	FaultIdentityRevoked   FaultKind = "identity-revoked"    // 401 PermissionDenied, or 403 where Status says so
)

// Faults within an answer. "After" counts the frames of a stream and the messages
// of a session, or, for an answer that is neither, means its middle whatever the
// number.
const (
	FaultSlow            FaultKind = "slow" // Delay before the answer
	FaultResetAfterHead  FaultKind = "reset-after-header"
	FaultResetAfterBytes FaultKind = "reset-after-bytes" // Bytes of the body
	FaultStallFirstByte  FaultKind = "stall-first-byte"  // header, then silence (for Delay, if set)
	FaultStallMidStream  FaultKind = "stall-mid-stream"  // After, then silence (for Delay, if set)
	FaultErrorEvent      FaultKind = "error-event"       // the event of Error After frames into a 200, or messages; not plain
	FaultMalformedChunk  FaultKind = "malformed-chunk"   // breaks the transfer coding After frames
	FaultMalformedJSON   FaultKind = "malformed-json"
	FaultMalformedSSE    FaultKind = "malformed-sse" // a line that is no field; streams only
	FaultTruncated       FaultKind = "truncated"     // half an answer; Length right: ends in order, wrong: breaks off
	FaultSlowDrip        FaultKind = "slow-drip"     // one byte per Interval
	FaultComments        FaultKind = "comments"      // After frames, a comment each Interval (for Delay, if set); streams only
	FaultOddEnd          FaultKind = "odd-end"       // whole but for its [DONE], as End says; streams only
	FaultServedAs        FaultKind = "served-as"     // right, but Model is what it says served
	FaultClose           FaultKind = "close-frame"   // After messages, the close with Code; sessions only
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
	OnlySession = "session" // by WebSocket
	LengthRight = "right"   // the default
	LengthWrong = "wrong"
)

// The values of Fault.End: how a stream ends after every finish_reason.
const (
	EndMissing    = "missing"     // without [DONE]; the default
	EndOneNewline = "one-newline" // data: [DONE] and one newline of two
	EndNoNewline  = "no-newline"
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
	Only       string        `yaml:"only"`       // stream, plain or session; empty: all
	Count      int           `yaml:"count"`      // so many times, then never again; 0: for ever
	Share      float64       `yaml:"share"`      // of the requests that match; 0 means all
	For        time.Duration `yaml:"for"`        // ends by itself; 0: never

	Status        int           `yaml:"status"`        // status, identity-revoked
	Error         string        `yaml:"error"`         // status, error-event: one of FaultErrors
	RetryAfter    string        `yaml:"retryAfter"`    // the header's value; "date:30s" makes a date 30 s ahead
	RetryAfterMS  string        `yaml:"retryAfterMs"`  // retry-after-ms
	ResetRequests string        `yaml:"resetRequests"` // x-ratelimit-reset-requests
	ResetTokens   string        `yaml:"resetTokens"`   // x-ratelimit-reset-tokens
	Limit         string        `yaml:"limit"`         // throttle: tokens, requests or capacity
	Wait          time.Duration `yaml:"wait"`          // throttle: what its text says, with or without headers
	After         int           `yaml:"after"`         // frames
	Bytes         int           `yaml:"bytes"`
	Delay         time.Duration `yaml:"delay"`
	Interval      time.Duration `yaml:"interval"`
	Certificate   string        `yaml:"certificate"`
	Length        string        `yaml:"length"`
	End           string        `yaml:"end"`   // odd-end
	Model         string        `yaml:"model"` // served-as
	Code          int           `yaml:"code"`  // close-frame; default 1011
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
		FaultErrorEvent, FaultMalformedChunk, FaultMalformedJSON, FaultMalformedSSE, FaultTruncated, FaultSlowDrip,
		FaultComments, FaultOddEnd, FaultServedAs, FaultClose:
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
		FaultComments, FaultOddEnd, FaultServedAs, FaultClose,
	}
}

// shapes tells whether the kind can show itself in an answer of that form: plain,
// stream or session.
func (k FaultKind) shapes(form string) bool {
	switch k {
	case FaultErrorEvent:
		return form != OnlyPlain
	case FaultMalformedSSE, FaultComments, FaultOddEnd:
		return form == OnlyStream
	case FaultClose:
		return form == OnlySession
	case FaultResetAfterBytes, FaultStallMidStream, FaultMalformedChunk, FaultMalformedJSON, FaultTruncated, FaultSlowDrip:
		return form != OnlySession
	default:
		return true
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
	case f.Count < 0 || f.After < 0 || f.Bytes < 0 || f.For < 0 || f.Delay < 0 || f.Interval < 0 || f.Wait < 0:
		return fmt.Errorf("%s: a number is negative", f.Kind)
	case f.Share < 0 || f.Share > 1 || f.Share != f.Share: // the last is NaN
		return fmt.Errorf("share = %g, want 0 to 1", f.Share)
	}
	if err := f.validateOwn(); err != nil {
		return err
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
		oneOf("only", f.Only, OnlyStream, OnlyPlain, OnlySession),
		oneOf("error", f.Error, FaultErrors()...),
		oneOf("end", f.End, EndMissing, EndOneNewline, EndNoNewline),
		oneOf("limit", f.Limit, LimitTokens, LimitRequests, LimitCapacity),
		oneOf("certificate", f.Certificate, CertificateOtherName, CertificateExpired, CertificateUnknownCA),
		oneOf("length", f.Length, LengthRight, LengthWrong),
	)
}

// validateOwn checks what the kind alone asks for.
func (f Fault) validateOwn() error {
	switch f.Kind {
	case FaultStatus:
		return f.validateStatus()
	case FaultSlowDrip, FaultComments:
		if f.Interval == 0 {
			return fmt.Errorf("%s needs an interval", f.Kind)
		}
	case FaultSlow:
		if f.Delay == 0 {
			return fmt.Errorf("%s needs a delay", f.Kind)
		}
	case FaultServedAs:
		if f.Model == "" {
			return fmt.Errorf("%s needs a model", f.Kind)
		}
	case FaultClose:
		// 1004 to 1006 and 1015 must not be sent.
		if c := f.Code; c != 0 && (c < 1000 || c > 4999 || c >= 1004 && c <= 1006 || c == 1015) {
			return fmt.Errorf("code = %d, want one that may be sent", f.Code)
		}
	default:
	}
	return nil
}

// validateStatus wants a status, or an error that has one. A 200 is wrong only by
// its error, and a 304 has no body.
func (f Fault) validateStatus() error {
	switch {
	case f.Error != "" && (f.Status == 0 || f.Status == http.StatusOK):
		return nil
	case f.Status >= 300 && f.Status <= 599 && f.Status != http.StatusNotModified:
		return nil
	}
	return fmt.Errorf("status = %d, want 300 to 599, or 200 with an error", f.Status)
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
