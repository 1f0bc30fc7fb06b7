package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/geo"
)

// What is not there.
var (
	ErrNoPolicy = errors.New("no policy has been published")
	ErrNoSerial = errors.New("no such serial in the history")
	ErrNoOrder  = errors.New("no such order")
)

// A ConflictError says that another publication came first. It describes the
// one that is in force.
type ConflictError struct {
	Boundary geo.Boundary
	Serial   uint64
	Digest   string
	Author   string
	Message  string
	Time     time.Time
}

func (e *ConflictError) Error() string {
	if e.Serial == 0 {
		return fmt.Sprintf("conflict: no policy of %s is in force", e.Boundary)
	}
	return fmt.Sprintf("conflict: policy %d of %s was published by %q at %s",
		e.Serial, e.Boundary, e.Author, e.Time.UTC().Format(time.RFC3339))
}

// An UnavailableError says that etcd did not answer, or refused for a reason
// that passes. A read changed nothing.
type UnavailableError struct {
	Doing string
	Err   error
}

func (e *UnavailableError) Error() string {
	return e.Doing + ": etcd is not available: " + e.Err.Error()
}
func (e *UnavailableError) Unwrap() error { return e.Err }

// An UncertainError says that a publication was sent and no answer came, also
// not on asking again: it may be in force or not. Publishing the same document
// again is safe and finds out.
type UncertainError struct {
	Serial uint64
	Err    error
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("policy %d may or may not have been published, publish it again to find out: %v", e.Serial, e.Err)
}
func (e *UncertainError) Unwrap() error { return e.Err }

// A MalformedError says that what is stored under a key cannot be what belongs
// there: it was damaged or tampered with.
type MalformedError struct {
	Key string
	Err error
}

func (e *MalformedError) Error() string { return "malformed value at " + e.Key + ": " + e.Err.Error() }
func (e *MalformedError) Unwrap() error { return e.Err }

// An InvalidError says that a request to the store makes no sense; nothing was
// sent.
type InvalidError struct{ Text string }

func (e *InvalidError) Error() string { return e.Text }

// unavailable wraps the errors of a call: those that pass become an
// *UnavailableError.
func unavailable(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	case passes(err):
		return &UnavailableError{Doing: doing, Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// passes reports whether the same call may well succeed later.
func passes(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, clientv3.ErrNoAvailableEndpoints) {
		return true
	}
	switch status.Code(grpcError(err)) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		return true
	default:
		return false
	}
}

// grpcError finds the error inside that knows its code; etcd's own errors know
// it too, under another method.
func grpcError(err error) error {
	if coded, ok := errors.AsType[interface {
		error
		Code() codes.Code
	}](err); ok {
		return status.Error(coded.Code(), coded.Error())
	}
	return err
}
