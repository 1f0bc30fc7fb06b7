package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/running"
)

// revoked is why a new policy has ended the call, nil if none has.
func (x *exchange) revoked() error {
	if x.call.Context.Err() == nil {
		return nil
	}
	return running.Ended(x.call.Context)
}

// revokedResult is the result of a call that a new policy has ended: an answer of
// our own, or the end of one that had begun.
func (x *exchange) revokedResult() {
	why := x.revoked()
	r := &x.result
	r.Outcome, r.Aborted, r.Err = OutcomeRevoked, x.committed, why
	told := revocation(why)
	r.Refusal = x.refuse(told)
}

// revocation is what the client of an ended call is told. Only a backend that has
// gone leaves something to try: the route may have others.
func revocation(why error) Refusal {
	switch {
	case errors.Is(why, running.ErrTarget):
		return Refusal{
			Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary", RetryAfter: time.Second,
			Message: "The backend that served this request has left the boundary. Send the request again.",
		}
	case errors.Is(why, running.ErrRoute):
		return Refusal{
			Status: http.StatusNotFound, Code: "route_not_found", NoRetry: true,
			Message: "The route was removed from the policy while this request was served.",
		}
	case errors.Is(why, running.ErrGrant):
		return Refusal{
			Status: http.StatusForbidden, Code: "route_forbidden", NoRetry: true,
			Message: "The route was withdrawn from this credential while this request was served.",
		}
	}
	return Refusal{
		Status: http.StatusForbidden, Code: "credential_revoked", NoRetry: true,
		Message: "This credential was withdrawn while this request was served.",
	}
}

// revokedClose is what both sides of an ended session are told.
func revokedClose(why error) websocket.CloseError {
	return websocket.CloseError{Code: websocket.StatusPolicyViolation, Reason: why.Error()}
}
