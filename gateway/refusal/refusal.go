// Package refusal knows why the gateway answers a request itself, and what it then
// says: one table from cause to status, code, text and when to come back.
//
// It writes no answer, and nothing in it repeats what a client or a backend sent
// but the name of a parameter. Whoever refuses a request returns an *Error; only the
// pipeline turns it into an answer, or into the last event of a stream.
package refusal

import (
	"context"
	"errors"
	"time"
)

// An Error is a request that the gateway answers itself.
type Error struct {
	Cause   Cause
	Message string        // in place of the table's
	Param   string        // the parameter at fault
	After   time.Duration // in place of the table's
	// Err says more, for the log alone.
	Err error
}

// Error names the refusal, for a log.
func (e *Error) Error() string {
	text := e.Cause.String()
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns what the log is told.
func (e *Error) Unwrap() error { return e.Err }

// Reply returns what the client is told.
func (e *Error) Reply() Reply {
	r := e.Cause.Reply()
	if e.Message != "" {
		r.Message = e.Message
	}
	if e.After > 0 {
		r.After = e.After
	}
	return r
}

// New returns a refusal with the table's words.
func New(c Cause) *Error { return &Error{Cause: c} }

// Of returns the refusal that an error stands for: Internal, with the error for the
// log, for one that is none.
func Of(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return New(ClientGone)
	}
	return &Error{Cause: Internal, Err: err}
}
