package relay

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/targets"
)

// A client takes everything.
type client struct{ message.Client }

func (client) Begin(int, message.Header)        {}
func (client) Write(p []byte) (int, error)      { return len(p), nil }
func (client) Flush() error                     { return nil }
func (client) SetWriteDeadline(time.Time) error { return nil }

// What is learned of a target includes the model that the answer names and the
// generation of our credential that was sent.
func TestOutcomesNameModelAndCredential(t *testing.T) {
	const event = "data: {\"model\":\"gpt-5.4-2026-03-05\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	match, err := operation.Recognise(http.MethodPost, "/openai/deployments/d/chat/completions", "api-version=2024-10-21")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		contentType, body string
		want              string
		kind              targets.Kind
	}{
		"plain":          {"application/json", `{"choices":[],"model":"gpt-5.4-2026-03-05"}`, "gpt-5.4-2026-03-05", targets.Success},
		"a stream":       {"text/event-stream", event, "gpt-5.4-2026-03-05", targets.Success},
		"a broken one":   {"text/event-stream", event[:60], "", targets.Broken},
		"without a name": {"application/json", `{"data":[]}`, "", targets.Success},
		"large":          {"application/json", `{"model":"m","data":"` + strings.Repeat("x", 2<<20) + `"}`, "m", targets.Success},
	} {
		r := New(Config{})
		c := &Call{Context: t.Context(), Match: match, Stream: true, Route: &policy.CompiledRoute{Idle: time.Minute, Total: time.Minute}}
		a := &attempt{Exchange: r.Begin(c, client{}), ticket: &targets.Ticket{FirstByte: time.Minute}, credential: 7}
		cancel := a.arm(context.Background(), true)
		o := a.judge(&http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {tt.contentType}}, Body: io.NopCloser(strings.NewReader(tt.body)), ContentLength: -1})
		cancel(nil)
		if o.Model != tt.want || o.Credential != 7 || o.Kind != tt.kind {
			t.Errorf("%s: %+v, want model %q", name, o, tt.want)
		}
	}
}
