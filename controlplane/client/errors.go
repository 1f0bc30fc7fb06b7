package client

import (
	"fmt"
	"net/http"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A RefusedError says that the document is not a valid policy. Nothing changed.
type RefusedError struct {
	Message  string
	Faults   []policy.Fault
	Warnings []policy.Fault
}

func (e *RefusedError) Error() string {
	return (&policy.Error{Faults: e.Faults}).Error()
}

// A ConflictError says that another publication came first, and which.
type ConflictError struct {
	Message string
	Current Publication // serial 0: none is in force
}

func (e *ConflictError) Error() string {
	if e.Current.Serial == 0 {
		return "conflict: no policy is in force"
	}
	return fmt.Sprintf("conflict: policy %d was published by %q at %s",
		e.Current.Serial, e.Current.Author, e.Current.Time.UTC().Format(time.RFC3339))
}

// An UnauthorizedError says that the token is missing or wrong.
type UnauthorizedError struct{}

func (*UnauthorizedError) Error() string { return "the control plane does not accept the token" }

// A NotFoundError says that there is no such boundary, serial, policy or order.
type NotFoundError struct{ Message string }

func (e *NotFoundError) Error() string { return e.Message }

// An UnreachableError says that there was no answer.
type UnreachableError struct {
	URL string
	Err error
	// Uncertain: the call changes something, and may have taken effect. It may be
	// made again.
	Uncertain bool
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from the control plane at %s: %v", e.URL, e.Err)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// An APIError is every other refusal.
type APIError struct {
	Status  int
	Code    string
	Message string
}

func (e *APIError) Error() string {
	if e.Code == "" { // it did not come from the control plane, but from something before it
		return e.Message
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

func errorOf(status int, reply ErrorReply) error {
	b := reply.Error
	if b.Message == "" {
		b.Message = fmt.Sprintf("the control plane answered %d %s", status, http.StatusText(status))
	}
	switch b.Code {
	case CodeRefused:
		e := &RefusedError{Message: b.Message, Faults: b.Faults}
		if reply.Verdict != nil {
			e.Warnings = reply.Warnings
		}
		return e
	case CodeConflict:
		e := &ConflictError{Message: b.Message}
		if b.Conflict != nil {
			e.Current = *b.Conflict
		}
		return e
	case CodeUnauthorized:
		return &UnauthorizedError{}
	case CodeNotFound:
		return &NotFoundError{Message: b.Message}
	}
	return &APIError{Status: status, Code: b.Code, Message: b.Message}
}
