// Package membertest has an in-memory network for the gossip of many gateways,
// and starts gateways on it, so that an hour of losses, crashes and partitions
// is tested in seconds of testing/synctest's virtual time.
//
// Packets are lost, delayed and cut as a test says; streams are reliable but
// can be cut, and a dial to a machine that is gone takes its whole timeout, as
// it does in reality. What is not modelled: buffers that fill, bandwidth, and
// processes that stall. The same seed loses the same share of packets but not
// the same packets, since goroutines run in any order.
//
// Only tests use it. Everything must be made inside the bubble of the test.
package membertest

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// Port is the port of all addresses that Next gives out.
const Port = 7946

// Network connects transports. Its methods may be called at any time.
type Network struct {
	mu       sync.Mutex // guards the fields below; never held while something is handed over
	rng      *rand.Rand
	nodes    map[netip.AddrPort]*Transport
	last     netip.Addr
	loss     float64
	minDelay time.Duration
	maxDelay time.Duration
	noUDP    bool
	groups   map[netip.AddrPort]int // who is on which side; the rest is on side 0
	streams  map[*stream]bool
	gateways []*Gateway
}

// linger is for how long memberlist's goroutines may outlive a gateway: a probe
// with its interval stretched eightfold.
const linger = 10 * time.Second

// NewNetwork returns a network that loses nothing and takes one millisecond
// from end to end. At the end of the test it stops all gateways at once and lets
// what they have started end: in a bubble, time stands still after the test.
func NewNetwork(t testing.TB, seed uint64) *Network {
	n := &Network{
		rng: rand.New(rand.NewPCG(seed, 1)), nodes: make(map[netip.AddrPort]*Transport),
		last:     netip.AddrFrom4([4]byte{10, 0, 0, 0}),
		minDelay: time.Millisecond, maxDelay: time.Millisecond,
		groups: make(map[netip.AddrPort]int), streams: make(map[*stream]bool),
	}
	t.Cleanup(n.close)
	return n
}

func (n *Network) close() {
	n.mu.Lock()
	gateways := n.gateways
	n.mu.Unlock()
	for _, g := range gateways {
		g.cancel()
	}
	for _, g := range gateways {
		<-g.done
	}
	<-time.After(linger)
}

// SetLoss sets which share of packets is lost, 0 to 1. Streams lose nothing.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// SetDelay sets the time from end to end, drawn anew for each packet.
func (n *Network) SetDelay(shortest, longest time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.minDelay, n.maxDelay = shortest, longest
}

// SetUDP says whether packets are carried at all.
func (n *Network) SetUDP(carried bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.noUDP = !carried
}

// Partition parts the network: those named in one list reach each other, and
// nobody else does. Whoever is in no list is together with the others that are
// in none. Streams across the cut break. It replaces an earlier partition.
func (n *Network) Partition(sides ...[]netip.AddrPort) {
	n.mu.Lock()
	clear(n.groups)
	for i, side := range sides {
		for _, a := range side {
			n.groups[a] = i + 1
		}
	}
	var broken []*stream
	for s := range n.streams {
		if n.groups[s.from] != n.groups[s.to] {
			broken = append(broken, s)
		}
	}
	n.mu.Unlock()
	for _, s := range broken {
		_ = s.Close()
	}
}

// Heal ends the partition.
func (n *Network) Heal() { n.Partition() }

// Next returns a transport at the next free address, 10.0.0.1 and on.
func (n *Network) Next() *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = n.last.Next()
	return n.add(netip.AddrPortFrom(n.last, Port))
}

// At returns a transport at an address, taking it over from whoever had it.
func (n *Network) At(addr netip.AddrPort) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.add(addr)
}

func (n *Network) add(addr netip.AddrPort) *Transport {
	t := &Transport{
		net: n, addr: addr, done: make(chan struct{}),
		packets: make(chan *memberlist.Packet, 4096), streams: make(chan net.Conn),
	}
	n.nodes[addr] = t
	return t
}

// route returns where a message goes, or nil if it gets lost on the way.
func (n *Network) route(from *Transport, to netip.AddrPort) (dest *Transport, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[from.addr] != from || from.crashed.Load() || n.groups[from.addr] != n.groups[to] {
		return nil, true
	}
	dest = n.nodes[to]
	return dest, dest != nil && dest.crashed.Load()
}

// draw decides the fate of a packet.
func (n *Network) draw() (lost bool, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.noUDP || n.loss > 0 && n.rng.Float64() < n.loss {
		return true, 0
	}
	return false, n.delay()
}

// delay must be called with mu held.
func (n *Network) delay() time.Duration {
	if n.maxDelay <= n.minDelay {
		return n.minDelay
	}
	return n.minDelay + time.Duration(n.rng.Int64N(int64(n.maxDelay-n.minDelay)))
}

// Traffic is what a transport has sent.
type Traffic struct {
	Packets, PacketBytes int64 // without the headers of UDP and IP
	Streams, StreamBytes int64 // without those of TCP and IP
}

// A Transport is one machine's place in the network.
type Transport struct {
	net     *Network
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
	crashed atomic.Bool

	sentPackets, sentPacketBytes, sentStreams, sentStreamBytes atomic.Int64
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Addr is the machine's address.
func (t *Transport) Addr() netip.AddrPort { return t.addr }

// Crash makes the machine silent for good: nothing leaves it and nothing gets
// an answer, not even a refusal.
func (t *Transport) Crash() { t.crashed.Store(true) }

// Traffic returns what was sent until now.
func (t *Transport) Traffic() Traffic {
	return Traffic{t.sentPackets.Load(), t.sentPacketBytes.Load(), t.sentStreams.Load(), t.sentStreamBytes.Load()}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().AsSlice(), int(t.addr.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return now, err
	}
	t.sentPackets.Add(1)
	t.sentPacketBytes.Add(int64(len(b)))
	dest, cut := t.net.route(t, to)
	if dest == nil || cut {
		return now, nil // UDP does not tell
	}
	lost, delay := t.net.draw()
	if lost {
		return now, nil
	}
	p := &memberlist.Packet{Buf: slices.Clone(b), From: net.UDPAddrFromAddrPort(t.addr)}
	if delay <= 0 {
		dest.take(p)
		return now, nil
	}
	time.AfterFunc(delay, func() { dest.take(p) })
	return now, nil
}

// take puts a packet into the machine's buffer, or drops it if that is full.
func (t *Transport) take(p *memberlist.Packet) {
	if t.crashed.Load() {
		return
	}
	p.Timestamp = time.Now()
	select {
	case <-t.done:
	case t.packets <- p:
	default:
	}
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// PacketCh implements memberlist.Transport.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *Transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// DialTimeout opens a stream. Nobody at the address is a refusal after one
// round trip, no way to it is the whole timeout.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	limit := time.NewTimer(max(timeout, 0))
	defer limit.Stop()
	dest, cut := t.net.route(t, to)
	if cut {
		select {
		case <-limit.C:
		case <-t.done:
		}
		return nil, t.dialFault(os.ErrDeadlineExceeded)
	}
	t.net.mu.Lock()
	trip := 2 * t.net.delay()
	t.net.mu.Unlock()
	select {
	case <-time.After(trip):
	case <-limit.C:
		return nil, t.dialFault(os.ErrDeadlineExceeded)
	}
	if dest == nil {
		return nil, t.dialFault(syscall.ECONNREFUSED)
	}
	ours, theirs := t.net.pipe(t, dest)
	select {
	case dest.streams <- theirs:
		t.sentStreams.Add(1)
		return ours, nil
	case <-dest.done:
		err = t.dialFault(syscall.ECONNREFUSED)
	case <-limit.C:
		err = t.dialFault(os.ErrDeadlineExceeded)
	}
	return nil, errors.Join(err, ours.Close(), theirs.Close())
}

func (t *Transport) dialFault(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Source: net.TCPAddrFromAddrPort(t.addr), Err: err}
}

// Shutdown implements memberlist.Transport.
func (t *Transport) Shutdown() error {
	t.once.Do(func() { close(t.done) })
	return nil
}

// Stream and packet channels are never closed: memberlist would read nil.

// A stream is one end of a connection.
type stream struct {
	net.Conn
	net      *Network
	owner    *Transport
	from, to netip.AddrPort
}

func (n *Network) pipe(from, to *Transport) (a, b *stream) {
	x, y := net.Pipe()
	a = &stream{x, n, from, from.addr, to.addr}
	b = &stream{y, n, to, to.addr, from.addr}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streams[a], n.streams[b] = true, true
	return a, b
}

// Write counts.
func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.owner.sentStreamBytes.Add(int64(n))
	return n, err
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.net.mu.Lock()
	delete(s.net.streams, s)
	s.net.mu.Unlock()
	return s.Conn.Close()
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.from) }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.to) }
