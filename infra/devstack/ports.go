package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// A PortError says which address that the stack needs is taken.
type PortError struct {
	Addr string
	Who  string // what would have listened there
	Err  error
}

func (e *PortError) Error() string {
	if !errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("address %s for %s: %v", e.Addr, e.Who, e.Err)
	}
	return fmt.Sprintf("port %s is in use, and %s needs it: stop what listens there (ss -ltnp shows it), or choose another block with --ports", e.Addr, e.Who)
}

func (e *PortError) Unwrap() error { return e.Err }

// A reservation holds the ports of a plan open until the process that is to
// listen there starts, so that two stacks which start at once cannot both
// believe to have found the same block.
type reservation struct{ held map[string][]io.Closer }

// release gives addresses up.
func (r *reservation) release(addrs ...string) {
	for _, addr := range addrs {
		for _, c := range r.held[addr] {
			_ = c.Close() // nothing was ever accepted or sent
		}
		delete(r.held, addr)
	}
}

func (r *reservation) releaseAll() {
	for addr := range r.held {
		r.release(addr)
	}
}

// reserve takes all ports of the plan, or none.
func reserve(ctx context.Context, p plan) (*reservation, error) {
	r := &reservation{held: map[string][]io.Closer{}}
	for _, l := range p.listeners() {
		if err := r.take(ctx, l); err != nil {
			r.releaseAll()
			return nil, &PortError{Addr: l.addr, Who: l.who, Err: err}
		}
	}
	return r, nil
}

func (r *reservation) take(ctx context.Context, l listener) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", l.addr)
	if err != nil {
		return err
	}
	r.held[l.addr] = append(r.held[l.addr], ln)
	if !l.udp {
		return nil
	}
	pc, err := lc.ListenPacket(ctx, "udp", l.addr)
	if err != nil {
		return err
	}
	r.held[l.addr] = append(r.held[l.addr], pc)
	return nil
}

// choosePorts lays the stack out on the block that is asked for, or else on the
// first block that is wholly free, and holds its ports.
func choosePorts(ctx context.Context, c Config) (plan, *reservation, error) {
	if c.PortBase != 0 {
		p := layOut(c.Boundaries, c.PortBase)
		r, err := reserve(ctx, p)
		return p, r, err
	}
	var first error
	for base := DefaultPortBase; base <= lastPortBase; base += blockSize {
		p := layOut(c.Boundaries, base)
		r, err := reserve(ctx, p)
		if err == nil {
			if first != nil {
				_, _ = fmt.Fprintf(c.Log, "%v\nusing the block from port %d instead\n", first, base)
			}
			return p, r, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return plan{}, nil, err
		}
		if first == nil {
			first = err
		}
	}
	return plan{}, nil, fmt.Errorf("no block of %d ports from %d to %d is free: %w", blockSize, DefaultPortBase, lastPortBase+blockSize-1, first)
}
