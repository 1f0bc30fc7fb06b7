package serve_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/relay"
)

// askHeld makes a call whose answer may be held up to so many bytes, and checks
// that nothing is held at its end.
func askHeld(t *testing.T, r *rig, body string, room int64) (reply, relay.Result) {
	t.Helper()
	budget := bytebudget.New(1<<30, 1<<30)
	connection := bytebudget.NewAccount(room)
	var result relay.Result
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		call := r.call(req.Context(), req.Header, body)
		call.Hold = budget.Open("payroll", connection)
		result = r.serve(w, call)
		if connection.Held() != 0 {
			t.Errorf("%d bytes are held of an answer that has gone", connection.Held())
		}
		call.Hold.Release()
		if result.Aborted {
			panic(http.ErrAbortHandler)
		}
	}))
	got := r.post(front, nil, body)
	front.Close() // waits for the handler
	if budget.Held() != 0 {
		t.Errorf("%d bytes are held by nobody", budget.Held())
	}
	return got, result
}

// An answer for which there is no room was paid for: it passes as it comes, whole.
func TestAnswersPassWhereThereIsNoRoom(t *testing.T) {
	const bytes = 200 << 10
	plain := `{"data":"` + strings.Repeat("x", bytes) + `"}`
	long := prelude + `data: {"choices":[{"delta":{"content":"` + strings.Repeat("x", bytes) + "\"}}]}\n\n" + done
	for name, tt := range map[string]struct{ ask, raw, want string }{
		"plain":                    {plainBody, answer("200 OK", jsonHeader, plain), plain},
		"a stream of small events": {chatBody, answer("200 OK", "Content-Type: text/event-stream\r\n", prelude+strings.Repeat(event, 2000)+done), prelude + strings.Repeat(event, 2000) + done},
		"a stream of one large":    {chatBody, answer("200 OK", "Content-Type: text/event-stream\r\n", long), long},
	} {
		for _, room := range []int64{0, 20 << 10, 1 << 20} {
			if name == "a stream of one large" && room < bytes {
				continue // see below
			}
			r := newRig(t, setup{endpoints: []string{newBackend(t, says(tt.raw)).url}})
			got, result := askHeld(t, r, tt.ask, room)
			if got.StatusCode != http.StatusOK || got.err != nil || got.text != tt.want || result.Outcome != relay.OutcomeOK {
				t.Errorf("%s, room for %d: status %d, %d bytes of %d, %v, outcome %s", name, room, got.StatusCode, len(got.text), len(tt.want), got.err, result.Outcome)
			}
		}
	}
}

// One event cannot pass in pieces, for it could not be ended honestly. Where there
// is no room for it the stream ends with an event that says so, and the target is
// not charged.
func TestAnEventWithoutRoomEndsItsStreamHonestly(t *testing.T) {
	long := prelude + event + `data: {"choices":[{"delta":{"content":"` + strings.Repeat("x", 300<<10) + "\"}}]}\n\n" + done
	raw := answer("200 OK", "Content-Type: text/event-stream\r\n", long)
	r := newRig(t, setup{endpoints: []string{newBackend(t, says(raw)).url}})
	for range 20 { // far more failures than open a breaker
		got, result := askHeld(t, r, chatBody, 20<<10)
		if got.err == nil || !strings.Contains(got.text, `"overloaded"`) || result.Outcome != relay.OutcomeBrokenOff {
			t.Fatalf("%v, outcome %s, ended with %q", got.err, result.Outcome, got.text[max(0, len(got.text)-200):])
		}
	}
}
