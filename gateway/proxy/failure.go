package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/targets"
)

// broken names a failure of sending or reading, and who is at fault: only what
// the target caused is charged to it.
func (a *attempt) broken(err error) targets.Outcome {
	o := a.outcome(targets.Broken)
	if dial, ok := errors.AsType[*dialError](err); ok {
		o.Sent, o.Kind = false, targets.ConnectFailed
		if dial.tls {
			o.Kind = targets.TLSFailed
		}
	}
	cause := context.Cause(a.ctx)
	switch {
	case a.call.Context.Err() != nil:
		o.Kind = targets.Canceled // by the client, or because this gateway ends
	case errors.Is(cause, errTotal), errors.Is(cause, errAnswer):
		o.Kind = targets.OutOfTime
	case ours(err):
		o.Kind = targets.LocalFault
	case cause != nil && a.firstByte == 0:
		o.Kind = targets.FirstByteTimeout
	case lost(err):
		o.Kind = targets.Lost
	}
	a.result.Err = wording(err)
	if cause != nil {
		a.result.Err = cause
	}
	return o
}

func lost(err error) bool {
	_, is := errors.AsType[*lostError](err)
	return is
}

// ours reports whether it is this machine that lacks something. Another target
// would fail likewise.
func ours(err error) bool {
	for _, e := range [...]error{errNoRoom, syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, descriptor.ErrNone} {
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

// wording is an error for the log in our own words.
func wording(err error) error {
	dial, dialing := errors.AsType[*dialError](err)
	_, certificate := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case isOurs(err):
		return err
	case dialing && (certificate || name || invalid):
		return errCertificate
	case dialing && dial.tls:
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

// isOurs reports whether an error is one of this package's own.
func isOurs(err error) bool {
	for _, e := range [...]error{
		errTruncated, errNotAStream, errEventInOpening, errMalformed, errEncoded, errEndMissing, errEventMidStream,
		errNotUpgraded, errHandshake, errBackendLost, errNoRoom,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// statusError is a backend's status, for the log.
type statusError int

func (e statusError) Error() string { return "backend answered " + strconv.Itoa(int(e)) }
