package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

var (
	errBodyUnreadable = final(http.StatusBadRequest, "invalid_request",
		"The request body could not be read.")
	errBodyTimeout = &proxy.Refusal{
		Status: http.StatusRequestTimeout, Code: "request_timeout",
		Message: "The request body did not arrive in time.",
	}
)

// nameRoom is what the name of a deployment may add to a body, in bytes.
const nameRoom = 1 << 10

// readBody reads the whole body before a backend is dialled: a body that turns
// out bad must not have reached one. What it takes of memory is what has come, not
// what was announced.
func (v *visit) readBody(op *operation.Operation) ([]byte, error) {
	if encoded(v.r.Header["Content-Encoding"]) {
		return nil, errEncodedBody
	}
	if !v.hold.TakeBody(requestCost) {
		return nil, v.overloaded()
	}
	if v.r.ContentLength > MaxBody {
		return nil, operation.TooLarge(MaxBody)
	}
	rc := http.NewResponseController(v.w)
	_ = rc.SetReadDeadline(time.Now().Add(v.BodyTimeout)) // in-memory writers of tests have none
	most := v.r.ContentLength
	if most < 0 { // in chunks
		most = MaxBody
	}
	buf := bytebudget.NewBuffer(v.hold.TakeBody, int(most))
	if err := v.fill(buf); err != nil {
		return nil, err
	}
	// While the answer streams, a read deadline would look like a client that has
	// gone.
	_ = rc.SetReadDeadline(time.Time{})
	v.bodyRead = true
	body := buf.Bytes()
	if op.ModelIn == operation.ModelInBody && !v.hold.TakeBody(int64(len(body)+nameRoom)) {
		return nil, v.overloaded() // an attempt sends a copy with its deployment's name
	}
	return body, nil
}

// fill reads the body to its end.
func (v *visit) fill(buf *bytebudget.Buffer) error {
	body := http.MaxBytesReader(v.w, v.r.Body, MaxBody)
	for {
		room := buf.Room()
		if room == nil {
			return v.overloaded()
		}
		n, err := body.Read(room)
		buf.Add(n)
		switch {
		case err == io.EOF: // a reader announces its end by itself
			return nil
		case err != nil:
			return v.bodyError(err)
		}
	}
}

func (v *visit) bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return operation.TooLarge(MaxBody)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTimeout
	case v.r.Context().Err() != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return context.Canceled
	}
	return errBodyUnreadable
}

// overloaded is the refusal of a request for which the budget has no room.
func (v *visit) overloaded() error {
	cause := v.hold.Refused()
	v.Metrics.refused(string(cause))
	r := &proxy.Refusal{
		Status: http.StatusServiceUnavailable, Code: "overloaded", RetryAfter: time.Second,
		Message: "The gateway holds as much of requests and answers as it may.",
	}
	if cause == bytebudget.OfClient {
		r.Message = "The gateway holds as much of this client's requests and answers as it may. Send fewer at a time."
	}
	return r
}

// answering prepares the connection for an answer of our own: the client has so
// long to take it, and a body that was not read is not waited for.
func (v *visit) answering() {
	if !v.bodyRead {
		edge.LeaveBody(v.w, v.r)
	}
	_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(v.WriteTimeout)) // in-memory writers of tests have none
}
