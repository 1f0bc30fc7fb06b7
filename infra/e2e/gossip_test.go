package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/stampview"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
	"github.com/stampgate/stampgate/stamp/membership"
)

// P3: the same faults cost as many requests without gossip as with it, and as
// with a member that lies about every target as fast as it can: none.
func TestP3GossipOffOrPoisoned(t *testing.T) {
	for _, tt := range []struct {
		name   string
		gossip bool
		lie    func(targets.Report) targets.Report // nil: nobody lies
	}{
		{"gossip off", false, nil},
		{"gossip on", true, nil},
		{"a member says that every breaker is open", true, func(r targets.Report) targets.Report {
			r.Breaker, r.BreakerFor, r.InFlight = breaker.Open, time.Hour, 1<<30
			return r
		}},
		{"a member says that every target is throttled", true, func(r targets.Report) targets.Report {
			r.Gate = time.Hour
			return r
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := e2e.Start(t, e2e.Options{Gateways: 2, Gossip: tt.gossip, Clients: []string{"second"}, Latency: azuresim.Latency{Tokens: 1}})
			if tt.lie != nil {
				startLiar(t, s, tt.lie)
			}
			tr := startTraffic(t, s, s.Gateways...)
			tr.more(s, 100)
			setFault(t, s, "swedencentral-ptu", azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500})
			tr.more(s, 100)
			setFault(t, s, "swedencentral-ptu", azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "1"})
			tr.more(s, 50)
			setFault(t, s, "swedencentral-ptu")
			tr.more(s, 100)
			tr.wantAllServed(t)
		})
	}
}

// startLiar joins the stamp as a member that has all that membership asks for,
// and lies of every target as fast as it can.
func startLiar(t *testing.T, s *e2e.Stack, lie func(targets.Report) targets.Report) {
	t.Helper()
	m, err := membership.New(membership.Config{
		Boundary: "eu", Region: "swedencentral", Name: "liar", Listen: "127.0.0.1:0",
		Join: []string{s.Gateways[0].Gossip}, Logger: zerolog.Nop(), Channels: []membership.ChannelVersions{stampview.Channel()},
	})
	if err != nil {
		t.Fatal(err)
	}
	var report stampview.Report
	for _, name := range []string{"swedencentral-ptu", "swedencentral-std"} {
		for _, deployment := range []string{"gpt-4o", "embed"} {
			report.Targets = append(report.Targets, lie(targets.Report{Key: policy.Key{Origin: s.Sim.Instance(name).URL(), Deployment: deployment}}))
		}
	}
	channel := m.Channel(stampview.Channel().Name)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("the liar: %v", err)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r := report
				r.Health = fmt.Sprint(n % 2)
				channel.Broadcast(channel.Version(), r.Encode(), membership.Urgent)
			}
		}
	})
	for _, g := range s.Gateways {
		s.Await(g.Name+" receives the liar's reports", func() bool { return s.Status(g).Gossip.Reports >= 2 })
	}
}
