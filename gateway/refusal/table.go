package refusal

import (
	"cmp"
	"net/http"
	"time"
)

// A Cause is why the gateway answers a request itself.
type Cause uint8

// The causes, in the order in which a request meets them.
const (
	Internal Cause = iota // what is not listed
	NoConnection
	NoPolicy
	FrontDoorRequired
	Unauthorized
	WrongBoundary
	OperationNotFound
	InvalidRequest
	UpgradeRequired
	BadUpgrade
	EncodedBody
	RequestTooLarge
	BodyUnreadable
	BodyTimeout
	HeldByProcess
	HeldByClient
	RouteNotFound
	RouteForbidden
	ExternalReference
	TooManySessions
	NoBackend
	Throttled
	ModelRetired
	UpstreamFailed
	UpstreamSilent
	UpstreamTimeout
	LacksResources
	Draining
	BackendLeft
	RouteRemoved
	GrantWithdrawn
	CredentialWithdrawn
	ClientGone

	causes // how many there are
)

// ClientHasGone is the status in log and metrics of a request whose client hung up
// before it was answered. It is never sent.
const ClientHasGone = 499

// A Reply is what a client is told.
type Reply struct {
	Status  int
	Code    string
	Message string
	Broken  string // says it to a client that has a part of the answer already; Message if empty
	// Outcome is the word of log and metrics; Code if empty.
	Outcome string
	// After is when the client may come back; 0: the answer does not say.
	After time.Duration
	// Final: the gateway has done what can be done, and the answer asks SDKs not to
	// repeat the request.
	Final bool
}

// Ending returns what is told to a client that has a part of the answer.
func (r Reply) Ending() string { return cmp.Or(r.Broken, r.Message) }

// Result returns the word of log and metrics.
func (r Reply) Result() string { return cmp.Or(r.Outcome, r.Code) }

// The outcomes of requests that reached the choice of a backend.
const (
	OutcomeThrottled  = "throttled"   // every target is gated
	OutcomeNoBackend  = "no_backend"  // nothing is left inside the boundary
	OutcomeRetired    = "retired"     // the model is retired on every target
	OutcomeOverloaded = "overloaded"  // this machine lacks something
	OutcomeFailed     = "failed"      // attempts used up
	OutcomeTimeout    = "timeout"     // attempts used up, the last by time, or the time was up
	OutcomeClientGone = "client_gone" // the client hung up
	OutcomeDrained    = "drained"     // cut because the gateway ends
	OutcomeRevoked    = "revoked"     // ended because the policy no longer allows it
)

// String returns the code of the cause.
func (c Cause) String() string { return c.Reply().Code }

// Codes returns every code that a client can be told, each once.
func Codes() []string {
	var all []string
	seen := map[string]bool{"": true}
	for c := range causes {
		if code := c.String(); !seen[code] {
			seen[code] = true
			all = append(all, code)
		}
	}
	return all
}

// Reply returns the cause's row of the table.
func (c Cause) Reply() Reply { //nolint:funlen // the one table
	const soon = time.Second
	switch c {
	case NoConnection:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "overloaded", After: soon,
			Message: "The gateway has no room for another connection at the moment.",
		}
	case NoPolicy:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary", After: 5 * time.Second,
			Message: "The gateway has no policy yet.",
		}
	case FrontDoorRequired:
		return final(http.StatusForbidden, "front_door_required", "Requests are taken only through the configured Front Door.")
	case Unauthorized:
		return final(http.StatusUnauthorized, "unauthorized", "The credential is missing or not valid.")
	case WrongBoundary:
		return final(http.StatusForbidden, "wrong_boundary", "The credential belongs to another boundary.")
	case OperationNotFound:
		return final(http.StatusNotFound, "operation_not_found", "There is no such operation.")
	case InvalidRequest:
		return final(http.StatusBadRequest, "invalid_request", "The request is malformed.")
	case UpgradeRequired:
		return final(http.StatusUpgradeRequired, "upgrade_required",
			"This operation is a WebSocket, version 13, over HTTP/1.1: send a request for an upgrade.")
	case BadUpgrade:
		return final(http.StatusBadRequest, "invalid_request", "The request for an upgrade is malformed.")
	case EncodedBody:
		return final(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"The body has a Content-Encoding, which is not taken here: send it as it is, without compression.")
	case RequestTooLarge:
		return final(http.StatusRequestEntityTooLarge, "request_too_large", "The body is too large.")
	case BodyUnreadable:
		return final(http.StatusBadRequest, "invalid_request", "The request body could not be read.")
	case BodyTimeout:
		return Reply{Status: http.StatusRequestTimeout, Code: "request_timeout", Message: "The request body did not arrive in time."}
	case HeldByProcess:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "overloaded", After: soon,
			Message: "The gateway holds as much of requests and answers as it may.",
		}
	case HeldByClient:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "overloaded", After: soon,
			Message: "The gateway holds as much of this client's requests and answers as it may. Send fewer at a time.",
		}
	case RouteNotFound:
		return final(http.StatusNotFound, "route_not_found",
			"There is no route of that name. GET /openai/v1/models lists those that this credential may use.")
	case RouteForbidden:
		return final(http.StatusForbidden, "route_forbidden", "This credential may not use the route. Ask for it to be granted in the policy.")
	case ExternalReference:
		return final(http.StatusBadRequest, "external_reference", "The request refers to a place outside the boundary.")
	case TooManySessions:
		return Reply{
			Status: http.StatusTooManyRequests, Code: "limit_reached", After: 5 * time.Second,
			Message: "This client has as many sessions open on this gateway as it may. End one first.",
		}
	case ClientGone:
		return Reply{Status: ClientHasGone, Outcome: OutcomeClientGone}
	case BackendLeft, RouteRemoved, GrantWithdrawn, CredentialWithdrawn:
		return c.revoked()
	case NoBackend, Throttled, ModelRetired, UpstreamFailed, UpstreamSilent, UpstreamTimeout, LacksResources, Draining:
		return c.unserved()
	case Internal, causes:
	}
	return Reply{Status: http.StatusInternalServerError, Code: "internal_error", Message: "The gateway could not serve the request."}
}

// unserved is the part of the table that is about backends and this machine.
func (c Cause) unserved() Reply {
	switch c {
	case NoBackend:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary", After: time.Second,
			Message: "No backend inside the boundary can serve this request now.", Outcome: OutcomeNoBackend,
		}
	case Throttled:
		return Reply{
			Status: http.StatusTooManyRequests, Code: "throttled",
			Message: "Every deployment that can serve this request is at its limit.", Outcome: OutcomeThrottled,
		}
	case ModelRetired:
		return Reply{
			Status: http.StatusGone, Code: "model_retired", Final: true,
			Message: "The model was retired in every deployment of this route. Use another route.", Outcome: OutcomeRetired,
		}
	case UpstreamTimeout:
		return Reply{
			Status: http.StatusGatewayTimeout, Code: "upstream_timeout", Final: true, Message: "No backend answered in time.",
			Broken: "The time for this request was up before the answer was complete.", Outcome: OutcomeTimeout,
		}
	case LacksResources:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "overloaded", After: time.Second,
			Message: "The gateway lacks resources for this request at the moment.",
			Broken:  "The gateway has no room for the rest of the answer.", Outcome: OutcomeOverloaded,
		}
	case Draining:
		return Reply{
			Status: http.StatusServiceUnavailable, Code: "draining", After: time.Second,
			Message: "The gateway is stopping. Send the request again.",
			Broken:  "The gateway is stopping before the answer was complete.", Outcome: OutcomeDrained,
		}
	default:
	}
	broken := "The backend broke off before the answer was complete."
	if c == UpstreamSilent {
		broken = "The backend was silent for too long before the answer was complete."
	}
	return Reply{
		Status: http.StatusBadGateway, Code: "upstream_failed", Final: true,
		Message: "The backends that could serve this request failed.", Broken: broken, Outcome: OutcomeFailed,
	}
}

// revoked is the part of the table about calls that a new policy ends. Only a
// backend that has gone leaves something to try: the route may have others.
func (c Cause) revoked() Reply {
	var r Reply
	switch c {
	case BackendLeft:
		r = Reply{
			Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary", After: time.Second,
			Message: "The backend that served this request has left the boundary. Send the request again.",
		}
	case RouteRemoved:
		r = final(http.StatusNotFound, "route_not_found", "The route was removed from the policy while this request was served.")
	case GrantWithdrawn:
		r = final(http.StatusForbidden, "route_forbidden", "The route was withdrawn from this credential while this request was served.")
	default:
		r = final(http.StatusForbidden, "credential_revoked", "This credential was withdrawn while this request was served.")
	}
	r.Outcome = OutcomeRevoked
	return r
}

// final is a reply after which nothing is gained by sending the request again.
func final(status int, code, message string) Reply {
	return Reply{Status: status, Code: code, Message: message, Final: true}
}
