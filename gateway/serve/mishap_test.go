package serve_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
)

// A gateway that drains still serves what arrives, sessions too: the head of an
// upgrade asks for no end of the connection.
func TestADrainingGatewayOpensSessions(t *testing.T) {
	b := newRealtime(t, echo)
	w := newWhole(t, wholeSetup{real: []string{b.url}, drains: true})
	c, resp := dial(t, w.front().URL+"/openai/realtime?"+realtimeQuery, http.Header{"Api-Key": {w.key}})
	if got := resp.Header.Values("Connection"); len(got) != 1 || got[0] != "Upgrade" {
		t.Errorf("the upgrade says Connection: %q", got)
	}
	exchange(t, c, websocket.MessageText, "hello")
}

// clumsy is a transform with a fault.
type clumsy struct{}

func (clumsy) Body(int, string, []byte) []byte { panic("a fault of ours") }
func (clumsy) Event([]byte) []byte             { return nil }
func (clumsy) Message(bool, []byte) []byte     { return nil }

// A fault of ours leaves nothing taken: the lease is settled with the attempt that was
// made, the target is free again and not blamed, and the request is in the log.
func TestAPanicLeavesNothingTaken(t *testing.T) {
	settled := -1
	w, _ := inMemory(t, wellAnswered, wholeSetup{change: func(c *serve.Config) {
		c.Seams.Transforms = func(*relay.Call) []relay.Transform { return []relay.Transform{clumsy{}} }
		c.Seams.Lease = func(context.Context, *relay.Call, string) (func(*relay.Result), error) {
			return func(r *relay.Result) { settled = r.Attempts }, nil
		}
	}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the fault is hidden from the server")
			}
		}()
		w.do(w.request(http.MethodPost, chatPath, plainBody))
	}()
	if settled != 1 || w.budget.Held() != 0 {
		t.Errorf("settled with %d attempts, %d bytes held", settled, w.budget.Held())
	}
	for _, s := range w.targets.Status(time.Now()) {
		if s.InFlight != 0 || s.Suspect {
			t.Errorf("%s: %d in flight, suspect %t", s.Backend, s.InFlight, s.Suspect)
		}
	}
	if lines := w.lines(); len(lines) != 1 || lines[0]["status"] != 500.0 || lines[0]["attempts"] != 1.0 {
		t.Errorf("the log has %v", lines)
	}
}

// unreadable is a body whose file has gone bad, or whose client has.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.err }

// What goes wrong with the request's own body is not the target's doing.
func TestABodyThatCannotBeReadBlamesNoTarget(t *testing.T) {
	for name, source := range map[string]body.Source{
		"a bad disk":         failingFile{&body.ReadError{Err: errors.New("input/output error")}},
		"a client that left": body.Through(unreadable{err: errors.New("gone")}, 100),
	} {
		r := newRig(t, setup{endpoints: []string{good(t).url, good(t).url}})
		c := r.call(t.Context(), http.Header{}, plainBody)
		c.Body = source
		res := r.serve(newSink(), c)
		if res.Attempts != 1 || r.suspects() != 0 || res.Outcome == relay.OutcomeOK {
			t.Errorf("%s: %d attempts, %d blamed, outcome %s", name, res.Attempts, r.suspects(), res.Outcome)
		}
	}
}

// failingFile is a body that can be opened again and never read.
type failingFile struct{ err error }

func (f failingFile) Open(...body.Edit) (io.ReadCloser, int64, error) {
	return io.NopCloser(unreadable(f)), 100, nil
}
func (failingFile) Repeatable() bool { return true }
func (failingFile) Spent() bool      { return false }
func (failingFile) Close() error     { return nil }
