package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// stagger is how long an address is waited for before the next one is tried
// beside it (RFC 8305, section 5: 250 ms). More, and one that swallows packets
// takes the connect timeout for itself.
const stagger = 250 * time.Millisecond

// connect tries the addresses in their order: the next one when one has failed,
// or has not answered within stagger. The first connection wins, the others are
// ended. The caller has checked every address. It returns when all goroutines that
// it began have ended.
func (d Dialer) connect(ctx context.Context, addrs []netip.AddrPort) (net.Conn, error) {
	if len(addrs) == 1 {
		return d.dialTCP(ctx, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	r := race{dialer: d, results: make(chan dialled, len(addrs))}
	conn, err := r.run(ctx, addrs)
	cancel()
	r.running.Wait()
	for range len(r.results) { // those that came too late
		if late := <-r.results; late.conn != nil {
			_ = late.conn.Close()
		}
	}
	return conn, err
}

// A race is one dial of several addresses.
type race struct {
	dialer  Dialer
	results chan dialled // has room for all
	running sync.WaitGroup
}

// dialled is what became of one address.
type dialled struct {
	conn net.Conn
	err  error
}

func (r *race) run(ctx context.Context, addrs []netip.AddrPort) (net.Conn, error) {
	var errs []error
	begun := 0
	begin := func() {
		a := addrs[begun]
		begun++
		r.running.Go(func() {
			conn, err := r.dialer.dialTCP(ctx, a)
			r.results <- dialled{conn, err}
		})
	}
	next := time.NewTimer(stagger)
	defer next.Stop()
	begin()
	for len(errs) < len(addrs) {
		select {
		case <-next.C:
		case got := <-r.results:
			if got.err == nil {
				return got.conn, nil
			}
			errs = append(errs, got.err)
		}
		if begun < len(addrs) && ctx.Err() == nil {
			begin()
			next.Reset(stagger)
		} else if ctx.Err() != nil && len(errs) == begun {
			break
		}
	}
	return nil, errors.Join(errs...)
}
