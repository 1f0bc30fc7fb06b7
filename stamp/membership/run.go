package membership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	// streamTimeout bounds dialling, writing and reading: at memberlist's 10 s
	// one dead peer holds up whoever wants to talk to it.
	streamTimeout = 2 * time.Second
	leaveTimeout  = 3 * time.Second
	keysEvery     = 5 * time.Second
)

// Run joins the stamp and stays in it until ctx ends; then it leaves. It owns
// every goroutine it starts and returns when they have ended, which a peer that
// does not answer can delay by a few seconds. memberlist's own goroutines end
// by themselves within that time. Run may be called once.
//
// An error means that gossip could not start: a fault of the configuration, or
// a port that is taken. A gateway serves without gossip.
func (m *Membership) Run(ctx context.Context) error {
	first := false
	m.once.Do(func() { first = true })
	if !first {
		return errors.New("gossip: Run was called before")
	}
	list, own, err := m.open()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	m.list.Store(list)
	m.running.Store(true)
	close(m.started)
	m.log.Info().Str("member", m.id.name()).Stringer("addr", m.LocalAddr()).Bool("tcp_only", m.cfg.TCPOnly).
		Bool("encrypted", m.keys != nil).Msg("gossip listens")

	var wg sync.WaitGroup
	wg.Go(func() { m.broadcaster.run(ctx, list) })
	wg.Go(func() { newJoiner(m, list, own).run(ctx) })
	if m.keys != nil {
		wg.Go(func() { m.watchKeys(ctx) })
	}
	<-ctx.Done()
	if err := list.Leave(leaveTimeout); err != nil {
		m.log.Warn().Err(err).Msg("gossip left without telling peers")
	}
	m.library.closing.Store(true)
	err = list.Shutdown()
	wg.Wait()
	m.running.Store(false)
	m.table.close()
	if serr := m.peers.save(time.Now()); serr != nil {
		m.log.Warn().Err(serr).Msg("gossip peers not saved")
	}
	m.log.Info().Msg("gossip left")
	return err
}

// open starts memberlist. own tells which addresses are ours.
func (m *Membership) open() (*memberlist.Memberlist, func(netip.AddrPort) bool, error) {
	if err := m.peers.load(time.Now()); err != nil {
		m.log.Warn().Err(err).Msg("gossip starts without remembered peers")
	}
	conf := m.listConfig()
	transport, own, err := m.openTransport(conf)
	if err != nil {
		return nil, nil, err
	}
	conf.Transport = transport
	list, err := memberlist.Create(conf)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start memberlist: %w", err), transport.Shutdown())
	}
	return list, own, nil
}

func (m *Membership) listConfig() *memberlist.Config {
	conf := memberlist.DefaultLANConfig()
	d := delegate{m}
	conf.Name = m.id.name()
	conf.Label = m.label
	conf.Delegate, conf.Events, conf.Merge, conf.Alive, conf.Conflict, conf.Ping = d, d, d, d, d, d
	conf.TCPTimeout = streamTimeout
	// Packets are small and encrypted after compression would be tried: it costs
	// more than it saves, and what is not read cannot be a bomb of ours.
	conf.EnableCompression = false
	if m.keys != nil {
		conf.Keyring = m.keys.ring
	}
	if m.cfg.Fast {
		conf.ProbeInterval, conf.ProbeTimeout = 500*time.Millisecond, 200*time.Millisecond
		conf.SuspicionMult = 3
	}
	// A packet already goes by TCP; a second way over TCP tests nothing.
	conf.DisableTcpPings = m.cfg.TCPOnly
	logger := telemetry.StdLog(m.log)
	m.library.to = logger.Writer()
	logger.SetOutput(m.library)
	conf.Logger = logger
	return conf
}

// openTransport listens, and settles the address that peers are told.
func (m *Membership) openTransport(conf *memberlist.Config) (memberlist.Transport, func(netip.AddrPort) bool, error) {
	if m.transport != nil {
		ip, port, err := m.transport.FinalAdvertiseAddr("", 0)
		if err != nil {
			return nil, nil, err
		}
		a, _ := netip.AddrFromSlice(ip)
		self := netip.AddrPortFrom(a.Unmap(), uint16(port))
		return m.transport, func(a netip.AddrPort) bool { return a == self }, nil
	}
	ours, err := machineAddrs()
	if err != nil {
		return nil, nil, err
	}
	// Checked before anything listens: the port may still be unknown.
	if _, _, err := advertised(withPort(m.listen, 1), m.cfg.Advertise, ours); err != nil {
		return nil, nil, err
	}
	transport, port, err := m.listenOn(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %s: %w", m.listen, err)
	}
	bound := withPort(m.listen, port)
	addr, warning, err := advertised(bound, m.cfg.Advertise, ours)
	if err != nil {
		return nil, nil, errors.Join(err, transport.Shutdown())
	}
	if warning != "" {
		m.log.Warn().Msg(warning)
	}
	conf.BindPort = int(port)
	conf.AdvertiseAddr, conf.AdvertisePort = addr.Addr().String(), int(addr.Port())
	return transport, func(a netip.AddrPort) bool {
		if a == addr || a == bound {
			return true
		}
		return bound.Addr().IsUnspecified() && a.Port() == port && slices.Contains(ours, a.Addr())
	}, nil
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Port() != 0 {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), port)
}

func (m *Membership) listenOn(conf *memberlist.Config) (memberlist.Transport, uint16, error) {
	if m.cfg.TCPOnly {
		t, err := listenTCP(m.listen, m.drops)
		if err != nil {
			return nil, 0, err
		}
		return t, t.port(), nil
	}
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{m.listen.Addr().String()},
		BindPort:  int(m.listen.Port()),
		Logger:    conf.Logger,
	})
	if err != nil {
		return nil, 0, err
	}
	return t, uint16(t.GetAutoBindPort()), nil
}

// watchKeys follows the key file. A fault is logged when it appears, not at
// each look.
func (m *Membership) watchKeys(ctx context.Context) {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	broken := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := m.keys.reload()
		switch {
		case err != nil && !broken:
			m.log.Error().Err(err).Msg("gossip keys not renewed")
		case err == nil && broken:
			m.log.Info().Msg("gossip key file is well again")
		}
		broken = err != nil
		if changed {
			count, _ := m.keys.status()
			m.log.Info().Int("keys", count).Msg("gossip keys renewed")
		}
	}
}
