package membership

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// The first byte of a message says what it is.
const (
	kindMessage = 1
	kindState   = 2
)

// delegate is what memberlist calls. Some methods are called with its lock
// held, so none calls memberlist, and all return soon.
type delegate struct{ *Membership }

var (
	_ memberlist.Delegate         = delegate{}
	_ memberlist.EventDelegate    = delegate{}
	_ memberlist.MergeDelegate    = delegate{}
	_ memberlist.AliveDelegate    = delegate{}
	_ memberlist.ConflictDelegate = delegate{}
	_ memberlist.PingDelegate     = delegate{}
)

// NodeMeta says who we are.
func (d delegate) NodeMeta(int) []byte { return d.id.meta.encode() }

// NotifyMsg takes in a message, and passes it on if it is news: a gateway sends
// each message to a few, those send it to the rest. What is of another kind may be
// of a later version; it is dropped.
func (d delegate) NotifyMsg(b []byte) {
	if len(b) == 0 || b[0] != kindMessage {
		d.drops.add(dropMalformed)
		return
	}
	d.receive(b[1:])
}

func (m *Membership) receive(envelope []byte) {
	if e, ok := m.table.receive(envelope, time.Now()); ok {
		m.metrics.accepted.Inc()
		m.broadcaster.relay(e)
	}
}

// GetBroadcasts fills a packet.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.broadcaster.queue.GetBroadcasts(overhead, limit)
}

// LocalState is our side of a full exchange, which repairs what gossip lost.
func (d delegate) LocalState(bool) []byte { return d.table.state(time.Now()) }

// MergeRemoteState is the other side's.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	if why, ok := splitState(b, d.label, d.receive); !ok {
		d.drops.add(why)
	}
}

// NotifyMerge refuses to join with a cluster that has one member who does not
// belong here: two clusters with one key must not become one.
func (d delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if _, err := d.id.meta.admit(n.Name, n.Meta); err != nil {
			d.refuse(err)
			return fmt.Errorf("%q %w", n.Name, err)
		}
	}
	return nil
}

// NotifyAlive refuses a single node. It also guards the exchanges that
// NotifyMerge does not see.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if _, err := d.id.meta.admit(n.Name, n.Meta); err != nil {
		d.refuse(err)
		return err
	}
	if known, count := d.table.has(n.Name); !known && count >= MaxMembers {
		d.drops.add(dropFull)
		return fmt.Errorf("there are %d members already", count)
	}
	return nil
}

func (m *Membership) refuse(err error) {
	if errors.Is(err, errForeign) {
		m.drops.add(dropForeign)
		return
	}
	m.drops.add(dropRefused)
}

// NotifyConflict is told of a second address for a member's name. memberlist
// keeps the first.
func (d delegate) NotifyConflict(_, _ *memberlist.Node) { d.drops.add(dropConflict) }

// NotifyJoin takes a member in.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	other, err := d.id.meta.admit(n.Name, n.Meta)
	addr, ok := netip.AddrFromSlice(n.Addr)
	if err != nil || !ok {
		d.drops.add(dropRefused)
		return
	}
	at := netip.AddrPortFrom(addr.Unmap(), n.Port)
	d.table.join(n.Name, other, at)
	if n.Name == d.id.name() {
		d.local.Store(&at)
		return
	}
	d.pings.seen(time.Now())
	d.peers.saw(at, time.Now())
}

// NotifyLeave forgets a member. Ours comes when we leave: we stay our own.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	if n.Name != d.id.name() {
		d.table.leave(n.Name)
		d.broadcaster.forget(n.Name)
	}
}

// NotifyUpdate takes over what has changed.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

// AckPayload adds nothing to a probe's answer.
func (delegate) AckPayload() []byte { return nil }

// NotifyPingComplete is told of an answer that came by packet, not by stream.
func (d delegate) NotifyPingComplete(*memberlist.Node, time.Duration, []byte) {
	d.pings.seen(time.Now())
}

// pingWatch notices a network that carries TCP but no UDP: memberlist limps on
// there, by TCP probes and full exchanges alone.
type pingWatch struct{ last atomic.Int64 } // UnixNano of the last answer or new member

// udpSilence is how long no probe may be answered by packet. Probes are a
// second apart, eight when memberlist takes itself for unwell.
const udpSilence = 20 * time.Second

var errNoUDP = errors.New("no probe was answered by packet for 20 s")

func (p *pingWatch) seen(now time.Time) { p.last.Store(now.UnixNano()) }

func (p *pingWatch) silent(now time.Time) bool {
	last := p.last.Load()
	return last != 0 && now.Sub(time.Unix(0, last)) > udpSilence
}
