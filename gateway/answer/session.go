package answer

import (
	"strings"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
)

// ErrorEvent returns the error that a message of a session reports, if it is one
// that does.
func ErrorEvent(data []byte) (Fault, bool) {
	reports := false
	walk(data[:min(len(data), FaultLimit)], func(name string, m strictjson.Member) {
		if name == "type" && m.Kind == strictjson.String {
			reports = string(strictjson.Text(data, m)) == "error"
		}
	})
	if !reports {
		return Fault{}, false
	}
	return ParseFault(data), true
}

// The close codes that say something of the server (RFC 6455 and its registry),
// and the range in which servers repeat the statuses of HTTP.
const (
	closedNormally  = 1000
	closedGoingAway = 1001 // how the service ends a session at its time
	closedNoStatus  = 1005
	closedInternal  = 1011
	closedRestart   = 1012
	closedTryLater  = 1013
	closedGateway   = 1014
	closedStatus    = 4000
)

// ByClose judges the frame with which a backend ends a session. Success is an
// end in order.
func ByClose(code int, reason string, s throttle.Signals) (targets.Kind, throttle.Signals) {
	f := Fault{Message: reason}
	if status := code - closedStatus; status >= 400 && status <= 599 {
		return ByStatus(status, f, s)
	}
	switch code {
	case closedNormally, closedGoingAway, closedNoStatus:
		return targets.Success, s
	case closedInternal, closedRestart, closedTryLater, closedGateway:
		if heard := heard(s, f); heard.HasRetryAfter && !s.HasRetryAfter {
			return targets.Throttled, heard
		}
		return targets.ServerError, s
	}
	if words := strings.ToLower(reason); strings.Contains(words, "too many requests") || strings.Contains(words, "rate limit") {
		return targets.Throttled, heard(s, f)
	}
	return targets.Rejected, s // it is about what the client sent
}
