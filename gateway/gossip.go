package gateway

import (
	"context"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// A gossip is the gateway's part in its stamp: it tells the others what this
// gateway observed, and feeds what they observed to the registry. Requests never
// wait for it, and without it the registry works on local evidence alone.
type gossip struct {
	members *membership.Membership
	news    chan struct{} // holds one: the registry has something new to tell
	leave   chan struct{} // closed by leaveGossip
	ended   chan struct{} // closed when this gateway has left
}

// gossipPeriod is how often load and averages are told when nothing else
// happens. What changes a gate or a breaker is told at once.
const gossipPeriod = time.Second

func (g *gateway) buildGossip() error {
	if g.cfg.Gossip == nil {
		return nil
	}
	mc := g.cfg.gossipConfig(g.log, g.metrics)
	mc.PeersFile = g.peersFile()
	m, err := membership.New(mc)
	if err != nil {
		return err
	}
	g.gossip = &gossip{members: m, news: make(chan struct{}, 1), leave: make(chan struct{}), ended: make(chan struct{})}
	g.registry.SetProbeOwner(func(k policy.Key) bool { return m.Owner(k.Origin + " " + k.Deployment) })
	return nil
}

func (c Config) gossipConfig(log zerolog.Logger, metrics prometheus.Registerer) membership.Config {
	return membership.Config{
		Boundary: c.Boundary, Region: c.Region, Name: c.Name, Version: telemetry.Version(),
		Listen: c.Gossip.Listen, Advertise: c.Gossip.Advertise, Join: c.Gossip.Join, KeyFile: c.Gossip.KeyFile,
		TCPOnly: c.Gossip.TCPOnly, Fast: c.Gossip.Fast, Logger: log, Registerer: metrics,
	}
}

// peersFile remembers the stamp's members over a restart, beside the policy.
func (g *gateway) peersFile() string {
	if g.store == nil {
		return ""
	}
	return filepath.Join(g.cfg.Policy.CacheDir, "peers.json")
}

// wake has the registry's news told now. It never blocks.
func (p *gossip) wake() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// runGossip is in the stamp until ctx ends or leaveGossip is called.
func (g *gateway) runGossip(ctx context.Context) error {
	p := g.gossip
	defer close(p.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.members.Run(ctx) }()
	tick := time.NewTicker(gossipPeriod)
	defer tick.Stop()
	for {
		changed := p.members.Changed()
		g.hear(time.Now())
		g.tell(time.Now())
		select {
		case <-changed:
		case <-p.news:
		case <-tick.C:
		case <-p.leave:
			cancel()
			g.gossipEnded(<-done)
			return nil
		case err := <-done:
			g.gossipEnded(err)
			return nil
		}
	}
}

// gossipEnded reports why, and is no reason to stop: gossip only informs.
func (g *gateway) gossipEnded(err error) {
	if err != nil {
		g.log.Error().Err(err).Msg("gossip ended, this gateway works on local evidence alone")
	}
}

// ownReport is what this gateway says of itself.
func (g *gateway) ownReport() membership.Report {
	r := membership.Report{Health: g.machine.Summary().Ready.String(), Draining: g.isDraining()}
	if s := g.follower.Snapshot(); s != nil {
		r.PolicySerial = s.Serial()
	}
	return r
}

// tell publishes this gateway's own observations.
func (g *gateway) tell(now time.Time) {
	report := g.ownReport()
	for _, o := range g.registry.Export(now) {
		t := membership.TargetReport{
			Origin: o.Key.Origin, Deployment: o.Key.Deployment,
			GateRemaining: o.Gate, BreakerRemaining: o.BreakerFor,
			InFlight: uint32(max(o.InFlight, 0)), FirstByteEWMA: o.FirstByte,
		}
		switch o.Breaker {
		case breaker.Open:
			t.Breaker = membership.BreakerOpen
		case breaker.HalfOpen:
			t.Breaker = membership.BreakerHalfOpen
		case breaker.Closed:
		}
		if o.SuccessAge > 0 {
			t.LastSuccessAge = max(o.SuccessAge, time.Millisecond)
		}
		report.Targets = append(report.Targets, t)
	}
	g.gossip.members.Publish(report)
}

// hear hands what the peers observed to the registry, aged to now.
func (g *gateway) hear(now time.Time) {
	var all []targets.Report
	for _, p := range g.gossip.members.View().Peers {
		since := now.Sub(p.At)
		for _, t := range p.Report.Targets {
			all = append(all, received(t).After(since))
		}
	}
	g.registry.ApplyRemote(now, all)
}

// received reads what a peer has sent.
func received(t membership.TargetReport) targets.Report {
	r := targets.Report{
		Key:  policy.Key{Origin: t.Origin, Deployment: t.Deployment},
		Gate: t.GateRemaining, BreakerFor: t.BreakerRemaining,
		InFlight: int(t.InFlight), FirstByte: t.FirstByteEWMA, SuccessAge: t.LastSuccessAge,
	}
	switch t.Breaker {
	case membership.BreakerOpen:
		r.Breaker = breaker.Open
	case membership.BreakerHalfOpen:
		r.Breaker = breaker.HalfOpen
	default:
		r.Breaker = breaker.Closed
	}
	return r
}

// leaveGossip says goodbye to the stamp and waits until that is done. The drain
// calls it, once.
func (g *gateway) leaveGossip(ctx context.Context) error {
	if g.gossip == nil {
		return nil
	}
	close(g.gossip.leave)
	select {
	case <-g.gossip.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readiness reads the word that a report has for it.
func readiness(word string) health.Status {
	for _, s := range []health.Status{health.Pass, health.Warn} {
		if s.String() == word {
			return s
		}
	}
	return health.Fail
}

// detail shows the stamp's members. own is this gateway's report.
func (p *gossip) detail(own membership.Report) *health.Gossip {
	out, view := &health.Gossip{}, p.members.View()
	reports := make(map[string]membership.Report)
	for _, peer := range view.Peers {
		reports[peer.Member.Name] = peer.Report
	}
	reports[view.Self.Name] = own
	for _, m := range view.Members {
		r := reports[m.Name]
		out.Members = append(out.Members, health.Member{Name: m.Gateway, State: "alive", PolicySerial: r.PolicySerial, Ready: readiness(r.Health)})
	}
	for _, n := range p.members.Status().Dropped {
		out.Dropped += n
	}
	return out
}
