package upstream

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/stampgate/stampgate/gateway/descriptor"
)

// Why a kept connection was not used: nothing of the request was written, so it
// goes to another connection, whatever it is.
var (
	errGone  = errors.New("the backend had ended the kept connection before it was used")
	errMoved = errors.New("the backend's name no longer leads to the kept connection's address")
)

// A wire is a connection to a backend below TLS. Before the first byte of a
// request is written to one that was kept, it looks whether the other end is still
// there and whether the backend's name still leads there; if not, the write fails
// with nothing written, which http.Transport answers with another connection.
type wire struct {
	net.Conn

	slot   *descriptor.Slots // of which it takes one until it is closed
	closed atomic.Bool
	addr   netip.Addr
	name   *resolution      // that the endpoint goes by; nil: it is an address itself
	raw    syscall.RawConn  // nil: not a socket
	kept   atomic.Bool      // the next write begins a request on a kept connection
	wrote  atomic.Bool      // something of the present request may have been handed to the system
	look   func(fd uintptr) // made once, so that a look allocates nothing
	peeked [1]byte          // for look
	dead   bool             // for look
}

func newWire(conn net.Conn, addr netip.Addr, slot *descriptor.Slots) *wire {
	w := &wire{Conn: conn, addr: addr.Unmap(), slot: slot}
	if s, ok := conn.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	w.look = func(fd uintptr) { w.dead = hungUp(fd, w.peeked[:]) }
	return w
}

// wireOf returns the wire below a connection of the pool.
func wireOf(c net.Conn) *wire {
	for {
		switch t := c.(type) {
		case *wire:
			return t
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return nil
		}
	}
}

// begin is called when a request has got the connection.
func (w *wire) begin(kept bool) {
	w.wrote.Store(false)
	w.kept.Store(kept)
}

// Write implements net.Conn. One request at a time writes.
func (w *wire) Write(p []byte) (int, error) {
	if w.kept.Load() {
		w.kept.Store(false)
		if err := w.usable(); err != nil {
			return 0, err
		}
	}
	w.wrote.Store(true) // before it is: who asks meanwhile must not be told no
	return w.Conn.Write(p)
}

// Close implements net.Conn.
func (w *wire) Close() error {
	err := w.Conn.Close()
	if !w.closed.Swap(true) {
		w.slot.Give()
	}
	return err
}

// usable says whether a kept connection may carry another request.
func (w *wire) usable() error {
	if w.name.left(w.addr) {
		return errMoved
	}
	if w.raw == nil {
		return nil
	}
	// An error means that our own end is closed, which the write will say.
	if err := w.raw.Control(w.look); err == nil && w.dead {
		return errGone
	}
	return nil
}
