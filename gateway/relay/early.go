package relay

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/sse"
)

// An earlyHead gives the client of a stream a sign of life where the route asks
// for one and no backend has begun to answer: the head of a stream, and comments
// from then on, while attempts go on, on other targets too. What fails after
// that can only be told by an event. The head says nothing of a backend: neither
// the region that will serve, nor any header of its answer, is known yet.
//
// The timer's goroutine and the call's both write, so mu orders them. Like a
// relay's it is held across a write to the one client that both wait for. The nil
// earlyHead never sends anything.
type earlyHead struct {
	exchange *Exchange
	every    time.Duration
	attempts atomic.Int32 // begun so far

	mu    sync.Mutex // guards the fields below, and the writer until it is taken
	timer *time.Timer
	sent  bool
	taken bool // by the answer: nothing is sent from here any more
	bytes int64
}

// startEarly arms the early head if the call has one.
func (x *Exchange) startEarly() {
	after := x.call.Route.EarlyHead
	if after <= 0 || !x.call.Stream || x.call.Match.Operation.WebSocket {
		return
	}
	e := &earlyHead{exchange: x, every: x.relay.cfg.KeepAlive}
	e.mu.Lock() // fire may run before AfterFunc has returned
	e.timer = time.AfterFunc(after, e.fire)
	e.mu.Unlock()
	x.early = e
}

func (e *earlyHead) fire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taken {
		return
	}
	x := e.exchange
	if !e.sent {
		e.sent = true
		h := message.Header{{Name: "Content-Type", Value: "text/event-stream"}, {Name: "Cache-Control", Value: "no-cache"}}
		if x.call.Head != nil {
			h = x.call.Head(h, &Result{Status: http.StatusOK, Attempts: int(e.attempts.Load())})
		}
		x.client.Begin(http.StatusOK, h)
	}
	n, err := x.send([]byte(sse.KeepAlive), true)
	e.bytes += int64(n)
	if err == nil { // else the next write of the call finds out, or its context ends
		e.timer.Reset(e.every)
	}
}

// begun counts an attempt, for the head.
func (e *earlyHead) begun() {
	if e != nil {
		e.attempts.Add(1)
	}
}

// hasSent reports whether the client has a head that no backend gave.
func (e *earlyHead) hasSent() bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent
}

// take hands the writer over to the answer, and reports whether its head has gone
// already.
func (e *earlyHead) take() (sent bool) {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.taken {
		e.taken = true
		e.timer.Stop()
	}
	e.exchange.BytesOut += e.bytes
	e.bytes = 0
	return e.sent
}

// release undoes take where the answer was none for this client.
func (e *earlyHead) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.taken = false
	e.timer.Reset(e.every)
}
