package descriptor

import (
	"container/list"
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Listener lets connections in while there are slots. Those beyond are extra:
// they are accepted too, so that a health check gets its answer, but who serves
// them must refuse everything else at once. Of extra ones there are at most a few:
// a newer one takes the place of one that has had its time. A process that runs out of descriptors
// all the same gives up one that is held for this, and closes extra connections;
// Accept never returns such an error, which would stop or slow the server.
type Listener struct {
	net.Listener

	// Room, if set, ends a connection that nobody needs, and reports whether there
	// was one. Beyond, if set, is told of each extra connection. Both are set before
	// the first Accept.
	Room   func() bool
	Beyond func()

	slots *Slots
	most  int           // extra connections
	asked time.Duration // askedTime, but in tests

	mu    sync.Mutex    // guards the fields below; never held across I/O other than closing
	extra list.List     // of *conn, the oldest first
	spare *os.File      // what can be given up; nil: it was
	freed chan struct{} // holds one: an extra connection has ended
	ended chan struct{}
	once  sync.Once
}

// NewListener returns a listener over l with so many extra connections.
func NewListener(l net.Listener, slots *Slots, extra int) *Listener {
	out := &Listener{Listener: l, slots: slots, most: max(extra, 1), asked: askedTime, freed: make(chan struct{}, 1), ended: make(chan struct{})}
	out.spare, _ = os.Open(os.DevNull) // without it, extra connections are given up sooner
	return out
}

// retryAfter is how long nothing is accepted when the process has no descriptor
// and nothing to give up.
const retryAfter = 10 * time.Millisecond

// What an extra connection has at least before it makes room for a newer one. One
// that says nothing is passed soon. One that has asked is answered in far less than
// its time, but on a machine whose cores are all busy.
const (
	silentTime = 50 * time.Millisecond
	askedTime  = 500 * time.Millisecond
)

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	short := false // what is accepted now, only because something was given up
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil && !short && l.take():
			l.refill()
			return &conn{Conn: c, listener: l}, nil
		case err == nil:
			return l.addExtra(c), nil
		case !Exhausted(err):
			return nil, err
		case l.giveUp():
			short = true
		default:
			select {
			case <-l.ended:
				return nil, net.ErrClosed
			case <-time.After(retryAfter):
			}
		}
	}
}

// take takes a slot, at the cost of connections that nobody needs.
func (l *Listener) take() bool {
	for !l.slots.Take() {
		if l.Room == nil || !l.Room() {
			return false
		}
	}
	return true
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.ended)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.spare != nil {
			_ = l.spare.Close()
			l.spare = nil
		}
	})
	return l.Listener.Close()
}

// addExtra counts a connection beyond the slots, once there is a place.
func (l *Listener) addExtra(c net.Conn) *conn {
	if l.Beyond != nil {
		l.Beyond()
	}
	out := &conn{Conn: c, listener: l, extra: true, since: time.Now()}
	for {
		wait := l.place(out)
		if wait <= 0 {
			return out
		}
		select {
		case <-l.ended:
			return out
		case <-l.freed:
		case <-time.After(wait):
		}
	}
}

// place gives an extra connection its place, or says how long it must wait until
// another has had its time. Of those that have had it, silent ones go first.
func (l *Listener) place(c *conn) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.extra.Len() >= l.most {
		var passed *list.Element
		wait := l.asked
		for e := l.extra.Front(); e != nil; e = e.Next() {
			old := e.Value.(*conn) //nolint:forcetypeassert // only connections are pushed
			asks := old.asks()
			left := silentTime - time.Since(old.since)
			if asks {
				left += l.asked - silentTime
			}
			wait = min(wait, left)
			if left > 0 {
				continue
			}
			if passed == nil || !asks {
				passed = e
			}
			if !asks {
				break
			}
		}
		if passed == nil {
			return wait
		}
		l.end(passed)
	}
	c.place = l.extra.PushBack(c)
	return 0
}

// end closes an extra connection. The caller holds mu.
func (l *Listener) end(e *list.Element) {
	old := l.extra.Remove(e).(*conn) //nolint:forcetypeassert // only connections are pushed
	old.place = nil
	_ = old.Conn.Close() // who serves it closes it again
}

// giveUp frees one descriptor, and reports whether it could.
func (l *Listener) giveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.spare != nil:
		_ = l.spare.Close()
		l.spare = nil
	case l.extra.Len() > 0:
		l.end(l.extra.Front())
	default:
		return false
	}
	return true
}

// refill takes back what was given up, once there is room.
func (l *Listener) refill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ended:
	default:
		if l.spare == nil {
			l.spare, _ = os.Open(os.DevNull)
		}
	}
}

// A conn gives its place back when it is closed.
type conn struct {
	net.Conn

	listener *Listener
	extra    bool
	since    time.Time
	asked    atomic.Bool   // something of it has been read
	answered atomic.Bool   // its sending half is closed
	place    *list.Element // guarded by the listener's mu
	once     sync.Once
}

// asks reports whether the peer has said something, and its answer has not ended.
func (c *conn) asks() bool {
	return !c.answered.Load() && (c.asked.Load() || unread(c.Conn))
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.extra && n > 0 {
		c.asked.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		l := c.listener
		if !c.extra {
			l.slots.Give()
			return
		}
		l.mu.Lock()
		if c.place != nil {
			l.extra.Remove(c.place)
			c.place = nil
		}
		l.mu.Unlock()
		select {
		case l.freed <- struct{}{}:
		default:
		}
		l.refill()
	})
	return err
}

// NetConn returns the connection underneath.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite lets http.Server end an answer so that the client can read it.
func (c *conn) CloseWrite() error {
	c.answered.Store(true)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

type extraKey struct{}

// ConnContext is for http.Server: it marks the requests of an extra connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	for {
		switch t := c.(type) {
		case *conn:
			if t.extra {
				return context.WithValue(ctx, extraKey{}, true)
			}
			return ctx
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return ctx
		}
	}
}

// Extra reports whether a request came on an extra connection.
func Extra(ctx context.Context) bool { return ctx.Value(extraKey{}) != nil }
