// Package answer says what an answer of a backend means: whose matter it is,
// what the request does next, and what is learned of the target. It is the one
// place that knows, for plain answers, event streams and WebSockets alike.
//
// It is pure: bytes and a status in, a targets.Kind out; no I/O, no clock. It
// looks at a bounded part of what it is given, and nothing in it can make it
// fail: an answer that cannot be read means what its status says. Relay is
// its user.
package answer

import (
	"net/http"
	"strconv"
	"time"

	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
)

// quotaWait is how long a target is left alone whose quota is spent: no time is
// named for that, since only an operator can end it.
const quotaWait = time.Minute

// ByStatus judges an answer by its status and what its body says. It does not
// know whether an answer of 2xx is good: see ByFault and Scan. The signals come
// back with the wait that the answer named in its text, if no header did.
func ByStatus(status int, f Fault, s throttle.Signals) (targets.Kind, throttle.Signals) {
	if status == http.StatusPaymentRequired || f.is(quotaSpent()) {
		return targets.Throttled, atLeast(s, quotaWait)
	}
	switch {
	case status == http.StatusTooManyRequests:
		return targets.Throttled, heard(s, f)
	case status == http.StatusServiceUnavailable:
		if s = heard(s, f); s.HasRetryAfter {
			return targets.Throttled, s
		}
		return targets.ServerError, s
	case status >= 500: // 529 and what is beyond HTTP, too
		return targets.ServerError, s
	case status >= 400:
		return refused(status, f), s
	case status >= 300:
		return targets.Unfit, s // never followed: it would lead out of the boundary
	}
	return targets.Broken, s
}

// refused judges the statuses from 400 to 499 but for those of a limit.
//
// A 400 or 404 for an api-version is the client's: the version that goes to a
// backend is always the one that the client chose, and none where it chose none.
func refused(status int, f Fault) targets.Kind {
	switch status {
	case http.StatusUnauthorized:
		// A role that is missing is 401 at Azure, not 403.
		if f.Code == "PermissionDenied" || f.says("lacks the required data action") || f.says("does not have access to API/Operation") {
			return targets.OperationForbidden
		}
		return targets.IdentityRefused
	case http.StatusForbidden:
		return targets.OperationForbidden
	case http.StatusNotFound:
		switch {
		case f.is(deploymentMissing()):
			return targets.DeploymentMissing
		case f.is(modelMissing()):
			return targets.Unfit
		}
		return targets.Rejected
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusFailedDependency:
		return targets.GaveUp
	case http.StatusGone:
		return targets.Retired
	case http.StatusMisdirectedRequest, http.StatusTooEarly, 449, 499: // Retry With, Client Closed Request
		return targets.Unfit
	}
	return targets.Rejected
}

// PassedOn reports whether a status may be the client's to see, so that its body
// has to be read whole. All others are answered by another target, or by us.
func PassedOn(status int) bool {
	return status >= 200 && status < 300 ||
		status >= 400 && status < 500 && refusedWithoutWords(status) == targets.Rejected
}

func refusedWithoutWords(status int) targets.Kind {
	k, _ := ByStatus(status, Fault{}, throttle.Signals{})
	return k
}

// ByFault judges an error that came without a status of its own: in the body of
// a 200, as the first event of a stream, as a message of a WebSocket. Its code
// counts, then its type: Azure gives every refusal the type
// invalid_request_error, the missing deployment's too.
func ByFault(f Fault, s throttle.Signals) (targets.Kind, throttle.Signals) {
	if n, err := strconv.Atoi(f.Code); err == nil && n >= 400 && n <= 599 {
		return ByStatus(n, f, s)
	}
	switch {
	case f.is(quotaSpent()):
		return targets.Throttled, atLeast(s, quotaWait)
	case f.is(limited()):
		return targets.Throttled, heard(s, f)
	case f.is(deploymentMissing()):
		return targets.DeploymentMissing, s
	case f.is(modelMissing()):
		return targets.Unfit, s
	case f.Code == "PermissionDenied":
		return targets.OperationForbidden, s
	case f.is(clients()):
		return targets.Rejected, s
	}
	return targets.ServerError, s
}

// heard adds the wait that is named only in the text.
func heard(s throttle.Signals, f Fault) throttle.Signals {
	if s.HasRetryAfter {
		return s
	}
	if d, ok := throttle.ParseText(f.Message); ok {
		s.RetryAfter, s.HasRetryAfter = d, true
	}
	return s
}

func atLeast(s throttle.Signals, wait time.Duration) throttle.Signals {
	s.RetryAfter, s.HasRetryAfter = max(s.RetryAfter, wait), true
	return s
}
