// Package stampview owns what gateways tell each other of targets: the reports that
// the gateways of a stamp broadcast, and the digest that a stamp writes for the
// stamps of other regions. It encodes them, decides what is pressing, and hands what
// comes in to the registry of targets.
//
// What others report can only add caution, and the registry bounds how much. No
// request waits for anything here, and without gossip and etcd a gateway works on
// what it sees itself. stamp/membership carries the reports and knows nothing of
// them; the boundary's etcd carries the digest. The gateway's wiring is the user.
package stampview

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/membership"
)

// reportPeriod is how often load and averages are reported when nothing else
// happens. What changes a gate or a breaker is reported at once.
const reportPeriod = time.Second

// A Config is what a Gossip works with.
type Config struct {
	Membership membership.Config // its Channels are filled in
	Registry   *targets.Registry
	// Self returns what this gateway reports of itself; its Targets are filled in.
	Self func() Report
	Log  zerolog.Logger
}

// A Gossip is the gateway's part in its stamp: it reports to the others what this
// gateway has seen, and feeds what they report to the registry.
type Gossip struct {
	cfg     Config
	members *membership.Membership
	channel *membership.Channel
	news    chan struct{} // holds one: the registry has something new to report
	leave   chan struct{} // closed by Leave
	ended   chan struct{} // closed when this gateway has left

	// Used by Run alone.
	last, pressed sent // what was broadcast last, and last as urgent
	version       uint64
	received      map[string]received // by member, so that each message is read once
}

// received is a member's report.
type received struct {
	seq    uint64
	report Report
}

// NewGossip checks the membership's configuration. It starts nothing. From here on
// the gateways of the stamp share the tests of targets that fail. Options are for
// tests.
func NewGossip(cfg Config, opts ...membership.Option) (*Gossip, error) {
	cfg.Membership.Channels = []membership.ChannelVersions{Channel()}
	m, err := membership.New(cfg.Membership, opts...)
	if err != nil {
		return nil, err
	}
	cfg.Registry.SetProbeOwner(func(k policy.Key) bool { return m.Owner(k.Origin + " " + k.Deployment) })
	return &Gossip{
		cfg: cfg, members: m, channel: m.Channel(Channel().Name),
		news: make(chan struct{}, 1), leave: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// Wake has the registry's news reported now. It never blocks.
func (g *Gossip) Wake() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// Run is in the stamp until ctx ends or Leave is called. That gossip cannot start, or
// ends, is logged and is no reason for a gateway to stop.
func (g *Gossip) Run(ctx context.Context) {
	defer close(g.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.members.Run(ctx) }()
	tick := time.NewTicker(reportPeriod)
	defer tick.Stop()
	for {
		changed := g.members.Changed()
		g.receive(time.Now())
		g.send(time.Now())
		select {
		case <-changed:
		case <-g.news:
		case <-tick.C:
		case <-g.leave:
			cancel()
			g.logEnd(<-done)
			return
		case err := <-done:
			g.logEnd(err)
			return
		}
	}
}

func (g *Gossip) logEnd(err error) {
	if err != nil {
		g.cfg.Log.Error().Err(err).Msg("gossip ended, this gateway works on local evidence alone")
	}
}

// send broadcasts this gateway's report, if it differs from what peers have.
func (g *Gossip) send(now time.Time) {
	r := g.cfg.Self()
	r.Targets = g.cfg.Registry.Export(now)
	r, cut := r.normalise()
	g.channel.Dropped(membership.Cut, cut)
	next, version := sent{r, now}, g.channel.Version()
	urgency := membership.Routine
	switch {
	case version != g.version || next.pressing(g.pressed):
		urgency = membership.Urgent
		g.pressed, g.version = next, version
	case !next.busier(g.last):
		return
	}
	g.last = next
	g.channel.Broadcast(version, r.encode(), urgency)
}

// receive hands what the peers report to the registry, aged to now.
func (g *Gossip) receive(now time.Time) {
	var all []targets.Report
	before := g.received
	g.received = make(map[string]received, len(before))
	for _, m := range g.channel.Messages() {
		got, ok := before[m.Member.Name]
		if !ok || got.seq != m.Seq {
			r, err := Decode(m.Version, m.Payload)
			if err != nil {
				g.channel.Dropped(membership.Malformed, 1)
			}
			got = received{m.Seq, r}
		}
		g.received[m.Member.Name] = got
		for _, t := range got.report.Targets {
			all = append(all, t.After(now.Sub(m.At)))
		}
	}
	g.cfg.Registry.ApplyRemote(now, all)
}

// Leave says goodbye to the stamp and waits until that is done. It may be called
// once, while Run runs.
func (g *Gossip) Leave(ctx context.Context) error {
	close(g.leave)
	select {
	case <-g.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Owner reports whether this gateway is the one of its stamp that should do a job,
// see membership.
func (g *Gossip) Owner(job string) bool { return g.members.Owner(job) }

// Addr is the address that peers reach this gateway at, invalid until gossip listens.
func (g *Gossip) Addr() netip.AddrPort { return g.members.LocalAddr() }

// Status is what operators see.
func (g *Gossip) Status() membership.Status { return g.members.Status() }

// Detail shows the stamp's members in the health document.
func (g *Gossip) Detail() *health.Gossip {
	out, view := &health.Gossip{}, g.members.View()
	reports := map[string]Report{view.Self.Name: g.cfg.Self()}
	for _, m := range g.channel.Messages() {
		reports[m.Member.Name], _ = Decode(m.Version, m.Payload) // counted by receive
	}
	for _, m := range view.Members {
		r := reports[m.Name]
		out.Members = append(out.Members, health.Member{Name: m.Gateway, State: "alive", PolicySerial: r.PolicySerial, Ready: readiness(r.Health)})
	}
	for _, n := range g.members.Status().Dropped {
		out.Dropped += n
	}
	return out
}

// readiness reads the word that a report has for it.
func readiness(word string) health.Status {
	good := []health.Status{health.Pass, health.Warn}
	if i := slices.IndexFunc(good, func(s health.Status) bool { return s.String() == word }); i >= 0 {
		return good[i]
	}
	return health.Fail
}
