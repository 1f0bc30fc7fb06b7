package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// upstreams keeps the connections to backends, a pool for each endpoint. Two
// endpoints never share one, so that a connection is only ever used for the
// target it was dialled for.
type upstreams struct {
	boundary geo.Boundary
	dialer   Dialer

	mu    sync.RWMutex // guards pools; never held across I/O
	pools map[string]*upstream
}

// upstream is the pool of one endpoint.
type upstream struct {
	transport *http.Transport
	target    geo.Target
}

const (
	// idleConnections to keep for each endpoint: what a busy gateway has in
	// flight to one backend; more would be dialled anew after each burst.
	idleConnections = 512
	// idleTimeout is shorter than the four minutes after which Azure's load
	// balancers forget a silent connection.
	idleTimeout = 90 * time.Second
	// answerHeaderLimit bounds the header of a backend's answer, in bytes.
	answerHeaderLimit = 64 << 10
)

func newUpstreams(boundary geo.Boundary, dialer Dialer) *upstreams {
	dialer.Boundary = boundary
	return &upstreams{boundary: boundary, dialer: dialer, pools: make(map[string]*upstream)}
}

// connectLimit carries a route's connect timeout to the dial that its request
// may cause.
type connectLimit struct{}

// send makes one request on the pool of its target.
func (u *upstreams) send(req *http.Request, t *policy.Target, connect time.Duration) (*http.Response, error) {
	if !t.Valid() || t.Boundary() != u.boundary {
		return nil, &dialError{err: errors.New("send: the target was not admitted by this boundary's fence")}
	}
	ctx := context.WithValue(req.Context(), connectLimit{}, connect)
	return u.pool(t).transport.RoundTrip(req.WithContext(ctx))
}

// pool returns the endpoint's pool and makes it on first use. A changed claim
// of the endpoint (its declared addresses, say) makes a new one.
func (u *upstreams) pool(t *policy.Target) *upstream {
	u.mu.RLock()
	p := u.pools[t.Key.Origin]
	u.mu.RUnlock()
	if p != nil && p.target.SameEndpoint(t.Target) {
		return p
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.pools[t.Key.Origin]; p != nil && p.target.SameEndpoint(t.Target) {
		return p
	}
	if old := u.pools[t.Key.Origin]; old != nil {
		defer old.transport.CloseIdleConnections()
	}
	p = u.newPool(t.Target)
	u.pools[t.Key.Origin] = p
	return p
}

func (u *upstreams) newPool(t geo.Target) *upstream {
	// The address that the transport passes is ignored: only the target counts.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		limit, ok := ctx.Value(connectLimit{}).(time.Duration)
		if !ok {
			return nil, &dialError{err: errors.New("dial: no connect timeout")}
		}
		return u.dialer.Dial(ctx, t, limit)
	}
	return &upstream{target: t, transport: &http.Transport{
		Proxy:                  nil, // an environment variable must not lead a request elsewhere
		DialContext:            dial,
		DialTLSContext:         dial,
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: answerHeaderLimit,
		DisableCompression:     true, // bytes pass as they are
		ReadBufferSize:         readSize,
	}}
}

// advance drops the pools of endpoints that the snapshot no longer names.
func (u *upstreams) advance(s *policy.Snapshot) {
	named := make(map[string]bool)
	for t := range s.Targets() {
		named[t.Key.Origin] = true
	}
	u.drop(func(origin string) bool { return !named[origin] })
}

func (u *upstreams) close() { u.drop(func(string) bool { return true }) }

func (u *upstreams) drop(which func(origin string) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for origin, p := range u.pools {
		if which(origin) {
			delete(u.pools, origin)
			p.transport.CloseIdleConnections()
		}
	}
}
