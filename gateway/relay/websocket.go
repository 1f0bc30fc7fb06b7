package relay

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// subprotocol is the only one that is ever offered to a backend or chosen for a
// client. Clients put credentials into others.
const subprotocol = "realtime"

var errNotUpgraded = errors.New("the backend answered the request for an upgrade without one")

// upgradeLimit is how long a backend may take to answer a request for an upgrade,
// beside the route's firstByte: it takes no model. Clients give up after 10 s, and
// what they give up on is no evidence.
const upgradeLimit = 5 * time.Second

// relaySession opens a session on the ticket's target, then accepts the client's
// upgrade, which the caller has found well-formed, and relays messages until one
// side ends. Until the client's upgrade is accepted another backend may be tried,
// whatever the operation: an upgrade that failed has cost no work. Afterwards
// none is: the session's state is gone.
func (a *attempt) relaySession(ctx context.Context) targets.Outcome {
	backend, o := a.open(ctx)
	if backend == nil {
		return o
	}
	o = a.session(backend)
	a.settled = true
	return o
}

// open asks the target for an upgrade, and holds the client's until it is known how
// the session begins. Without one, the outcome says what came instead.
func (a *attempt) open(parent context.Context) (*held, targets.Outcome) {
	// Ending the attempt's context ends the handshake. A session that stands is not
	// bound to it any more.
	a.ticket.FirstByte = min(a.ticket.FirstByte, upgradeLimit)
	cancel := a.arm(parent, true)
	defer cancel(nil)
	defer a.watchdog.Stop()

	conn, o := a.upgrade()
	if conn != nil {
		a.gotFirstByte()
		a.watchdog.Stop()
		var h *held
		if h, o = a.hold(conn); h != nil {
			return h, o
		}
	}
	o.Sent = true // as far as the answer goes: the call may end with this failure
	a.note(o)
	o.Sent = false // no work was asked for yet
	return nil, o
}

// upgrade makes the handshake. An answer that is no upgrade means what it would of
// any other request; one that claims success is a failure.
func (a *attempt) upgrade() (*websocket.Conn, targets.Outcome) {
	header, err := a.sessionHeader()
	if err != nil {
		a.Err = err
		return nil, targets.Outcome{Kind: targets.IdentityRefused}
	}
	target := a.ticket.Target
	path, query := operation.UpstreamPath(a.call.Match, target.Deployment)
	got, err := a.relay.cfg.Pools.Upgrade(a.ctx, target, upstream.Upgrade{
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
	toBackend(h, a.call.Request.Header)
	h["User-Agent"] = []string{a.relay.cfg.UserAgent}
	h["X-Request-Id"] = []string{a.call.RequestID}
	var err error
	a.credential, err = a.relay.cfg.Credentials.Apply(a.ticket.Target, h)
	return h, err
}

// subprotocols are those of the client that we know.
func (x *Exchange) subprotocols() []string {
	for _, f := range x.call.Request.Header {
		if f.Name == "Sec-Websocket-Protocol" && slices.ContainsFunc(strings.Split(f.Value, ","), func(s string) bool { return strings.TrimSpace(s) == subprotocol }) {
			return []string{subprotocol}
		}
	}
	return nil
}

// session accepts the client's upgrade and relays until the end.
func (a *attempt) session(backend *held) targets.Outcome {
	defer backend.stop()
	a.Status, a.FirstByte = http.StatusSwitchingProtocols, time.Since(a.start)
	a.committed = true
	client, err := websocket.Accept(&accepting{exchange: a.Exchange}, a.upgradeRequest(), &websocket.AcceptOptions{
		Subprotocols: a.subprotocols(),
		// Any origin will do. That check protects credentials which a browser sends by
		// itself, such as cookies; ours is a header that a page must know to send.
		InsecureSkipVerify: true,
	})
	if err != nil {
		backend.drop()
		a.Outcome, a.Aborted = refusal.OutcomeClientGone, true
		return a.clientGone(errClientLost)
	}
	if a.credit(backend.good); !backend.good {
		a.ticket.Begun(time.Now()) // a session may last for hours: nobody shall wait for its end
	}
	s := newSession(client, backend, a.relay.cfg.KeepAlive)
	s.references, s.budget, s.patience = a.call.RulesOfReferences, a.call.Hold, a.relay.cfg.WriteTimeout
	s.transforms = a.call.Transforms
	kind := s.run(a.call.Context, &a.Result)
	if kind == targets.Success && backend.rejected {
		kind = targets.Rejected
	}
	return a.outcome(kind)
}

// upgradeRequest is the client's request in the form that the library reads.
func (x *Exchange) upgradeRequest() *http.Request {
	r := &http.Request{Method: x.call.Request.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	for _, f := range x.call.Request.Header {
		switch f.Name {
		case "Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions":
			r.Header[f.Name] = append(r.Header[f.Name], f.Value)
		}
	}
	return r.WithContext(x.call.Context)
}

// accepting is the client as the library that accepts upgrades sees it.
type accepting struct {
	exchange *Exchange
	header   http.Header
}

// Header implements http.ResponseWriter.
func (a *accepting) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *accepting) WriteHeader(status int) {
	h := make(message.Header, 0, headFields)
	for name, values := range a.header {
		for _, value := range values {
			h = h.Add(name, value)
		}
	}
	a.exchange.beginAnswer(status, h)
}

// Write implements http.ResponseWriter.
func (a *accepting) Write(p []byte) (int, error) { return a.exchange.client.Write(p) }

// Hijack implements http.Hijacker.
func (a *accepting) Hijack() (net.Conn, *bufio.ReadWriter, error) { return a.exchange.client.Hijack() }
