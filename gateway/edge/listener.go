package edge

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/gateway/bytebudget"
)

// A Bound is what a connection was refused by. The set is closed: it is a label.
type Bound string

// The bounds of connections.
const (
	InTotal   Bound = "total"
	PerSource Bound = "source"
)

// Bounds are all that can refuse a connection.
func Bounds() []Bound { return []Bound{InTotal, PerSource} }

// sendBuffer is what the kernel keeps of answers that a peer has not taken, in
// bytes; Linux takes twice as much. By itself it would keep up to 4 MB for each
// connection, past every bound of ours. 256 kB carry 20 Mbit/s over 100 ms.
const sendBuffer = 128 << 10

// silence is how long a connection may be without its first request before it
// makes room for others: a busy machine takes a while to read one.
const silence = time.Second

// Limits bound the connections of a listener.
type Limits struct {
	Total     int // open at a time; 0: bounded elsewhere
	PerSource int // of them; 0: not bounded; from one address: IPv6 by its /64, which one host owns
	// Unsent is how many bytes of answers a connection may leave unread in the
	// gateway, beside one buffer for each request.
	Unsent int64
	Write  time.Duration // for one write
	// Refused, if set, is told of each connection that is closed at once.
	Refused func(Bound)
}

// A Listener accepts connections within its limits. For one that is over them the
// connection that idles longest, or has sent no request yet, is closed, so that
// nobody keeps others out by connections that ask nothing; if none idles, it is
// closed itself, at once: its peer sees that, where one in the backlog would wait
// unseen.
type Listener struct {
	net.Listener

	limits  Limits
	open    atomic.Int64
	sources *Counter[netip.Prefix]

	mu   sync.Mutex // guards idle, and the place in it of each connection
	idle list.List  // of *conn, the longest idle first
}

// Listen bounds the connections of l.
func Listen(l net.Listener, limits Limits) *Listener {
	return &Listener{Listener: l, limits: limits, sources: NewCounter[netip.Prefix](limits.PerSource)}
}

// Open is how many connections there are now.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := source(c.RemoteAddr())
		bound, ok := l.enter(from)
		if !ok && l.makeRoom(bound, from) {
			bound, ok = l.enter(from)
		}
		if ok {
			if tcp, ok := innermost(c).(*net.TCPConn); ok {
				_ = tcp.SetWriteBuffer(sendBuffer) // the kernel's own choice does as well, at a price
			}
			return &conn{Conn: c, listener: l, source: from, since: time.Now(), unsent: bytebudget.NewAccount(l.limits.Unsent)}, nil
		}
		_ = c.Close() // it was never used
		if l.limits.Refused != nil {
			l.limits.Refused(bound)
		}
	}
}

// innermost is the connection below whatever another listener has put around it.
func innermost(c net.Conn) net.Conn {
	for {
		around, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = around.NetConn()
	}
}

func (l *Listener) enter(from netip.Prefix) (Bound, bool) {
	if n := l.open.Add(1); l.limits.Total > 0 && n > int64(l.limits.Total) {
		l.open.Add(-1)
		return InTotal, false
	}
	if l.limits.PerSource > 0 && !l.sources.Enter(from) {
		l.open.Add(-1)
		return PerSource, false
	}
	return "", true
}

// EndIdle closes the connection that idles longest, and reports whether there was
// one: for whoever has a bound beside these.
func (l *Listener) EndIdle() bool { return l.makeRoom(InTotal, netip.Prefix{}) }

// makeRoom closes the connection that idles longest, of those that the bound is
// about, and reports whether there was one.
func (l *Listener) makeRoom(bound Bound, from netip.Prefix) bool {
	l.mu.Lock()
	var found *conn
	for e := l.idle.Front(); e != nil && found == nil; e = e.Next() {
		if c, ok := e.Value.(*conn); ok && (bound == InTotal || c.source == from) && (c.asked || time.Since(c.since) >= silence) {
			found = c
		}
	}
	l.mu.Unlock()
	if found == nil {
		return false
	}
	_ = found.Close() // it idles: nobody waits for what it says
	return true
}

func (l *Listener) leave(from netip.Prefix) {
	if l.limits.PerSource > 0 {
		l.sources.Leave(from)
	}
	l.open.Add(-1)
}

// source is what stands for one host. Connections without an address, as in
// tests, share one.
func source(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// A conn is a connection that counts until it is closed, and whose every write has
// a deadline: what a handler sets for its answer does not cover what the server
// itself writes.
type conn struct {
	net.Conn

	listener *Listener
	source   netip.Prefix
	unsent   *bytebudget.Account
	closed   atomic.Bool
	until    atomic.Int64  // the write deadline that was set from outside, in Unix ns; 0: none
	since    time.Time     // when it was accepted
	asked    bool          // it has had a request; guarded by the listener's mu
	place    *list.Element // among those that idle; nil: it does not
}

// setIdle notes that the connection waits for a request, or does not any more.
func (c *conn) setIdle(idle bool) {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case idle && c.place == nil && !c.closed.Load():
		c.place = l.idle.PushBack(c)
	case !idle && c.place != nil:
		c.asked = true
		l.idle.Remove(c.place)
		c.place = nil
	}
}

// Write implements net.Conn. A deadline that was set and has not passed holds if it
// is the earlier one.
func (c *conn) Write(p []byte) (int, error) {
	for {
		set, now := c.until.Load(), time.Now()
		end := now.Add(c.listener.limits.Write)
		if set > now.UnixNano() && set < end.UnixNano() {
			end = time.Unix(0, set)
		}
		if err := c.Conn.SetWriteDeadline(end); err != nil {
			return 0, err
		}
		if c.until.Load() == set { // else ours has replaced a newer one
			return c.Conn.Write(p)
		}
	}
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.until.Store(0)
	if !t.IsZero() {
		c.until.Store(t.UnixNano())
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// NetConn returns the connection underneath.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the sending half, so that net/http can let a last answer arrive.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.setIdle(false)
		c.listener.leave(c.source)
	}
	return c.Conn.Close()
}
