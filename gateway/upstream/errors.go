package upstream

import (
	"crypto/x509"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/stampgate/stampgate/gateway/descriptor"
)

// A DialError says which step of a dial went wrong: the two count differently.
type DialError struct {
	TLS bool // the TCP connection stood
	Err error
}

// Error implements error.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the step's own error.
func (e *DialError) Unwrap() error { return e.Err }

// A LostError is the end of a kept connection just when a request was written that
// may not be repeated. It says nothing about the target: the connection may have
// ended before the request, or because of it.
type LostError struct{ err error }

// Error implements error.
func (e *LostError) Error() string { return e.err.Error() }

// Unwrap returns how the connection ended.
func (e *LostError) Unwrap() error { return e.err }

// IsLocal reports whether it is this machine that lacks something. Another target
// would fail likewise.
func IsLocal(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, descriptor.ErrNone} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// What the log says of a connection. The texts of net/http and of crypto/x509
// quote what a backend sent, which must not get there.
var (
	errEnded       = errors.New("the backend ended the connection before its answer was complete")
	errReset       = errors.New("the backend reset the connection")
	errProtocol    = errors.New("the backend's answer is not HTTP as it should be")
	errCertificate = errors.New("the backend's certificate does not prove its name")
	errTLS         = errors.New("the TLS handshake with the backend failed")
)

// ForLog returns an error of Send, or of reading an answer, in words that may stand
// in a log.
func ForLog(err error) error {
	dial, dialing := errors.AsType[*DialError](err)
	_, certificate := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case dialing && (certificate || name || invalid):
		return errCertificate
	case dialing && dial.TLS:
		return errTLS
	case dialing:
		return err // addresses and words of the system
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrClosed):
		return errEnded
	}
	return errProtocol
}
