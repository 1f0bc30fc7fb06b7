package relay

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"
)

// The causes with which an attempt's context ends.
var (
	errStalled = errors.New("the backend was silent for longer than its first-byte or idle timeout")
	errAnswer  = errors.New("the plain answer was not complete within its timeout")
)

// ErrTotal is the cause with which the context of Try ends when the time of the whole
// request is up.
var ErrTotal = errors.New("the request's total time is used up")

// arm sets the clock of an attempt on a stream, or on a plain answer. A stream
// has to begin within the ticket's time; a plain answer begins when it is
// complete, which with models that reason takes minutes, so that only its end is
// bounded.
func (a *attempt) arm(parent context.Context, stream bool) context.CancelCauseFunc {
	ctx, cancel := context.WithCancelCause(parent)
	a.ctx = ctx
	a.sent = time.Now()
	limit := a.ticket.FirstByte
	if !stream {
		limit = cmp.Or(a.call.Route.Answer, a.call.Route.Total)
		a.ends = a.sent.Add(limit)
	}
	a.watchdog = time.AfterFunc(limit, func() { cancel(a.late()) })
	return cancel
}

// late names the limit that is over.
func (a *attempt) late() error {
	if !a.ends.IsZero() && !time.Now().Before(a.ends) {
		return errAnswer
	}
	return errStalled
}

// watch gives the backend so long from now, at most to the answer's end.
func (a *attempt) watch(limit time.Duration) {
	if !a.ends.IsZero() {
		limit = min(limit, max(0, time.Until(a.ends)))
	}
	a.watchdog.Reset(limit)
}

// gotFirstByte notes when the answer began.
func (a *attempt) gotFirstByte() {
	if a.firstByte == 0 {
		a.firstByte = max(time.Since(a.sent), 1)
	}
}

// read reads once from the backend, under the watchdog, which rests between two
// reads: the time that a slow client takes is not the backend's.
func (a *attempt) read(body io.Reader, buf []byte) (int, error) {
	if a.firstByte != 0 {
		a.watch(a.call.Route.Idle)
	}
	n, err := body.Read(buf)
	if n > 0 {
		a.gotFirstByte()
		a.watchdog.Stop()
	}
	return n, err
}

// ended reports the end that a reader announces by io.EOF itself. An error that
// wraps it is a failure to read.
func ended(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}
