package relay

import (
	"context"
	"errors"
	"strconv"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// broken names a failure of sending or reading, and who is at fault: only what
// the target caused is charged to it.
func (a *attempt) broken(err error) targets.Outcome {
	o := a.outcome(targets.Broken)
	if dial, ok := errors.AsType[*upstream.DialError](err); ok {
		o.Sent, o.Kind = false, targets.ConnectFailed
		if dial.TLS {
			o.Kind = targets.TLSFailed
		}
	}
	cause := context.Cause(a.ctx)
	switch {
	case a.call.Context.Err() != nil:
		o.Kind = targets.Canceled // by the client, or because this gateway ends
	case errors.Is(cause, ErrTotal), errors.Is(cause, errAnswer):
		o.Kind = targets.OutOfTime
	case errors.Is(err, errNoRoom), upstream.IsLocal(err), is[*body.ReadError](err):
		o.Kind = targets.LocalFault
	case is[*body.ClientError](err):
		o.Kind = targets.Canceled // it does not send what it announced
	case cause != nil && a.firstByte == 0:
		o.Kind = targets.FirstByteTimeout
	case is[*upstream.LostError](err):
		o.Kind = targets.Lost
	}
	a.Err = wording(err)
	if cause != nil {
		a.Err = cause
	}
	return o
}

func is[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}

// wording is an error for the log in our own words.
func wording(err error) error {
	switch {
	case isOurs(err):
		return err
	case is[*body.ReadError](err), is[*body.ClientError](err):
		return errBody
	}
	return upstream.ForLog(err)
}

// isOurs reports whether an error is one of this package's own.
func isOurs(err error) bool {
	for _, e := range [...]error{
		errTruncated, errNotAStream, errEventInOpening, errMalformed, errEncoded, errEndMissing, errEventMidStream,
		errNotUpgraded, upstream.ErrHandshake, errBackendLost, errNoRoom,
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
