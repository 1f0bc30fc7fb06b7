// Package upstream keeps the connections to backends: the dialer that a fence of
// its own boundary must have let through, and a pool for each endpoint. It follows
// the names of endpoints, notices kept connections that died, and probes.
//
// It is the only package of the gateway that opens a connection to a backend. It
// decides nothing about routing, sets no credential, reads no body and never logs.
// The packages relay and serve use it.
package upstream

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

// Pools keep the connections to backends, a pool for each endpoint. Two
// endpoints never share one, so that a connection is only ever used for the
// target it was dialled for.
type Pools struct {
	boundary geo.Boundary
	dialer   Dialer

	mu    sync.RWMutex // guards pools; never held across I/O
	pools map[string]*pool

	lookups    *lookups     // of the names of all pools
	idleClosed atomic.Int64 // when closeIdle last did, in Unix nanoseconds
}

// A pool is that of one endpoint.
type pool struct {
	transport *http.Transport
	target    geo.Target
	name      *resolution // that the endpoint goes by; nil: it is an address
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
	// readSize is one read of an answer: a TLS record is at most 16 kB.
	readSize = 16 << 10
	// deadWithin is how soon a kept connection shows that its other end had gone
	// already: one round trip, with room. Later it is the request that failed.
	deadWithin = time.Second
)

// New returns empty pools of a boundary. It does no I/O. Close ends their idle
// connections.
func New(boundary geo.Boundary, dialer Dialer) *Pools {
	dialer.Boundary = boundary
	return &Pools{boundary: boundary, dialer: dialer, pools: make(map[string]*pool), lookups: newLookups(dialer)}
}

// connectLimit carries a route's connect timeout to the dial that its request
// may cause.
type connectLimit struct{}

// Send makes one request on the pool of its target. Backends end idle
// connections when they like. One that is known to have ended is not used: see
// wire. It may also end at the moment at which a request is written: a request of
// which nothing was written goes to another connection. If a kept connection turns
// out dead before a byte of an answer has come, and the request may be repeated, it
// is sent once more; if not, the error is a *LostError. Only once, and a new
// connection that dies is a failure: what kills connections must not go round all
// of the pool.
func (u *Pools) Send(req *http.Request, t *policy.Target, limits Limits) (*http.Response, error) {
	if !t.Valid() || t.Boundary() != u.boundary {
		return nil, &DialError{Err: errors.New("send: the target was not admitted by this boundary's fence")}
	}
	pool := u.pool(t)
	u.lookups.look(pool) //nolint:contextcheck // a look-up is the pool's affair and outlives the request
	var used usage
	ctx := httptrace.WithClientTrace(context.WithValue(req.Context(), connectLimit{}, limits.Connect), &httptrace.ClientTrace{
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
		case !limits.Repeatable:
			return nil, &LostError{err}
		case unwritten > unwrittenAtMost:
			return nil, err
		default:
			unwritten = unwrittenAtMost + 1
		}
		again = req.WithContext(ctx)
		if spent, ok := req.Body.(interface{ Spent() bool }); ok && spent.Spent() {
			return nil, &LostError{err} // the pool has taken of it what is gone
		}
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

// Limits bound one Send.
type Limits struct {
	Connect    time.Duration // for the dial, TLS included
	Repeatable bool          // though the backend may have got the request
}

// pool returns the endpoint's pool and makes it on first use. A changed claim
// of the endpoint (its declared addresses, say) makes a new one.
func (u *Pools) pool(t *policy.Target) *pool {
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

func (u *Pools) newPool(t geo.Target) *pool {
	follow := newResolution(t)
	// The address that the transport passes is ignored: only the target counts.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		limit, ok := ctx.Value(connectLimit{}).(time.Duration)
		if !ok {
			return nil, &DialError{Err: errors.New("dial: no connect timeout")}
		}
		conn, err := u.dialer.dial(ctx, t, limit, follow)
		if err != nil && IsLocal(err) && u.closeIdle() {
			return u.dialer.dial(ctx, t, limit, follow)
		}
		return conn, err
	}
	return &pool{target: t, name: follow, transport: &http.Transport{
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

// Advance drops the pools of endpoints that the snapshot no longer names. Requests that
// run on them finish.
func (u *Pools) Advance(s *policy.Snapshot) {
	named := make(map[string]bool)
	for t := range s.Targets() {
		named[t.Key.Origin] = true
	}
	u.drop(func(origin string) bool { return !named[origin] })
}

// Close ends the look-ups and the idle connections.
func (u *Pools) Close() {
	u.lookups.stop()
	u.drop(func(string) bool { return true })
}

// idleClosedEvery bounds how often every pool is emptied.
const idleClosedEvery = time.Second

// closeIdle closes what every pool keeps, because this machine lacks descriptors
// or ports, and reports whether it did: not when it has just done so, or where no
// connection is open.
func (u *Pools) closeIdle() bool {
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

func (u *Pools) drop(which func(origin string) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for origin, p := range u.pools {
		if which(origin) {
			delete(u.pools, origin)
			p.transport.CloseIdleConnections()
		}
	}
}
