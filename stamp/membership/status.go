package membership

import (
	"net/netip"
	"time"
)

// Status is what an operator is shown of a gateway's gossip. It holds no secret.
type Status struct {
	Label       string            `json:"label"`
	Self        Member            `json:"self"`
	Running     bool              `json:"running"`
	Addr        netip.AddrPort    `json:"addr,omitzero"`
	Transport   string            `json:"transport"` // udp+tcp or tcp
	Encrypted   bool              `json:"encrypted"`
	Keys        int               `json:"keys"`
	KeyFault    string            `json:"keyFault,omitempty"`
	HealthScore int               `json:"healthScore"` // 0 is well, 7 is bad
	UDPBlocked  bool              `json:"udpBlocked"`  // peers answer by TCP alone
	Generation  uint64            `json:"generation"`
	Members     []Member          `json:"members"`
	Reports     int               `json:"reports"`  // of other gateways, on all channels
	Channels    []ChannelStatus   `json:"channels"` // that this gateway has
	StateBytes  int               `json:"stateBytes"`
	Dropped     map[string]uint64 `json:"dropped,omitempty"` // by reason
}

// A ChannelStatus is what is known of a channel.
type ChannelStatus struct {
	ChannelVersions
	Version uint64 `json:"version"` // that is broadcast, because all members read it
	Reports int    `json:"reports"` // of other gateways
}

// Status returns what is known now.
func (m *Membership) Status() Status {
	v := m.View()
	s := Status{
		Label: m.label, Self: v.Self, Running: m.running.Load(), Addr: m.LocalAddr(),
		Transport: "udp+tcp", Encrypted: m.keys != nil,
		HealthScore: m.HealthScore(), UDPBlocked: m.udpBlocked(time.Now()),
		Generation: v.Generation, Members: v.Members,
		StateBytes: m.table.size(), Dropped: m.drops.byName(),
	}
	for _, list := range v.messages {
		s.Reports += len(list)
	}
	for _, c := range m.channels {
		s.Channels = append(s.Channels, ChannelStatus{c.ChannelVersions, c.Version(), len(v.messages[c.Name])})
	}
	if m.cfg.TCPOnly {
		s.Transport = "tcp"
	}
	if m.keys != nil {
		var err error
		if s.Keys, err = m.keys.status(); err != nil {
			s.KeyFault = err.Error()
		}
	}
	return s
}

// udpBlocked reports whether there are peers and none answers by packet.
func (m *Membership) udpBlocked(now time.Time) bool {
	return !m.cfg.TCPOnly && m.running.Load() && m.table.count.Load() > 1 && m.pings.silent(now)
}
