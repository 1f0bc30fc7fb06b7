package upstream

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/geo"
)

const (
	// lookEvery is how often the name of a pool that is in use is looked up anew. No
	// request waits for it.
	lookEvery = 10 * time.Second
	// leftAfter is how long an address must have been missing from the answers
	// before its connections are given up: a name server may deal its addresses out
	// in turns. A change is followed within leftAfter + lookEvery.
	leftAfter = 25 * time.Second
	// lookLimit bounds one look-up, and looksAtOnce how many run over all pools;
	// what does not fit is looked up with a later request.
	lookLimit   = 5 * time.Second
	looksAtOnce = 8
	// answersKept bounds what is remembered of one name.
	answersKept = 64
)

// A resolution is what a pool knows of its endpoint's name: which addresses the name
// server gave of late. Connections to others take no new requests; those that run
// on them finish. A nil *resolution knows nothing.
type resolution struct {
	target geo.Target
	looked atomic.Int64                 // when the last look-up began, in Unix nanoseconds
	now    atomic.Pointer[[]netip.Addr] // of late; nil: everything passes

	mu   sync.Mutex // guards seen; never held across a call out
	seen map[netip.Addr]time.Time
}

// newResolution returns nil where the endpoint is an address itself.
func newResolution(t geo.Target) *resolution {
	if _, err := netip.ParseAddr(t.Host()); err == nil {
		return nil
	}
	return &resolution{target: t, seen: map[netip.Addr]time.Time{}}
}

// left reports whether the name no longer leads to the address.
func (a *resolution) left(addr netip.Addr) bool {
	if a == nil {
		return false
	}
	now := a.now.Load()
	return now != nil && !slices.Contains(*now, addr)
}

// heard takes in an answer, all of whose addresses the fence admits.
func (a *resolution) heard(addrs []netip.AddrPort, now time.Time) {
	if a == nil {
		return
	}
	a.looked.Store(now.UnixNano())
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.seen, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= leftAfter })
	for _, addr := range addrs[:min(len(addrs), answersKept)] {
		if _, known := a.seen[addr.Addr()]; known || len(a.seen) < answersKept {
			a.seen[addr.Addr()] = now
		}
	}
	list := slices.Collect(maps.Keys(a.seen))
	if len(a.seen) == answersKept {
		a.now.Store(nil) // more than can be told apart
		return
	}
	a.now.Store(&list)
}

// lookups keeps the answers of all pools current. It owns the goroutines that
// it starts: stop waits for them.
type lookups struct {
	dialer  Dialer
	ctx     context.Context //nolint:containedctx // of the look-ups; lives as long as the pools
	cancel  context.CancelFunc
	mu      sync.Mutex // guards stopped, and that no look-up begins after it
	stopped bool
	slots   chan struct{}
	running sync.WaitGroup
}

func newLookups(dialer Dialer) *lookups {
	f := &lookups{dialer: dialer, slots: make(chan struct{}, looksAtOnce)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// look has the pool's name looked up in the background if that is due. An answer
// that cannot be had, or that the fence does not admit, changes nothing: what is
// kept was admitted when it was dialled.
func (f *lookups) look(p *pool) {
	a := p.name
	if a == nil {
		return
	}
	now, last := time.Now().UnixNano(), a.looked.Load()
	if now-last < int64(lookEvery) || !a.looked.CompareAndSwap(last, now) || last == 0 {
		return // of the first request the dial looks up
	}
	select {
	case f.slots <- struct{}{}:
	default:
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	f.running.Go(func() {
		defer func() { <-f.slots }()
		ctx, cancel := context.WithTimeout(f.ctx, lookLimit)
		defer cancel()
		if addrs, err := f.dialer.resolve(ctx, a.target); err == nil {
			a.heard(addrs, time.Now())
		}
	})
}

// stop ends the look-ups and waits for them.
func (f *lookups) stop() {
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.cancel()
	f.running.Wait()
}
