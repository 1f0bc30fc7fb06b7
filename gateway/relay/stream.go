package relay

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/sse"
	"github.com/stampgate/stampgate/gateway/targets"
)

// The bounds of what is held back before a stream is passed on.
const (
	openingBytes  = 64 << 10
	openingEvents = 64
)

var (
	errEventInOpening = errors.New("the stream opened with an error event")
	errMalformed      = errors.New("the stream opened with an event that cannot be read")
	errEncoded        = errors.New("the stream is compressed, which was not asked for")
	errEndMissing     = errors.New("the stream ended without its last event")
	errNoRoom         = errors.New("the budget of held bytes has no room for an event or message")
	errEventMidStream = errors.New("the backend sent an error event in the stream")
)

// An eventStream passes an event stream on. Until it is open, events are held: an
// error among them is a failed attempt, not the client's. Afterwards each read
// is one write.
//
// The reading goroutine and the quiet timer both write to the client, so mu
// orders them. It is the one lock here that is held across a write: it belongs
// to a single request, and both its users have to wait for that client anyway.
type eventStream struct {
	attempt *attempt
	resp    *http.Response
	scanner *sse.Scanner
	quiet   *time.Timer

	mu     sync.Mutex // guards the fields below and the writer
	held   []byte     // not passed on yet: the opening, or the start of an event
	tail   int        // bytes at the end of what was fed that are not a whole event
	open   bool
	closed bool
	err    error // of writing to the client
}

// stream relays an event stream until it ends, honestly or not.
func (a *attempt) stream(resp *http.Response) targets.Outcome {
	if resp.Header.Get("Content-Encoding") != "" {
		return a.broken(errEncoded) // its events cannot be seen, nor could it be ended honestly
	}
	r := &eventStream{attempt: a, resp: resp, scanner: sse.NewScanner(a.call.Match.Operation.ErrorForm)}
	r.scanner.Expect(a.call.Scan.Choices())
	every := a.relay.cfg.KeepAlive
	r.mu.Lock() // keepAlive may run before AfterFunc has returned
	r.quiet = time.AfterFunc(every, func() { r.keepAlive(every) })
	r.mu.Unlock()
	defer r.close()

	buf := a.relay.buffers.Get().(*[]byte)
	defer a.relay.buffers.Put(buf)
	for {
		n, err := a.read(resp.Body, *buf)
		if n > 0 {
			events := r.scanner.Events()
			if o, done := r.take((*buf)[:n]); done {
				return o
			}
			// A backend's own comments are no reason to leave ours out.
			if r.scanner.Events() > events {
				r.quiet.Reset(every)
			}
		}
		if err != nil {
			return r.end(err)
		}
	}
}

// take handles what one read brought. done means that the attempt is over.
func (r *eventStream) take(p []byte) (o targets.Outcome, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole, err := r.scanner.Feed(p)
	if err != nil {
		return r.fail(err), true
	}
	if whole > 0 {
		r.tail = 0
	}
	r.tail += len(p) - whole
	r.attempt.credit(r.scanner.Verdict() == sse.Good)
	if !r.open {
		room := r.hold(p)
		switch r.scanner.Verdict() {
		case sse.Failed:
			if o := r.failed(errEventInOpening); o.Kind != targets.Rejected {
				return o, true
			}
			// The client's own fault is the client's to see, in the words of the backend.
		case sse.Malformed:
			return r.attempt.broken(errMalformed), true
		case sse.Undecided:
			if room && len(r.held) < openingBytes && r.scanner.Events() < openingEvents {
				return o, false
			}
		case sse.Good:
		}
		return r.begin()
	}
	return r.pass(p, whole)
}

// begin passes the opening on, but for the start of an event that is not whole.
func (r *eventStream) begin() (targets.Outcome, bool) {
	r.open = true
	r.attempt.commit(r.resp, -1)
	whole := len(r.held) - r.tail
	err := r.attempt.write(r.attempt.call.transformEvents(r.held[:whole]), true)
	r.attempt.call.Hold.GiveAnswer()
	r.held = slices.Clone(r.held[whole:])
	if err != nil {
		return r.attempt.clientGone(err), true
	}
	return targets.Outcome{}, false
}

// hold keeps a copy of p, and reports whether the budget has room for it. The
// first read's worth is part of what every request costs.
func (r *eventStream) hold(p []byte) bool {
	room := len(r.held)+len(p) <= readSize || r.attempt.call.Hold.TakeAnswer(int64(len(p)))
	r.held = append(r.held, p...)
	return room
}

// pass writes the whole events of p, with what was held before them.
func (r *eventStream) pass(p []byte, whole int) (targets.Outcome, bool) {
	out := p[:whole]
	if len(r.held) > 0 && whole > 0 {
		out = append(r.held, out...)
		r.held = nil
		r.attempt.call.Hold.GiveAnswer()
	}
	if out = r.attempt.call.transformEvents(out); r.err == nil && len(out) > 0 {
		r.err = r.attempt.write(out, true)
	}
	if r.err != nil {
		return r.attempt.clientGone(r.err), true
	}
	if rest := p[whole:]; len(rest) > 0 && !r.hold(rest) && len(r.held) > openingBytes {
		return r.fail(errNoRoom), true
	}
	return targets.Outcome{}, false
}

// failed says what the stream's error event means.
func (r *eventStream) failed(err error) targets.Outcome {
	a := r.attempt
	kind, signals := answer.ByFault(answer.ParseFault(r.scanner.Error()), a.signals)
	a.model = a.relay.names.of(r.scanner.Model())
	return a.refused(kind, signals, err)
}

// keepAlive runs when no event has come for some time. A backend that has
// answered 200 and then thinks for long is not held back any further: the client
// must see that something lives, or a balancer on the way cuts the connection.
func (r *eventStream) keepAlive(every time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		return
	}
	if !r.open {
		nothing := len(r.held) == 0 || len(r.held) == r.tail && r.scanner.InEvent()
		if nothing || r.attempt.early.hasSent() {
			r.quiet.Reset(every)
			return
		}
		if _, done := r.begin(); done {
			return
		}
	}
	r.err = r.attempt.write([]byte(sse.KeepAlive), true)
	r.quiet.Reset(every)
}

func (r *eventStream) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.quiet.Stop()
	r.attempt.call.Hold.GiveAnswer()
}

// end handles the end of the backend's bytes.
func (r *eventStream) end(err error) targets.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.attempt
	if !r.whole(err) {
		if ended(err) {
			err = errEndMissing
		}
		return r.fail(err)
	}
	// All that belongs to the answer has come: whatever the connection does after
	// that changes nothing for the client.
	if !r.open {
		if o, done := r.begin(); done {
			return o
		}
	}
	if len(r.held) > 0 {
		if werr := a.write(a.call.transformEvents(r.held), true); werr != nil {
			return a.clientGone(werr)
		}
	}
	if r.scanner.Error() != nil {
		return r.failed(errEventMidStream)
	}
	a.model = a.relay.names.of(r.scanner.Model())
	return a.outcome(targets.Success)
}

// whole reports whether the answer is complete where its bytes end with err.
func (r *eventStream) whole(err error) bool {
	partial := r.scanner.Partial()
	if !ended(err) {
		return r.scanner.Ended() && !partial
	}
	r.scanner.Close()
	return r.scanner.Ended() || r.scanner.Finished() && !partial
}

// fail ends the attempt. After the first byte the client is told, in the form
// of its own stream, unless the backend told it already.
func (r *eventStream) fail(err error) targets.Outcome {
	a := r.attempt
	a.model = a.relay.names.of(r.scanner.Model())
	o := a.broken(err)
	if !r.open || r.err != nil {
		return o
	}
	if r.scanner.Error() != nil {
		_ = a.write(nil, true) // the backend has said it
	} else if cause := a.ending(o); cause != refusal.ClientGone {
		told := cause.Reply()
		_ = a.write(r.scanner.ErrorFrame(told.Code, told.Ending()), true)
	}
	return o
}

// ending names why an answer that had begun was not completed.
func (a *attempt) ending(o targets.Outcome) refusal.Cause {
	if cause, cut := a.Cut(); cut {
		return cause
	}
	switch {
	case o.Kind == targets.LocalFault:
		return refusal.LacksResources
	case o.Kind == targets.OutOfTime:
		return refusal.UpstreamTimeout
	case errors.Is(context.Cause(a.ctx), errStalled):
		return refusal.UpstreamSilent
	case o.Kind == targets.Canceled:
		return refusal.ClientGone
	}
	return refusal.UpstreamFailed
}
