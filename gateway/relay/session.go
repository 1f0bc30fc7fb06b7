package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

const (
	// messageLimit is the largest message of a session, in bytes. Realtime takes up
	// to 15 MiB of audio in one event, which is 20 MiB as base64. Messages are
	// passed on in pieces; of one that must be checked, checkedMessage is held.
	messageLimit = 24 << 20
	// pongLimit is how long a side that is silent may take to answer a ping.
	pongLimit = 30 * time.Second
	// closeLimit is how long the two sides may take to say goodbye: less than the
	// 5 s that a drain gives a step.
	closeLimit = 3 * time.Second
)

var (
	errClientLost  = errors.New("the client's connection is lost")
	errOver        = errors.New("the session is over")
	errBackendLost = errors.New("the backend's connection is lost")

	errMessageTooBig = errors.New("a message of the session is larger than the gateway passes on")
)

// A sessionError is a close code with which the backend ended a session. The
// reason that it gave is for the client alone.
type sessionError websocket.StatusCode

func (e sessionError) Error() string { return fmt.Sprintf("the backend closed with %d", int(e)) }

// A session relays messages between a client and a backend.
type session struct {
	client, backend *side
	held            *held
	every           time.Duration             // of pings while a side is silent
	patience        time.Duration             // for one write
	budget          *bytebudget.Hold          // of the call
	references      func() *policy.References // that the client's messages may have, now
	transforms      []Transform
}

// A side is one of the two connections.
type side struct {
	conn  *websocket.Conn
	moved atomic.Int64 // bytes of messages, read and written
	wrote atomic.Int64 // of them, written
}

func newSession(client *websocket.Conn, backend *held, every time.Duration) *session {
	client.SetReadLimit(messageLimit)
	return &session{client: &side{conn: client}, backend: &side{conn: backend.conn}, held: backend, every: every}
}

// An ending is why a pump has stopped: an error of reading one side, or of
// writing to it, which its own reader then explains better.
type ending struct {
	by      *side // nil: the gateway is draining, or the policy has ended the session
	err     error // with by nil: why the policy ended it
	writing bool
}

// run relays until a side ends, or ctx, when the gateway is draining, and tells
// the other side why. It returns when all its goroutines have ended.
func (s *session) run(ctx context.Context, r *Result) targets.Kind { //nolint:contextcheck // the work goes on under the held context, see below
	// Ending a context of the library's calls breaks the connection. A goodbye has
	// to come before that, so they are not bound to the request's.
	work, stop := s.held.work, s.held.stop
	defer stop()
	pinging, hush := context.WithCancel(work)
	defer hush()
	ends := make(chan ending, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		ends <- pump(work, s.client, s.backend, s.pumping(ctx, true))
	})
	wg.Go(func() {
		ends <- pump(work, s.backend, s.client, s.pumping(ctx, false))
	})
	wg.Go(func() { s.client.keepAlive(pinging, s.every) })
	wg.Go(func() { s.backend.keepAlive(pinging, s.every) })

	e := s.first(ctx, ends)
	hush()
	toClient, toBackend := s.goodbyes(e)
	limit := closeLimit
	if e.by == nil && e.err != nil {
		limit = running.LastWords
	}
	force := time.AfterFunc(limit, stop)
	defer force.Stop()
	wg.Go(func() { _ = s.client.conn.Close(toClient.Code, toClient.Reason) })
	wg.Go(func() { _ = s.backend.conn.Close(toBackend.Code, toBackend.Reason) })
	wg.Wait()
	r.BytesIn, r.BytesOut = s.backend.wrote.Load(), s.client.wrote.Load()
	return s.outcome(e, r)
}

// pumping is how one direction of the session is relayed.
func (s *session) pumping(over context.Context, fromClient bool) pumping {
	p := pumping{over: over, patience: s.patience}
	if fromClient {
		p.check = &checker{references: s.references, budget: s.budget}
	} else {
		p.first = s.held.first
	}
	if len(s.transforms) > 0 {
		room := s.budget.Another()
		p.change = func(message io.Reader) (io.Reader, error) { return s.transformMessage(fromClient, message, room) }
		p.done = room.Release
	}
	return p
}

// first waits for the session's end.
func (s *session) first(ctx context.Context, ends <-chan ending) ending {
	for n := 0; ; n++ {
		select {
		case e := <-ends:
			if errors.Is(e.err, errOver) {
				return s.over(ctx)
			}
			if !e.writing || n > 0 {
				return e
			}
		case <-ctx.Done():
			return s.over(ctx)
		}
	}
}

// over says why the request's context has ended: a drain, a policy that no longer
// allows the session, or a client that went away before the upgrade had taken its
// connection over.
func (s *session) over(ctx context.Context) ending {
	if why := running.Ended(ctx); why != nil {
		return ending{err: why}
	}
	if errors.Is(context.Cause(ctx), lifecycle.ErrDraining) {
		return ending{}
	}
	return ending{by: s.client, err: errClientLost}
}

// A pumping is how one direction is relayed.
type pumping struct {
	// over, once done, lets nothing more pass: a policy that has ended the session
	// is in force from then on.
	over  context.Context //nolint:containedctx // as long as the session
	first <-chan opening  // of the first message, if it was read already
	check *checker        // of each message before it passes; nil: of the backend's
	// change, if set, returns what a message becomes.
	change func(io.Reader) (io.Reader, error)
	done   func() // if set, is called when nothing passes any more

	patience time.Duration // for one write
}

// counting notes what is read of a message as it comes: a side that sends a long
// one is not silent.
type counting struct {
	message io.Reader
	moved   *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.message.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

// pump passes the messages of one side to the other, piece by piece, until a
// side fails. A message that breaks off stays without its end on the other side,
// too.
func pump(ctx context.Context, from, to *side, how pumping) ending {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if how.done != nil {
		defer how.done()
	}
	stuck := time.AfterFunc(how.patience, cancel)
	defer stuck.Stop()
	buf := make([]byte, readSize)
	for {
		stuck.Stop()
		kind, message, err := next(ctx, from, how.first)
		how.first = nil
		if err != nil {
			return ending{by: from, err: err}
		}
		if how.over.Err() != nil {
			return ending{by: from, err: errOver}
		}
		if message, err = how.admit(counting{message, &from.moved}); err != nil {
			return ending{by: from, err: err}
		}
		w, err := to.conn.Writer(ctx, kind)
		for err == nil {
			var n int
			stuck.Stop()
			n, err = message.Read(buf)
			if err != nil && !ended(err) {
				return ending{by: from, err: err}
			}
			if how.over.Err() != nil {
				return ending{by: from, err: errOver}
			}
			stuck.Reset(how.patience)
			last := err != nil
			if n > 0 {
				_, err = w.Write(buf[:n])
				to.moved.Add(int64(n))
				to.wrote.Add(int64(n))
			}
			if last {
				break
			}
		}
		if err == nil || ended(err) {
			err = w.Close()
		}
		if err != nil {
			_ = to.conn.CloseNow() // so that its reader ends as well
			return ending{by: to, err: err, writing: true}
		}
		if how.check != nil {
			how.check.release()
		}
	}
}

// admit returns what passes of a message, of either kind: a backend may read both.
func (how pumping) admit(message io.Reader) (_ io.Reader, err error) {
	if how.check != nil {
		message, err = how.check.hold(message)
	}
	if err == nil && how.change != nil {
		message, err = how.change(message)
	}
	return message, err
}

// next returns the next message of a side.
func next(ctx context.Context, from *side, first <-chan opening) (websocket.MessageType, io.Reader, error) {
	if first == nil {
		return from.conn.Reader(ctx)
	}
	m := <-first // its reader ends with the connection
	if m.rest == nil {
		return m.kind, bytes.NewReader(m.head), m.err
	}
	return m.kind, io.MultiReader(bytes.NewReader(m.head), m.rest), m.err
}

// keepAlive pings a side that is silent, so that no balancer on the way takes
// the session for dead (Front Door does after 5 min), and ends one that does not
// answer.
func (s *side) keepAlive(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := s.moved.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.moved.Load()
		if now == before {
			limited, cancel := context.WithTimeout(ctx, pongLimit)
			err := s.conn.Ping(limited)
			cancel()
			if err != nil && ctx.Err() == nil && s.moved.Load() == before {
				_ = s.conn.CloseNow()
				return
			}
		}
		before = now
	}
}

// goodbyes are what the two sides are told. A close code is passed on as it came.
func (s *session) goodbyes(e ending) (client, backend websocket.CloseError) {
	draining := websocket.CloseError{Code: websocket.StatusGoingAway, Reason: "the gateway is stopping"}
	if refused, ok := errors.AsType[*refusal.Error](e.err); ok {
		told := websocket.CloseError{Code: websocket.StatusPolicyViolation, Reason: closeReason(refused)}
		return told, told
	}
	if errors.Is(e.err, errNoRoom) {
		told := websocket.CloseError{Code: websocket.StatusTryAgainLater, Reason: "overloaded: the message"}
		return told, told
	}
	if e.by == nil && e.err != nil {
		told := websocket.CloseError{Code: websocket.StatusPolicyViolation, Reason: e.err.Error()}
		return told, told
	}
	if e.by == nil {
		return draining, draining
	}
	if said, ok := errors.AsType[websocket.CloseError](e.err); ok {
		return said, said
	}
	if e.by == s.client {
		return websocket.CloseError{Code: websocket.StatusProtocolError, Reason: "the client's frames could not be read"},
			websocket.CloseError{Code: websocket.StatusGoingAway}
	}
	return websocket.CloseError{Code: websocket.StatusBadGateway, Reason: "the backend broke off"},
		websocket.CloseError{Code: websocket.StatusGoingAway}
}

// outcome says what the end means for the result and for the target.
func (s *session) outcome(e ending, r *Result) targets.Kind {
	said, ok := errors.AsType[websocket.CloseError](e.err)
	_, refused := errors.AsType[*refusal.Error](e.err)
	r.Outcome, r.Err = OutcomeOK, nil
	switch {
	case refused:
		r.Outcome, r.Err = OutcomeRejected, errReference
		return targets.Canceled
	case errors.Is(e.err, errNoRoom):
		r.Outcome, r.Err = refusal.OutcomeOverloaded, errNoRoom
		return targets.Canceled
	case e.by == nil && e.err != nil:
		r.Outcome, r.Err = refusal.OutcomeRevoked, e.err
		return targets.Canceled
	case e.by == nil:
		r.Outcome = refusal.OutcomeDrained
		return targets.Canceled
	case e.by == s.client && ok:
		return targets.Success
	case e.by == s.client:
		r.Outcome, r.Err = refusal.OutcomeClientGone, errClientLost
		return targets.Canceled
	case errors.Is(e.err, websocket.ErrMessageTooBig):
		r.Outcome, r.Err = OutcomeBrokenOff, errMessageTooBig
		return targets.Canceled // the limit is ours
	case !ok:
		r.Outcome, r.Err = OutcomeBrokenOff, errBackendLost
		return targets.Broken
	}
	kind, _ := answer.ByClose(int(said.Code), said.Reason, targets.Signals{})
	switch kind {
	case targets.Success:
	case targets.Rejected:
		r.Outcome, r.Err = OutcomeRejected, sessionError(said.Code)
	default:
		r.Outcome, r.Err = OutcomeBrokenOff, sessionError(said.Code)
	}
	return kind
}
