package serve

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/refusal"
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
		var h message.Header
		for _, id := range tt.ids {
			h = h.Add("X-Request-Id", id)
		}
		got := requestID(h)
		if taken := len(tt.ids) > 0 && got == tt.ids[0]; taken != tt.taken || !wellFormed(got) {
			t.Errorf("%s: %q from %q", tt.name, got, tt.ids)
		}
	}
	if one, other := requestID(nil), requestID(nil); one == other {
		t.Error("two requests got the same id")
	}
}

// A caller who is not admitted learns nothing of which keys exist, and a refusal
// whose cause nobody has named keeps its text inside.
func TestRefusalsGiveNothingAway(t *testing.T) {
	v := &visit{}
	replies := map[auth.Kind]refusal.Reply{}
	for kind, want := range map[auth.Kind]string{
		auth.Missing: "unauthorized", auth.Bad: "unauthorized", auth.Ambiguous: "unauthorized", auth.WrongBoundary: "wrong_boundary",
	} {
		v.snapshot = &policy.Snapshot{}
		replies[kind] = refusal.Of(v.stranger(&auth.Error{Kind: kind})).Reply()
		if replies[kind].Code != want || !replies[kind].Final {
			t.Errorf("kind %d: %+v", kind, replies[kind])
		}
	}
	if replies[auth.Missing] != replies[auth.Bad] {
		t.Error("a wrong key can be told from a missing one")
	}
	if inside := refusal.Of(errors.New("dial 10.0.0.1: secret")).Reply(); inside.Status != 500 || strings.Contains(inside.Message, "secret") {
		t.Errorf("%+v", inside)
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
		h := addRetry(nil, refusal.Reply{After: tt.wait}, 0)
		seconds, _ := h.Get("Retry-After")
		ms, _ := h.Get("Retry-After-Ms")
		if seconds != tt.seconds || ms != tt.ms {
			t.Errorf("%v: retry-after %q, retry-after-ms %q; want %q and %q", tt.wait, seconds, ms, tt.seconds, tt.ms)
		}
	}
	h := addRetry(nil, refusal.Reply{Final: true}, 0)
	if no, _ := h.Get("X-Should-Retry"); no != "false" || h.Has("Retry-After") {
		t.Errorf("a final refusal says %v", h)
	}
}
