package stampview

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

const here geo.RegionID = "swedencentral"

// document has the targets that the fixtures report, and two of another region.
const document = `
boundary: eu
residency: {countries: [SE, FR]}
stamps: [{region: swedencentral}, {region: francecentral}]
backends:
  - {name: ptu, region: swedencentral, endpoint: "https://swc-ptu.openai.azure.com", credential: {apiKeyEnv: KEY},
     deployments: [{name: gpt-5.4, model: m, version: "1", sku: Standard}, {name: gpt-5.4-mini, model: n, version: "1", sku: Standard}]}
  - {name: std, region: swedencentral, endpoint: "https://swc-std.openai.azure.com", credential: {apiKeyEnv: KEY},
     deployments: [{name: gpt-5.4, model: m, version: "1", sku: Standard}]}
  - {name: frc, region: francecentral, endpoint: "https://frc.openai.azure.com", credential: {apiKeyEnv: KEY},
     deployments: [{name: gpt-5.4, model: m, version: "1", sku: Standard}, {name: gpt-5.4-mini, model: n, version: "1", sku: Standard}]}
routes: [{name: m, model: m, version: "1"}, {name: n, model: n, version: "1"}]
`

func snapshot(t *testing.T) *policy.Snapshot {
	t.Helper()
	doc, err := policy.Decode([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A gateway is a Gossip that runs on an in-memory network.
type gateway struct {
	*Gossip
	t        *testing.T
	registry *targets.Registry
	snapshot *policy.Snapshot
	draining atomic.Bool
	at       *membertest.Transport
}

func start(t *testing.T, net *membertest.Network, name string, seeds ...*gateway) *gateway {
	t.Helper()
	g := &gateway{t: t, registry: targets.New(here), snapshot: snapshot(t), at: net.Next()}
	g.registry.Advance(g.snapshot)
	mc := membertest.Config(0)
	mc.Name = name
	for _, s := range seeds {
		mc.Join = append(mc.Join, s.at.Addr().String())
	}
	var err error
	g.Gossip, err = NewGossip(Config{
		Membership: mc, Registry: g.registry, Self: func() Report { return Report{Health: "pass", PolicySerial: 7, Draining: g.draining.Load()} },
		Log: zerolog.New(t.Output()),
	}, membership.WithTransport(g.at))
	if err != nil {
		t.Fatal(err)
	}
	g.registry.OnChange(func(targets.Change) { g.Wake() })
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-g.members.Started()
	return g
}

// throttle has the target throttled: several clients are told to wait.
func (g *gateway) throttle(origin string, wait time.Duration) {
	g.t.Helper()
	route, _ := g.snapshot.Route("m")
	stamp, _ := g.snapshot.Stamp(here)
	for n := range 4 {
		s := g.registry.Begin(targets.Request{Route: route, Stamp: stamp, Region: here, Client: fmt.Sprint(n), Stateless: true})
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		for ticket, ok := s.Next(time.Now(), rng); ok; ticket, ok = s.Next(time.Now(), rng) {
			if ticket.Target.Key.Origin != origin {
				ticket.Observe(time.Now(), targets.Outcome{Kind: targets.Canceled})
				continue
			}
			ticket.Observe(time.Now(), targets.Outcome{Kind: targets.Throttled, Signals: targets.Signals{RetryAfter: wait}})
			break
		}
	}
}

// caution returns what the gateway holds against a target of its region.
func (g *gateway) caution(origin, deployment string) targets.Report {
	all := g.registry.Cautions(time.Now(), here).Targets
	i := slices.IndexFunc(all, func(r targets.Report) bool { return r.Key == keyOf(origin, deployment) })
	if i < 0 {
		return targets.Report{}
	}
	return all[i]
}

const ptu = "https://swc-ptu.openai.azure.com"

// A 429 at one gateway is known to its peers at once, and ends there when it ends at
// the first.
func TestAGateReachesPeersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 1)
		a := start(t, net, "a")
		b := start(t, net, "b", a)
		membertest.Await(t, 10*time.Second, "two members", func() bool { return len(a.Status().Members) == 2 && len(b.Status().Members) == 2 })
		time.Sleep(10 * time.Second)
		a.throttle(ptu, 20*time.Second)
		took := membertest.Await(t, 150*time.Millisecond, "the peer knows", func() bool { return b.caution(ptu, "gpt-5.4").Gate > 0 })
		t.Logf("known after %v", took)
		if got, want := b.caution(ptu, "gpt-5.4").Gate, 20*time.Second; got < want-time.Second || got > want+2*time.Second {
			t.Errorf("held for %v, want about %v", got, want)
		}
		time.Sleep(23 * time.Second)
		if got := b.caution(ptu, "gpt-5.4").Gate; got != 0 {
			t.Errorf("still held for %v", got)
		}
	})
}

// Where nothing happens a gateway broadcasts once, and what it says of itself goes
// out when it changes.
func TestOnlyNewsIsBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 2)
		a := start(t, net, "a")
		b := start(t, net, "b", a)
		membertest.Await(t, 10*time.Second, "a report", func() bool { return len(b.channel.Messages()) == 1 })
		time.Sleep(time.Minute)
		if m := b.channel.Messages()[0]; m.Seq != 1 {
			t.Errorf("%d messages in an idle minute, want 1", m.Seq)
		}
		a.draining.Store(true)
		a.Wake()
		membertest.Await(t, 150*time.Millisecond, "draining is known", func() bool {
			r, err := Decode(1, b.channel.Messages()[0].Payload)
			return err == nil && r.Draining
		})
		d := b.Detail()
		if len(d.Members) != 2 || d.Members[0].Name != "a" || d.Members[0].PolicySerial != 7 || d.Members[0].Ready != health.Pass {
			t.Errorf("detail %+v", d)
		}
		if err := a.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		membertest.Await(t, 5*time.Second, "a has left", func() bool { return len(b.Detail().Members) == 1 })
	})
}

// A member that sends what is no report is counted, and changes nothing.
func TestAPayloadThatIsNoReportIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 3)
		a := start(t, net, "a")
		cfg := membertest.Config(9, a.at.Addr())
		cfg.Channels = []membership.ChannelVersions{{Name: Channel().Name, Versions: []uint64{1, 2}}}
		peer := membertest.Start(t, net.Next(), cfg)
		for i, version := range []uint64{1, 2} {
			payload := []byte("no report")
			if version == 2 {
				payload = firstReport().Encode() // of a version that we do not read
			}
			peer.Channel(Channel().Name).Broadcast(version, payload, membership.Urgent)
			membertest.Await(t, 10*time.Second, "counted", func() bool { return a.Status().Dropped["malformed"] == uint64(i+1) })
		}
		time.Sleep(time.Minute)
		if n := a.Status().Dropped["malformed"]; n != 2 {
			t.Errorf("%d payloads counted, want each once", n)
		}
		if c := a.caution(ptu, "gpt-5.4"); !c.Idle() {
			t.Errorf("%+v", c)
		}
	})
}

// A gateway of this build, members of the first build and of a later one in one
// stamp: what the others report is understood here.
func TestReportsOfOtherBuildsInOneStamp(t *testing.T) {
	for _, folder := range []string{"first", "newer"} {
		t.Run(folder, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := membertest.NewNetwork(t, 4)
				a := start(t, net, "a")
				other := membertest.OtherBuild(t, folder)
				via := membertest.Start(t, net.Next(), membertest.Config(1, a.at.Addr())) // it does not have the channel at all
				membertest.Await(t, 10*time.Second, "two members", func() bool { return len(a.Status().Members) == 2 })
				other.Start(t, net.Next(), via)
				membertest.Await(t, 20*time.Second, "the gate is known", func() bool {
					c := a.caution(ptu, "gpt-5.4")
					return c.Gate > 10*time.Second && c.Gate < 25*time.Second
				})
				if c := a.caution(ptu, "gpt-5.4-mini"); c.Breaker != breaker.Open {
					t.Errorf("the breaker is not known: %+v", c)
				}
				found := slices.ContainsFunc(a.Detail().Members, func(m health.Member) bool { return m.PolicySerial == 42 && m.Ready == health.Warn })
				if !found {
					t.Errorf("detail %+v", a.Detail())
				}
			})
		})
	}
}
