package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/targets"
)

// openingMessage is how much of a session's first message is looked at, in bytes.
const openingMessage = 64 << 10

var errSessionRefused = errors.New("the backend began the session with an error")

// A held session stands at the backend, while the client's upgrade is held until
// the backend has said something: a session that begins with an error has cost
// nothing, and another target may do better.
type held struct {
	conn     *websocket.Conn
	work     context.Context //nolint:containedctx // ends the connection; lives as long as the session
	stop     context.CancelFunc
	first    chan opening // the first message, once it has come; holds one
	good     bool         // it has come, and is to the backend's credit
	rejected bool         // it is an error of the client's own
}

// An opening is a first message, or why there is none.
type opening struct {
	kind websocket.MessageType
	head []byte
	rest io.Reader // what follows the head; nil: nothing
	err  error
}

// hold waits for the backend's first message, for a limited time: a backend may
// wait for the client's. Without a held session the outcome says what came.
func (a *attempt) hold(conn *websocket.Conn) (*held, targets.Outcome) {
	conn.SetReadLimit(messageLimit)
	// Ending a context of the library's calls breaks the connection.
	h := &held{conn: conn, first: make(chan opening, 1)}
	h.work, h.stop = context.WithCancel(context.WithoutCancel(a.call.Context))
	go func() { h.first <- firstMessage(h.work, conn) }()
	patience := time.NewTimer(a.relay.cfg.SessionHold)
	defer patience.Stop()
	select {
	case <-patience.C:
	case <-a.ctx.Done():
		h.drop()
		return nil, a.broken(errBackendLost)
	case m := <-h.first:
		kind, signals := a.begins(m)
		h.good, h.rejected = kind == targets.Success, kind == targets.Rejected
		if kind != targets.Success && kind != targets.Rejected {
			h.first <- m
			h.drop()
			return nil, a.refused(kind, signals, errSessionRefused)
		}
		h.first <- m
	}
	return h, targets.Outcome{}
}

// drop ends the session at the backend, and waits until nobody reads from it.
func (h *held) drop() {
	_ = h.conn.CloseNow()
	<-h.first
	h.stop()
}

func firstMessage(ctx context.Context, conn *websocket.Conn) opening {
	kind, message, err := conn.Reader(ctx)
	if err != nil {
		return opening{err: err}
	}
	head, err := io.ReadAll(io.LimitReader(message, openingMessage))
	m := opening{kind: kind, head: head, err: err}
	if len(head) == openingMessage {
		m.rest = message
	}
	return m
}

// begins says what the opening means. Rejected is the client's to see, as is an
// end in order.
func (a *attempt) begins(m opening) (targets.Kind, targets.Signals) {
	if m.err != nil {
		if said, ok := errors.AsType[websocket.CloseError](m.err); ok {
			return answer.ByClose(int(said.Code), said.Reason, a.signals)
		}
		return targets.Broken, a.signals
	}
	if m.kind == websocket.MessageText {
		if f, ok := answer.ErrorEvent(m.head); ok {
			return answer.ByFault(f, a.signals)
		}
	}
	return targets.Success, a.signals
}
