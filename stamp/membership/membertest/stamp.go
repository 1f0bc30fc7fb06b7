package membertest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/membership"
)

// Channel is the channel that all gateways of a test have.
const Channel = "test"

// A Gateway is a member that runs on a Network.
type Gateway struct {
	*membership.Membership
	Net    *Transport
	cancel context.CancelFunc
	done   chan struct{}
}

// Config returns what the i-th gateway of a stamp is configured with: boundary
// eu, region swedencentral, and the given seeds.
func Config(i int, seeds ...netip.AddrPort) membership.Config {
	cfg := membership.Config{
		Boundary: "eu", Region: "swedencentral", Name: fmt.Sprintf("gw-%d", i),
		Logger: zerolog.Nop(), Channels: []membership.ChannelVersions{{Name: Channel, Versions: []uint64{1}}},
	}
	for _, s := range seeds {
		cfg.Join = append(cfg.Join, s.String())
	}
	return cfg
}

// Start runs a gateway until the test ends, or until Stop or Crash.
func Start(t testing.TB, at *Transport, cfg membership.Config, opts ...membership.Option) *Gateway {
	t.Helper()
	m, err := membership.New(cfg, append(opts, membership.WithTransport(at))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g := &Gateway{Membership: m, Net: at, cancel: cancel, done: make(chan struct{})}
	go func() { // Network waits for it
		defer close(g.done)
		if err := m.Run(ctx); err != nil {
			t.Errorf("%s: %v", cfg.Name, err)
		}
	}()
	at.net.mu.Lock()
	at.net.gateways = append(at.net.gateways, g)
	at.net.mu.Unlock()
	select {
	case <-m.Started():
	case <-g.done:
		t.Fatalf("%s did not start", cfg.Name)
	}
	return g
}

// StartStamp runs n gateways that have the first three as seeds.
func StartStamp(t testing.TB, n *Network, count int, change func(i int, cfg *membership.Config)) []*Gateway {
	t.Helper()
	places := make([]*Transport, count)
	for i := range places {
		places[i] = n.Next()
	}
	var seeds []netip.AddrPort
	for _, p := range places[:min(3, count)] {
		seeds = append(seeds, p.Addr())
	}
	gateways := make([]*Gateway, count)
	for i, p := range places {
		cfg := Config(i, seeds...)
		if change != nil {
			change(i, &cfg)
		}
		gateways[i] = Start(t, p, cfg)
	}
	return gateways
}

// Stop lets the gateway leave, and waits until it has.
func (g *Gateway) Stop() {
	g.cancel()
	<-g.done
}

// Crash cuts the gateway off and stops it: its peers get no word of its leave.
func (g *Gateway) Crash() {
	g.Net.Crash()
	g.Stop()
}

// Broadcast sends a payload on the test's channel, to be acted on at once.
func (g *Gateway) Broadcast(payload string) {
	g.Channel(Channel).Broadcast(1, []byte(payload), membership.Urgent)
}

// Received returns what the gateway has from another one on the test's channel.
func (g *Gateway) Received(from *Gateway) (membership.Message, bool) {
	for _, m := range g.Channel(Channel).Messages() {
		if m.Member.Name == from.Self().Name {
			return m, true
		}
	}
	return membership.Message{}, false
}

// Has reports whether the gateway has this payload from another one.
func (g *Gateway) Has(from *Gateway, payload string) bool {
	m, ok := g.Received(from)
	return ok && string(m.Payload) == payload
}

// Knows reports whether the gateway takes a name for that of a live member.
func (g *Gateway) Knows(name string) bool {
	return slices.ContainsFunc(g.Members(), func(m membership.Member) bool { return m.Name == name })
}

// Sees reports whether the gateway takes exactly these for live members.
func (g *Gateway) Sees(others []*Gateway) bool {
	members := g.Members()
	if len(members) != len(others) {
		return false
	}
	names := make(map[string]bool, len(others))
	for _, o := range others {
		names[o.Self().Name] = true
	}
	for _, m := range members {
		if !names[m.Name] {
			return false
		}
	}
	return true
}

// AllSee reports whether all of these see all of these, and nobody else.
func AllSee(gateways []*Gateway) bool {
	for _, g := range gateways {
		if !g.Sees(gateways) {
			return false
		}
	}
	return true
}

// Await looks each 50 ms, in virtual time as a rule, until ok or until the limit
// has passed, and returns how long it took.
func Await(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		<-tick.C
	}
	return time.Since(start)
}

// Addrs returns the addresses of gateways.
func Addrs(gateways []*Gateway) []netip.AddrPort {
	out := make([]netip.AddrPort, len(gateways))
	for i, g := range gateways {
		out[i] = g.Net.Addr()
	}
	return out
}
