package answer_test

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
)

func TestWhatTheEndOfASessionMeans(t *testing.T) {
	for _, tt := range []struct {
		code   int
		reason string
		want   targets.Kind
		wait   time.Duration
	}{
		{1000, "", targets.Success, 0},
		{1001, "your session hit the maximum duration of 60 minutes", targets.Success, 0},
		{1005, "", targets.Success, 0},
		{1011, "", targets.ServerError, 0},
		{1013, "busy", targets.ServerError, 0},
		{1013, "retry after 9 seconds", targets.Throttled, 9 * time.Second},
		{1008, "invalid session", targets.Rejected, 0},
		{1008, "Too many requests", targets.Throttled, 0},
		{1009, "", targets.Rejected, 0},
		{4001, "", targets.Rejected, 0},
		{4429, "try again in 5s", targets.Throttled, 5 * time.Second},
		{4500, "", targets.ServerError, 0},
		{4410, "", targets.Retired, 0},
	} {
		kind, s := answer.ByClose(tt.code, tt.reason, throttle.Signals{})
		if kind != tt.want || s.RetryAfter != tt.wait {
			t.Errorf("%d %q: kind %d, wait %v; want %d, %v", tt.code, tt.reason, kind, s.RetryAfter, tt.want, tt.wait)
		}
	}
}

func TestErrorEventsOfASession(t *testing.T) {
	f, ok := answer.ErrorEvent([]byte(`{"type":"error","event_id":"e","error":{"type":"x","code":"rate_limit_exceeded","message":"m"}}`))
	if !ok || f.Code != "rate_limit_exceeded" {
		t.Errorf("%+v, %t", f, ok)
	}
	for _, data := range []string{`{"type":"session.created","session":{"error":{"code":"x"}}}`, `{"error":{"code":"x"}}`, "", "hello", `{"type":7}`} {
		if f, ok := answer.ErrorEvent([]byte(data)); ok {
			t.Errorf("%s is an error: %+v", data, f)
		}
	}
}
