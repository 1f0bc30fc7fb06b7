package serve

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/targets"
)

// begun is an exchange of which nothing has been sent.
func begun(ctx context.Context) exchange {
	c := &relay.Call{Context: ctx, Route: &policy.CompiledRoute{}}
	return exchange{Exchange: relay.New(relay.Config{}).Begin(c, nil), call: c}
}

// Where nothing is left, the answer says what the client can do about it.
func TestAnswersWhenNothingIsLeft(t *testing.T) {
	for name, tt := range map[string]struct {
		verdict targets.Verdict
		status  int
		code    string
		final   bool
		outcome string
	}{
		"all throttled": {targets.Verdict{AllThrottled: true, RetryAfter: time.Second}, 429, "throttled", false, refusal.OutcomeThrottled},
		"all retired":   {targets.Verdict{AllRetired: true}, 410, "model_retired", true, refusal.OutcomeRetired},
		"nothing":       {targets.Verdict{}, 503, "no_backend_in_boundary", false, refusal.OutcomeNoBackend},
	} {
		x := begun(t.Context())
		x.nothingLeft(t.Context(), tt.verdict)
		if x.Refusal == nil {
			t.Fatalf("%s: no refusal", name)
		}
		if f := x.Refusal.Reply(); f.Status != tt.status || f.Code != tt.code || f.Final != tt.final || x.Outcome != tt.outcome {
			t.Errorf("%s: %+v, outcome %s", name, f, x.Outcome)
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
		x := begun(t.Context())
		x.finish(t.Context(), targets.Outcome{Kind: kind})
		if f := x.Refusal.Reply(); f.Status != want || f.Final == (want == http.StatusServiceUnavailable) {
			t.Errorf("kind %d: %+v", kind, f)
		}
	}
}
