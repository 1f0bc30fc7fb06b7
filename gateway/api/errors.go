package api

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

var (
	errRouteNotFound = final(http.StatusNotFound, "route_not_found",
		"There is no route of that name. GET /openai/v1/models lists those that this credential may use.")
	errRouteForbidden = final(http.StatusForbidden, "route_forbidden",
		"This credential may not use the route. Ask for it to be granted in the policy.")
	errFrontDoorRequired = final(http.StatusForbidden, "front_door_required",
		"Requests are taken only through the configured Front Door.")
	errEncodedBody = &operation.Error{
		Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Param: "Content-Encoding",
		Message: "The body has a Content-Encoding, which is not taken here: send it as it is, without compression.",
	}
	errNoPolicy = &proxy.Refusal{
		Status: http.StatusServiceUnavailable, Code: "no_backend_in_boundary",
		Message: "The gateway has no policy yet.", RetryAfter: 5 * time.Second,
	}
)

// final is a refusal that sending the same request again does not change.
func final(status int, code, message string) *proxy.Refusal {
	return &proxy.Refusal{Status: status, Code: code, Message: message, NoRetry: true}
}

// statusClientGone is what the log says of a request whose client hung up
// before the answer; nobody receives it. nginx made the number known.
const statusClientGone = 499

// refusalOf is the one table from errors to replies. What is not listed is a
// 500 whose text stays in our log.
func refusalOf(err error) (r *proxy.Refusal, param string) {
	if r, ok := errors.AsType[*proxy.Refusal](err); ok {
		return r, ""
	}
	if e, ok := errors.AsType[*auth.Error](err); ok {
		return authRefusal(e), ""
	}
	if e, ok := errors.AsType[*operation.Error](err); ok {
		return final(e.Status, e.Code, e.Message), e.Param
	}
	if errors.Is(err, context.Canceled) {
		return &proxy.Refusal{Status: statusClientGone}, ""
	}
	return &proxy.Refusal{Status: http.StatusInternalServerError, Code: "internal_error", Message: "The gateway could not serve the request."}, ""
}

// errorBody has the shape of Azure OpenAI's errors, which every SDK reads.
type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
}

// refuse writes an answer of our own. Nothing may have been sent yet.
func (v *visit) refuse(err error) {
	r, param := refusalOf(err)
	v.result.Status = r.Status
	if v.result.Outcome == "" {
		v.result.Outcome = r.Code
	}
	if v.result.Err == nil && r.Code == "internal_error" {
		v.result.Err = err
	}
	if r.Status == statusClientGone {
		v.result.Outcome, v.result.Aborted = proxy.OutcomeClientGone, true
		return
	}
	body := errorBody{errorFields{Code: r.Code, Message: r.Message, Type: errorType(r.Status)}}
	if param != "" {
		body.Error.Param = &param
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic("api: an error body of plain strings cannot be encoded: " + err.Error())
	}
	v.answering()
	h := v.w.Header()
	v.stamp(h, &v.result)
	h.Del("X-Stampgate-Region") // nobody served it
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	setRetry(h, r, rand.Float64())
	v.w.WriteHeader(r.Status)
	n, _ := v.w.Write(text) // a client that has gone needs no answer
	v.result.BytesOut = int64(n)
}

// The span in which a client shall come back: SDKs ignore what is longer than a
// minute.
const (
	soonest = time.Millisecond
	latest  = 60 * time.Second
)

// The spread of what clients are told: half of the wait, within these bounds.
const (
	leastSpread = 500 * time.Millisecond
	mostSpread  = 5 * time.Second
)

// spread returns a wait between this one and somewhat longer, so that clients
// who are told of one opening do not all come back at once. None is beyond
// latest: near it, the span lies below. draw is uniform in [0, 1).
func spread(wait time.Duration, draw float64) time.Duration {
	span := min(max(wait/2, leastSpread), mostSpread)
	from := min(wait, latest-span)
	return from + time.Duration(draw*float64(span))
}

func setRetry(h http.Header, r *proxy.Refusal, draw float64) {
	if r.NoRetry {
		h["X-Should-Retry"] = []string{"false"}
	}
	if r.RetryAfter <= 0 {
		return
	}
	wait := spread(max(r.RetryAfter, soonest), draw)
	// Rounded up: a client that comes too early is refused again.
	h["Retry-After-Ms"] = []string{strconv.FormatInt(int64((wait+time.Millisecond-1)/time.Millisecond), 10)}
	h["Retry-After"] = []string{strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)}
}

func errorType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

func itoa(n int) string    { return strconv.Itoa(n) }
func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
