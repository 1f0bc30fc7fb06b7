package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
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

	following  *following   // of the names of all pools
	idleClosed atomic.Int64 // when closeIdle last did, in Unix nanoseconds
}

// upstream is the pool of one endpoint.
type upstream struct {
	transport *http.Transport
	target    geo.Target
	answers   *answers // of the endpoint's name; nil: it is an address
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
	// deadWithin is how soon a kept connection shows that its other end had gone
	// already: one round trip, with room. Later it is the request that failed.
	deadWithin = time.Second
)

func newUpstreams(boundary geo.Boundary, dialer Dialer) *upstreams {
	dialer.Boundary = boundary
	return &upstreams{boundary: boundary, dialer: dialer, pools: make(map[string]*upstream), following: newFollowing(dialer)}
}

// connectLimit carries a route's connect timeout to the dial that its request
// may cause.
type connectLimit struct{}

// send makes one request on the pool of its target. Backends end idle
// connections when they like. One that is known to have ended is not used: see
// wire. It may also end at the moment at which a request is written: a request of
// which nothing was written goes to another connection. If a kept connection turns
// out dead before a byte of an answer has come, and the request may be repeated, it
// is sent once more; if not, the error is a *lostError. Only once, and a new
// connection that dies is a failure: what kills connections must not go round all
// of the pool.
func (u *upstreams) send(req *http.Request, t *policy.Target, limits sendLimits) (*http.Response, error) {
	if !t.Valid() || t.Boundary() != u.boundary {
		return nil, &dialError{err: errors.New("send: the target was not admitted by this boundary's fence")}
	}
	pool := u.pool(t)
	u.following.look(pool) //nolint:contextcheck // a look-up is the pool's affair and outlives the request
	var used usage
	ctx := httptrace.WithClientTrace(context.WithValue(req.Context(), connectLimit{}, limits.connect), &httptrace.ClientTrace{
		GotConn: used.got, GotFirstResponseByte: func() { used.answered.Store(true) },
	})
	start := time.Now()
	for unwritten, again := 0, req.WithContext(ctx); ; {
		resp, err := pool.transport.RoundTrip(again)
		switch {
		case err == nil || !used.lost() || ctx.Err() != nil || time.Since(start) > deadWithin:
			return resp, err
		case !used.wrote() && unwritten < unwrittenAtMost:
			unwritten++
		case !limits.repeatable:
			return nil, &lostError{err}
		case unwritten > unwrittenAtMost:
			return nil, err
		default:
			unwritten = unwrittenAtMost + 1
		}
		again = req.WithContext(ctx)
		if req.GetBody == nil {
			continue
		}
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
}

// unwrittenAtMost is how often a request of which nothing was written is sent
// again. Each time costs the pool a connection that was dead anyway.
const unwrittenAtMost = 3

// usage is what a send knows of the connection it got last.
type usage struct {
	wire     atomic.Pointer[wire]
	kept     atomic.Bool
	answered atomic.Bool
}

func (u *usage) got(c httptrace.GotConnInfo) {
	w := wireOf(c.Conn)
	if w != nil {
		w.begin(c.Reused)
	}
	u.wire.Store(w)
	u.kept.Store(c.Reused)
}

// lost reports whether a kept connection ended before a byte of an answer.
func (u *usage) lost() bool { return u.kept.Load() && !u.answered.Load() }

// wrote reports whether anything of the request may have left this machine.
func (u *usage) wrote() bool {
	w := u.wire.Load()
	return w == nil || w.wrote.Load()
}

// A lostError is the end of a kept connection just when a request was written that
// may not be repeated. It says nothing about the target: the connection may have
// ended before the request, or because of it.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// sendLimits bound one send.
type sendLimits struct {
	connect    time.Duration // for the dial, TLS included
	repeatable bool          // though the backend may have got the request
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
	follow := newAnswers(t)
	// The address that the transport passes is ignored: only the target counts.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		limit, ok := ctx.Value(connectLimit{}).(time.Duration)
		if !ok {
			return nil, &dialError{err: errors.New("dial: no connect timeout")}
		}
		conn, err := u.dialer.dial(ctx, t, limit, follow)
		if err != nil && ours(err) && u.closeIdle() {
			return u.dialer.dial(ctx, t, limit, follow)
		}
		return conn, err
	}
	return &upstream{target: t, answers: follow, transport: &http.Transport{
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

func (u *upstreams) close() {
	u.following.stop()
	u.drop(func(string) bool { return true })
}

// idleClosedEvery bounds how often every pool is emptied.
const idleClosedEvery = time.Second

// closeIdle closes what every pool keeps, because this machine lacks descriptors
// or ports, and reports whether it did: not when it has just done so, or where no
// connection is open.
func (u *upstreams) closeIdle() bool {
	if u.dialer.Slots.Used() == 0 {
		return false
	}
	now, last := time.Now().UnixNano(), u.idleClosed.Load()
	if now-last < int64(idleClosedEvery) || !u.idleClosed.CompareAndSwap(last, now) {
		return false
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, p := range u.pools {
		p.transport.CloseIdleConnections()
	}
	return true
}

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
