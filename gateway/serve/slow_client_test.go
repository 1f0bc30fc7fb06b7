package serve_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// A slow sink (whose proxy sends no keep-alive, since a goroutine that waits for a
// lock keeps virtual time from passing) takes its time for each write, up to its deadline.
type slow struct {
	*sink

	each     time.Duration
	deadline time.Time
}

func (s *slow) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *slow) Write(p []byte) (int, error) {
	left := time.Until(s.deadline)
	if s.each > left {
		time.Sleep(left)
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.each)
	return s.sink.Write(p)
}

// FlushError is what http.ResponseController looks for first.
func (s *slow) FlushError() error { return nil }

// A client that reads slowly is not the backend's fault: the idle time does not
// run while we write.
func TestSlowClientIsNotTheBackendsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, plays(false, beat{0, event}, beat{0, event}, beat{time.Second, event + done}))
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 10m", keepAlive: time.Hour})
		w := &slow{sink: newSink(), each: 30 * time.Second}
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if res.Outcome != relay.OutcomeOK || r.suspects() != 0 {
			t.Errorf("result %+v, %d blamed", res, r.suspects())
		}
	})
}

// One that takes a write not at all within a minute is gone.
func TestClientThatTakesNothingIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, plays(true, beat{0, event}))
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: network, timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 10m", keepAlive: time.Hour})
		w := &slow{sink: newSink(), each: time.Hour}
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if res.Outcome != refusal.OutcomeClientGone || !res.Aborted || time.Since(w.start) != time.Minute || r.suspects() != 0 {
			t.Errorf("result %+v after %v, %d blamed", res, time.Since(w.start), r.suspects())
		}
	})
}

// Where this machine lacks something, no target is asked in turn and none blamed.
func TestLackOfThisMachineIsNobodysFault(t *testing.T) {
	for _, lack := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		dials := 0
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.2:1"},
			dialer: upstream.Dialer{Connect: func(context.Context, netip.AddrPort) (net.Conn, error) {
				dials++
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", lack)}
			}},
		})
		res := r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
		if f := told(res); f.Status == 0 || f.Status != 503 || f.Code != "overloaded" || f.After <= 0 || f.Final || res.Outcome != refusal.OutcomeOverloaded {
			t.Errorf("%v: result %+v, %+v", lack, res, f)
		}
		if dials != 1 || r.suspects() != 0 {
			t.Errorf("%v: %d dials, %d blamed", lack, dials, r.suspects())
		}
	}
}
