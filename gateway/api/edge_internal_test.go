package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

func TestRequestIDIsTakenOnlyIfWellFormed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ids   []string
		taken bool
	}{
		{"a good one", []string{"req-0123_45.ab"}, true},
		{"none", nil, false},
		{"two: which one would the log mean?", []string{"req-012345", "req-678901"}, false},
		{"too short to find again", []string{"1234567"}, false},
		{"too long", []string{strings.Repeat("a", 129)}, false},
		{"a line break", []string{"req-0123\r\nx: y"}, false},
		{"not ASCII", []string{"req-0123é"}, false},
		{"a quote", []string{`req-0123"`}, false},
	} {
		got := requestID(http.Header{"X-Request-Id": tt.ids})
		if taken := len(tt.ids) > 0 && got == tt.ids[0]; taken != tt.taken || !wellFormed(got) {
			t.Errorf("%s: %q from %q", tt.name, got, tt.ids)
		}
	}
	if one, other := requestID(nil), requestID(nil); one == other {
		t.Error("two requests got the same id")
	}
}

// The table from errors to replies: codes are a contract, and the text of an
// error that is not listed stays inside.
func TestRefusalTable(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{&auth.Error{Kind: auth.Missing}, 401, "unauthorized"},
		{&auth.Error{Kind: auth.Bad}, 401, "unauthorized"},
		{&auth.Error{Kind: auth.WrongBoundary}, 403, "wrong_boundary"},
		{&auth.Error{Kind: auth.Ambiguous}, 401, "unauthorized"},
		{errEncodedBody, 415, "unsupported_media_type"},
		{errRouteNotFound, 404, "route_not_found"},
		{errRouteForbidden, 403, "route_forbidden"},
		{errFrontDoorRequired, 403, "front_door_required"},
		{fmt.Errorf("read: %w", operation.TooLarge(10)), 413, "request_too_large"},
		{context.Canceled, statusClientGone, ""},
		{errors.New("dial 10.0.0.1: secret"), 500, "internal_error"},
	} {
		r, _ := refusalOf(tt.err)
		if r.Status != tt.status || r.Code != tt.code {
			t.Errorf("%v: %d %s, want %d %s", tt.err, r.Status, r.Code, tt.status, tt.code)
		}
		if strings.Contains(r.Message, "secret") {
			t.Errorf("%v: its text is given to the client", tt.err)
		}
	}
	missing, _ := refusalOf(&auth.Error{Kind: auth.Missing})
	bad, _ := refusalOf(&auth.Error{Kind: auth.Bad})
	if missing.Message != bad.Message {
		t.Error("a wrong key can be told from a missing one")
	}
}

// Both forms are sent, since SDKs differ in which they read; neither is longer
// than the minute up to which SDKs wait, nor, but for waits near it, ends before the
// time it stands for.
func TestRetryAfterIsRoundedUpAndBounded(t *testing.T) {
	for _, tt := range []struct {
		wait        time.Duration
		seconds, ms string
	}{
		{0, "", ""},
		{time.Nanosecond, "1", "1"},
		{1500*time.Millisecond + 1, "2", "1501"},
		{50 * time.Second, "50", "50000"},
		{time.Minute, "55", "55000"}, // the spread goes up to the minute
		{24 * time.Hour, "55", "55000"},
	} {
		h := http.Header{}
		setRetry(h, &proxy.Refusal{RetryAfter: tt.wait}, 0)
		if h.Get("Retry-After") != tt.seconds || h.Get("Retry-After-Ms") != tt.ms {
			t.Errorf("%v: retry-after %q, retry-after-ms %q; want %q and %q", tt.wait, h.Get("Retry-After"), h.Get("Retry-After-Ms"), tt.seconds, tt.ms)
		}
	}
	h := http.Header{}
	setRetry(h, &proxy.Refusal{NoRetry: true}, 0)
	if h.Get("X-Should-Retry") != "false" || h.Get("Retry-After") != "" {
		t.Errorf("a final refusal says %v", h)
	}
}
