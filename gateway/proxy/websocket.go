package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// subprotocol is the only one that is ever offered to a backend or chosen for a
// client. Clients put credentials into others.
const subprotocol = "realtime"

var errNotUpgraded = errors.New("the backend answered the request for an upgrade without one")

// ServeWebSocket opens a session on a backend, then accepts the client's
// upgrade, which the caller has found well-formed, and relays messages until one
// side ends. Until the client's upgrade is accepted another backend may be tried,
// whatever the operation: an upgrade that failed has cost no work. Afterwards
// none is: the session's state is gone.
func (p *Proxy) ServeWebSocket(w http.ResponseWriter, r *http.Request, c *Call) Result {
	return p.serve(w, c, func(ctx context.Context, x *exchange, t *targets.Ticket) (targets.Outcome, bool) {
		a, backend, o := x.open(ctx, t)
		if backend == nil {
			return o, false
		}
		return a.session(r, backend), true
	})
}

// upgradeLimit is how long a backend may take to answer a request for an upgrade,
// beside the route's firstByte: it takes no model. Clients give up after 10 s, and
// what they give up on is no evidence.
const upgradeLimit = 5 * time.Second

// open asks the ticket's target for an upgrade, and holds the client's until it
// is known how the session begins. Without one, the outcome says what came
// instead.
func (x *exchange) open(parent context.Context, t *targets.Ticket) (*attempt, *held, targets.Outcome) {
	if !x.begin(t) {
		return nil, nil, targets.Outcome{Kind: targets.Canceled}
	}
	a := &attempt{exchange: x, ticket: t}
	// Ending the attempt's context ends the handshake. A session that stands is not
	// bound to it any more.
	t.FirstByte = min(t.FirstByte, upgradeLimit)
	cancel := a.arm(parent, true)
	defer cancel(nil)
	defer a.watchdog.Stop()

	conn, o := a.upgrade()
	if conn != nil {
		a.gotFirstByte()
		a.watchdog.Stop()
		var h *held
		if h, o = a.hold(conn); h != nil {
			return a, h, o
		}
	}
	o.Sent = true // as far as the answer goes: the call may end with this failure
	x.note(o)
	o.Sent = false // no work was asked for yet
	return a, nil, o
}

// upgrade makes the handshake. An answer that is no upgrade means what it would of
// any other request; one that claims success is a failure.
func (a *attempt) upgrade() (*websocket.Conn, targets.Outcome) {
	header, err := a.sessionHeader()
	if err != nil {
		a.result.Err = err
		return nil, targets.Outcome{Kind: targets.IdentityRefused}
	}
	target := a.ticket.Target
	path, query := operation.UpstreamPath(a.call.Match, target.Deployment)
	got, err := a.proxy.pools.Upgrade(a.ctx, target, upstream.Upgrade{
		Path: path + "?" + query, Header: header, Subprotocols: a.subprotocols(), Connect: a.ticket.Connect,
	})
	a.signals = throttle.ParseSignals(got.Header, time.Now())
	switch {
	case err != nil:
		return nil, a.broken(err)
	case got.Conn != nil:
		return got.Conn, targets.Outcome{}
	}
	defer func() { _ = got.Answer.Body.Close() }()
	if succeeded(got.Answer.StatusCode) {
		a.peek(got.Answer)
		return nil, a.refused(targets.Broken, a.signals, errNotUpgraded)
	}
	return nil, a.judge(got.Answer)
}

// sessionHeader is what goes to the backend beside the handshake's own fields.
func (a *attempt) sessionHeader() (http.Header, error) {
	h := http.Header{}
	passOn(h, a.call.Header, forwardedToBackend)
	h["User-Agent"] = []string{a.proxy.cfg.UserAgent}
	h["X-Request-Id"] = []string{a.call.RequestID}
	var err error
	a.credential, err = a.proxy.cfg.Credentials.Apply(a.ticket.Target, h)
	return h, err
}

// subprotocols are those of the client that we know.
func (x *exchange) subprotocols() []string {
	for _, line := range x.call.Header["Sec-Websocket-Protocol"] {
		if slices.ContainsFunc(strings.Split(line, ","), func(s string) bool { return strings.TrimSpace(s) == subprotocol }) {
			return []string{subprotocol}
		}
	}
	return nil
}

// session accepts the client's upgrade and relays until the end.
func (a *attempt) session(r *http.Request, backend *held) targets.Outcome {
	defer backend.stop()
	h := a.w.Header()
	a.result.Status, a.result.FirstByte = http.StatusSwitchingProtocols, time.Since(a.start)
	if a.call.BeforeHeader != nil {
		a.call.BeforeHeader(h, &a.result)
	}
	a.committed = true
	client, err := websocket.Accept(a.w, r, &websocket.AcceptOptions{
		Subprotocols: a.subprotocols(),
		// Any origin will do. That check protects credentials which a browser sends by
		// itself, such as cookies; ours is a header that a page must know to send.
		InsecureSkipVerify: true,
	})
	if err != nil {
		backend.drop()
		a.result.Outcome, a.result.Aborted = OutcomeClientGone, true
		return a.clientGone(errClientLost)
	}
	if a.credit(backend.good); !backend.good {
		a.ticket.Begun(time.Now()) // a session may last for hours: nobody shall wait for its end
	}
	s := newSession(client, backend, a.proxy.cfg.KeepAlive)
	s.references, s.budget, s.patience = a.call.RulesOfReferences, a.call.Hold, a.proxy.cfg.WriteTimeout
	kind := s.run(a.call.Context, &a.result)
	if kind == targets.Success && backend.rejected {
		kind = targets.Rejected
	}
	return a.outcome(kind)
}
