package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/targets"
)

// Where nothing is left, the answer says what the client can do about it.
func TestAnswersWhenNothingIsLeft(t *testing.T) {
	failed := &targets.Outcome{Kind: targets.ServerError, Sent: true}
	for name, tt := range map[string]struct {
		verdict targets.Verdict
		costly  *targets.Outcome
		status  int
		code    string
		noRetry bool
		outcome string
	}{
		"all throttled":         {targets.Verdict{AllThrottled: true, RetryAfter: time.Second}, failed, 429, "throttled", false, OutcomeThrottled},
		"all retired":           {targets.Verdict{AllRetired: true}, nil, 410, "model_retired", true, OutcomeRetired},
		"one failed on the way": {targets.Verdict{}, failed, 502, "upstream_failed", true, OutcomeFailed},
		"one failed, unpaid":    {targets.Verdict{Unpaid: true, AllThrottled: true}, failed, 502, "upstream_failed", true, OutcomeFailed},
		"nothing":               {targets.Verdict{}, nil, 503, "no_backend_in_boundary", false, OutcomeNoBackend},
	} {
		c := &Call{Context: t.Context(), Route: &policy.CompiledRoute{}}
		x := newExchange(New(Config{}), c, httptest.NewRecorder())
		x.costly = tt.costly
		r := x.nothingLeft(t.Context(), tt.verdict)
		if f := r.Refusal; f == nil || f.Status != tt.status || f.Code != tt.code || f.NoRetry != tt.noRetry || r.Outcome != tt.outcome {
			t.Errorf("%s: %+v, %+v", name, r, f)
		}
	}
}

// How the last attempt ended decides what the client is told.
func TestAnswersByTheLastOutcome(t *testing.T) {
	for kind, want := range map[targets.Kind]int{
		targets.ServerError: http.StatusBadGateway, targets.Broken: http.StatusBadGateway, targets.GaveUp: http.StatusBadGateway,
		targets.FirstByteTimeout: http.StatusGatewayTimeout, targets.OutOfTime: http.StatusGatewayTimeout,
		targets.LocalFault: http.StatusServiceUnavailable,
	} {
		c := &Call{Context: t.Context(), Route: &policy.CompiledRoute{}}
		r := newExchange(New(Config{}), c, httptest.NewRecorder()).finish(t.Context(), targets.Outcome{Kind: kind})
		if f := r.Refusal; f == nil || f.Status != want || f.NoRetry == (want == http.StatusServiceUnavailable) {
			t.Errorf("kind %d: %+v", kind, f)
		}
	}
}
