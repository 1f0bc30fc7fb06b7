package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// ErrHandshake says that the backend's upgrade breaks the protocol.
var ErrHandshake = errors.New("the backend's upgrade breaks the protocol")

var errNotUpgraded = errors.New("the backend answered the request for an upgrade without one")

// An Upgrade is a request for a WebSocket.
type Upgrade struct {
	Path         string // escaped, with its query
	Header       http.Header
	Subprotocols []string
	Connect      time.Duration // for the dial, TLS included
}

// Upgraded is what came of it: a connection, or the answer that came instead, whose
// body the caller closes.
type Upgraded struct {
	Conn   *websocket.Conn
	Header http.Header // of either answer
	Answer *http.Response
}

// Upgrade asks the target for a WebSocket. The error says why no answer came, or
// ErrHandshake.
func (u *Pools) Upgrade(ctx context.Context, t *policy.Target, r Upgrade) (Upgraded, error) {
	h := &handshake{pools: u, target: t, connect: r.Connect}
	conn, _, err := websocket.Dial(ctx, t.Key.Origin+r.Path, &websocket.DialOptions{ //nolint:bodyclose // the library closes what it returns; the caller closes the rest
		HTTPClient: &http.Client{Transport: h}, HTTPHeader: r.Header, Subprotocols: r.Subprotocols,
	})
	switch {
	case err == nil:
		return Upgraded{Conn: conn, Header: h.header}, nil
	case h.err != nil:
		return Upgraded{}, h.err
	case h.answer == nil:
		return Upgraded{Header: h.header}, ErrHandshake
	}
	return Upgraded{Header: h.header, Answer: h.answer}, nil
}

// A handshake is the way of one request for an upgrade. It goes through the pool of
// its target, so through the fence, and it keeps an answer that is no upgrade from
// the library, which would follow redirects and cut the text.
type handshake struct {
	pools   *Pools
	target  *policy.Target
	connect time.Duration

	header http.Header
	answer *http.Response // that was no upgrade
	err    error          // of sending
}

// RoundTrip is for the library.
func (h *handshake) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.pools.Send(req, h.target, Limits{Connect: h.connect, Repeatable: true})
	if err != nil {
		h.err = err
		return nil, err
	}
	h.header = resp.Header
	if resp.StatusCode != http.StatusSwitchingProtocols {
		h.answer = resp
		return nil, errNotUpgraded
	}
	return resp, nil
}
