package azuresim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A gate is an instance's listener that can be shut, so that connecting is
// refused, and opened again on the same address. The server above it sees one
// listener that never ends before Close.
type gate struct {
	address string // where to listen again; fixed at the first open
	given   bool   // the caller's own listener, which cannot be reopened
	screen  func() screening
	held    sync.WaitGroup // goroutines that keep silent connections

	accepted atomic.Uint64

	mu      sync.Mutex // guards the fields below; never held across Accept
	l       net.Listener
	shut    bool
	closed  bool
	changed chan struct{} // closed and replaced when shut or closed changes
	conns   map[*gateConn]struct{}
}

// A screening is what happens to a connection before a byte of it is read.
type screening int

const (
	letIn screening = iota
	holdSilent
	resetAtOnce
)

// openGate listens on address, or on the listener that is given.
func openGate(ctx context.Context, address string, given net.Listener, screen func() screening) (*gate, error) {
	g := &gate{screen: screen, changed: make(chan struct{}), conns: map[*gateConn]struct{}{}}
	if given != nil {
		g.l, g.given, g.address = given, true, given.Addr().String()
		return g, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	g.l, g.address = l, l.Addr().String()
	return g, nil
}

// Addr is the address of the first listener and of all that follow it.
func (g *gate) Addr() net.Addr { return gateAddr(g.address) }

type gateAddr string

func (gateAddr) Network() string  { return "tcp" }
func (a gateAddr) String() string { return string(a) }

// Accept returns the next connection that a request may come through. It waits
// while the gate is shut.
func (g *gate) Accept() (net.Conn, error) {
	for {
		l, changed, err := g.current()
		if err != nil {
			return nil, err
		}
		if l == nil {
			<-changed
			continue
		}
		c, err := l.Accept()
		if err != nil {
			if g.replaced(l) {
				continue // we closed it ourselves
			}
			return nil, err
		}
		g.accepted.Add(1)
		if in := g.admit(c); in != nil {
			return in, nil
		}
	}
}

// current returns the open listener, or nil and what to wait for.
func (g *gate) current() (net.Listener, <-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, net.ErrClosed
	}
	return g.l, g.changed, nil
}

func (g *gate) replaced(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed && g.l != l
}

// admit registers c, or deals with it and returns nil when a fault wants
// something else to happen to it.
func (g *gate) admit(c net.Conn) *gateConn {
	gc := &gateConn{Conn: c, gate: g}
	verdict := g.screen()
	g.mu.Lock()
	if g.closed || g.shut {
		g.mu.Unlock()
		gc.reset()
		return nil
	}
	if verdict != resetAtOnce {
		g.conns[gc] = struct{}{}
	}
	if verdict == holdSilent {
		g.held.Go(func() {
			_, _ = io.Copy(io.Discard, gc) // until the other side or the gate ends it
			_ = gc.Close()
		})
	}
	g.mu.Unlock()
	switch verdict {
	case letIn:
		return gc
	case resetAtOnce:
		gc.reset()
	case holdSilent:
	}
	return nil
}

// shutDown makes connecting fail. Connections that exist stay.
func (g *gate) shutDown() {
	g.mu.Lock()
	l := g.l
	if g.closed || g.shut {
		g.mu.Unlock()
		return
	}
	g.shut = true
	if !g.given {
		g.l = nil
		g.signal()
	}
	g.mu.Unlock()
	if !g.given {
		_ = l.Close()
	}
}

// open ends shutDown: the same address accepts again.
func (g *gate) open(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || !g.shut {
		return nil
	}
	if !g.given {
		// Binding to a loopback port that was ours takes microseconds, so the
		// lock may be held; it spares a second state between shut and open.
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", g.address)
		if err != nil {
			return fmt.Errorf("listen again: %w", err)
		}
		g.l = l
	}
	g.shut = false
	g.signal()
	return nil
}

// signal wakes whoever waits for a change. The caller holds mu.
func (g *gate) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// resetAll cuts every connection, as a machine that dies does.
func (g *gate) resetAll() {
	for _, c := range g.all() {
		c.reset()
	}
}

// closeIdle ends the connections that no request runs on.
func (g *gate) closeIdle() {
	for _, c := range g.all() {
		if c.inUse.Load() == 0 {
			_ = c.Close()
		}
	}
}

func (g *gate) all() []*gateConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.conns))
}

// Close ends the gate and every connection through it.
func (g *gate) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	l := g.l
	g.signal()
	g.mu.Unlock()
	var err error
	if l != nil {
		err = l.Close()
	}
	g.resetAll()
	g.held.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// A gateConn is a connection that can be reset instead of closed.
type gateConn struct {
	net.Conn
	gate *gate
	cut  atomic.Bool // we ended it, not the client
	// inUse counts requests that run. The server's own idea of an idle
	// connection does not hold for HTTP/2.
	inUse atomic.Int64
}

// reset ends the connection with a TCP reset where there is TCP, so that the
// other side sees a failure and not an orderly end.
func (c *gateConn) reset() {
	c.cut.Store(true)
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// Close forgets the connection and closes it.
func (c *gateConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// reopenPause is how long a gate waits before it tries its address again.
const reopenPause = 50 * time.Millisecond
