package membership

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// tcpTransport carries packets over TCP, a connection each, for networks that
// let no UDP through between gateways. A packet may get lost here as well: with
// a slow peer it is dropped rather than waited for.
//
// The first byte of a connection says what it carries. A packet follows with
// its length in two bytes; a stream is memberlist's own.
type tcpTransport struct {
	listener *net.TCPListener
	drops    *drops
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	queue    chan outPacket
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu     sync.Mutex        // guards the fields below; never held across I/O
	open   map[net.Conn]bool // accepted and not yet handed on
	toward map[string]int    // packets on their way, by address
}

type outPacket struct {
	addr string
	data []byte
}

const (
	carriesPacket = 'P'
	carriesStream = 'S'

	packetWorkers = 32
	packetQueue   = 1024
	// packetsToward bounds what one peer that does not answer may hold up: an
	// eighth of the workers.
	packetsToward = 4
	packetTimeout = time.Second // to dial and to write; a probe waits half as long
	maxAccepted   = 256
	maxPacketSize = 1<<16 - 1
)

var _ memberlist.NodeAwareTransport = (*tcpTransport)(nil)

func listenTCP(at netip.AddrPort, d *drops) (*tcpTransport, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	t := &tcpTransport{
		listener: l, drops: d,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		queue: make(chan outPacket, packetQueue), done: make(chan struct{}),
		open: make(map[net.Conn]bool), toward: make(map[string]int),
	}
	t.wg.Go(t.accept)
	for range packetWorkers {
		t.wg.Go(t.send)
	}
	return t, nil
}

func (t *tcpTransport) port() uint16 {
	return t.listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// FinalAdvertiseAddr implements memberlist.Transport: the address was settled
// before.
func (t *tcpTransport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, err
	}
	return a.AsSlice(), port, nil
}

// WriteTo implements memberlist.Transport.
func (t *tcpTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress never blocks: probes and gossip share the caller's goroutine.
func (t *tcpTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if len(b) > maxPacketSize {
		return time.Time{}, errors.New("packet is too long")
	}
	if !t.reserve(a.Addr) {
		t.drops.add(dropPacket)
		return time.Now(), nil
	}
	select {
	case t.queue <- outPacket{a.Addr, b}:
	default:
		t.release(a.Addr)
		t.drops.add(dropPacket)
	}
	return time.Now(), nil
}

func (t *tcpTransport) reserve(addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.toward[addr] >= packetsToward {
		return false
	}
	t.toward[addr]++
	return true
}

func (t *tcpTransport) release(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.toward[addr]--; t.toward[addr] <= 0 {
		delete(t.toward, addr)
	}
}

func (t *tcpTransport) send() {
	for {
		select {
		case <-t.done:
			return
		case p := <-t.queue:
			if err := t.sendPacket(p); err != nil {
				t.drops.add(dropPacket)
			}
			t.release(p.addr)
		}
	}
}

func (t *tcpTransport) sendPacket(p outPacket) error {
	conn, err := (&net.Dialer{Timeout: packetTimeout}).Dial("tcp", p.addr)
	if err != nil {
		return err
	}
	err = conn.SetDeadline(time.Now().Add(packetTimeout))
	if err == nil {
		frame := binary.BigEndian.AppendUint16([]byte{carriesPacket}, uint16(len(p.data)))
		_, err = conn.Write(append(frame, p.data...))
	}
	return errors.Join(err, conn.Close())
}

// PacketCh implements memberlist.Transport.
func (t *tcpTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *tcpTransport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport.
func (t *tcpTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream.
func (t *tcpTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).Dial("tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err == nil {
		_, err = conn.Write([]byte{carriesStream})
		if err == nil {
			return conn, conn.SetDeadline(time.Time{})
		}
	}
	_ = conn.Close()
	return nil, errors.New("open a stream: peer closed it")
}

// Shutdown implements memberlist.Transport. It returns when nothing of the
// transport runs any more.
func (t *tcpTransport) Shutdown() error {
	var err error
	t.once.Do(func() {
		close(t.done)
		err = t.listener.Close()
		t.mu.Lock()
		for c := range t.open {
			_ = c.SetDeadline(time.Unix(1, 0)) // wakes its reader, which closes it
		}
		t.mu.Unlock()
	})
	t.wg.Wait()
	return err
}

func (t *tcpTransport) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			select {
			case <-t.done:
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors: others need time to close
				continue
			}
		}
		if !t.admit(conn) {
			t.drops.add(dropPacket)
			_ = conn.Close()
			continue
		}
		t.wg.Go(func() { t.serve(conn) })
	}
}

func (t *tcpTransport) admit(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= maxAccepted {
		return false
	}
	select {
	case <-t.done:
		return false
	default:
	}
	t.open[conn] = true
	return true
}

func (t *tcpTransport) forget(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, conn)
}

// serve reads what a connection carries and hands it on. A peer that sends
// slowly, or too much, gets no more than packetTimeout and one packet.
func (t *tcpTransport) serve(conn net.Conn) {
	defer t.forget(conn)
	kind, packet, err := readFrame(conn, time.Now().Add(packetTimeout))
	if err != nil {
		t.drops.add(dropLibrary)
		_ = conn.Close()
		return
	}
	if kind == carriesStream {
		select {
		case t.streams <- conn: // its reader closes it
		case <-t.done:
			_ = conn.Close()
		}
		return
	}
	from := conn.RemoteAddr()
	_ = conn.Close()
	select {
	case t.packets <- &memberlist.Packet{Buf: packet, From: from, Timestamp: time.Now()}:
	case <-t.done:
	}
}

func readFrame(conn net.Conn, deadline time.Time) (kind byte, packet []byte, err error) {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return 0, nil, err
	}
	var head [3]byte
	if _, err := io.ReadFull(conn, head[:1]); err != nil {
		return 0, nil, err
	}
	switch head[0] {
	case carriesStream:
		return carriesStream, nil, conn.SetReadDeadline(time.Time{})
	case carriesPacket:
	default:
		return 0, nil, errors.New("neither packet nor stream")
	}
	if _, err := io.ReadFull(conn, head[1:]); err != nil {
		return 0, nil, err
	}
	packet = make([]byte, binary.BigEndian.Uint16(head[1:]))
	if len(packet) == 0 {
		return 0, nil, errors.New("empty packet")
	}
	_, err = io.ReadFull(conn, packet)
	return carriesPacket, packet, err
}
