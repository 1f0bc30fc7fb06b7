package membership

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	rejoinEvery   = 15 * time.Second
	joinsAtOnce   = 8
	joinsPerRound = 64
	// joinedLately is how long a successful join of an address that is still no
	// member, such as one that is translated, counts for nothing.
	joinedLately = time.Minute
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
	wg.Go(func() { m.speech.run(ctx, list) })
	wg.Go(func() { m.keepJoined(ctx, list, own) })
	if m.keys != nil {
		wg.Go(func() { m.watchKeys(ctx) })
	}
	<-ctx.Done()
	if err := list.Leave(leaveTimeout); err != nil {
		m.log.Warn().Err(err).Msg("gossip left without telling peers")
	}
	err = list.Shutdown()
	wg.Wait()
	m.running.Store(false)
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
	logger.SetOutput(&libraryLog{to: logger.Writer(), drops: m.drops})
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

// keepJoined looks for members that we do not have, so that any partition
// heals: memberlist itself forgets a peer that was away for half a minute. It
// looks at once after boot, often while there is progress, else every 15 s.
func (m *Membership) keepJoined(ctx context.Context, list *memberlist.Memberlist, own func(netip.AddrPort) bool) {
	lately := make(map[netip.AddrPort]time.Time)
	soon := time.Second // the next pause, while doubling up to rejoinEvery
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if m.joinRound(ctx, list, own, lately) {
			soon = time.Second
		} else if soon < rejoinEvery {
			m.exchange(list)
		}
		if err := m.peers.save(time.Now()); err != nil {
			m.log.Warn().Err(err).Msg("gossip peers not saved")
		}
		pause := min(soon, rejoinEvery)
		soon *= 2
		if pause == rejoinEvery {
			soon = rejoinEvery
		}
		// A fifth to and fro, so that gateways that started together spread.
		timer.Reset(pause*4/5 + rand.N(pause*2/5))
	}
}

// joinRound tries each known address that is not a live member's. It returns
// whether it reached one that it had not reached lately.
func (m *Membership) joinRound(ctx context.Context, list *memberlist.Memberlist, own func(netip.AddrPort) bool, lately map[netip.AddrPort]time.Time) bool {
	v := m.View()
	now := time.Now()
	known := m.peers.addrs(v.Members, v.Self.Name, now)
	known = append(known, m.resolveSeeds(ctx)...)
	try := candidates(known, v.Members, own, joinsPerRound, func(a []netip.AddrPort) {
		rand.Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] })
	})
	reached := m.joinAll(ctx, list, try)
	for a, at := range lately {
		if now.Sub(at) > joinedLately {
			delete(lately, a)
		}
	}
	progress := false
	for _, a := range reached {
		if _, ok := lately[a]; !ok {
			progress = true
			lately[a] = now
		}
	}
	return progress
}

// exchange compares all that is known with one random member. Gateways that
// start together miss some of each other, since a stamp of up to nine repeats
// its news only four times; memberlist's own exchange comes after half a minute.
func (m *Membership) exchange(list *memberlist.Memberlist) {
	for _, n := range m.speech.some(1) {
		_, err := list.Join([]string{n.Address()})
		m.metrics.joined.WithLabelValues(result(err)).Inc()
	}
}

func (m *Membership) resolveSeeds(ctx context.Context) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range m.seeds {
		addrs, err := s.resolve(ctx, m.cfg.Resolver)
		if err != nil && ctx.Err() == nil {
			m.log.Warn().Err(err).Msg("gossip seed not found")
		}
		out = append(out, addrs...)
	}
	return out
}

// joinAll dials a few at a time: a dead one takes up to streamTimeout.
func (m *Membership) joinAll(ctx context.Context, list *memberlist.Memberlist, try []netip.AddrPort) []netip.AddrPort {
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards reached
		reached []netip.AddrPort
		work    = make(chan netip.AddrPort)
	)
	for range min(joinsAtOnce, len(try)) {
		wg.Go(func() {
			for a := range work {
				_, err := list.Join([]string{a.String()})
				m.metrics.joined.WithLabelValues(result(err)).Inc()
				if err != nil {
					m.log.Debug().Err(err).Stringer("addr", a).Msg("gossip peer not joined")
					continue
				}
				mu.Lock()
				reached = append(reached, a)
				mu.Unlock()
			}
		})
	}
	for _, a := range try {
		if ctx.Err() != nil {
			break
		}
		work <- a
	}
	close(work)
	wg.Wait()
	return reached
}

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
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
