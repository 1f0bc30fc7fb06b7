package e2e_test

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// A target that is down is tested by one gateway of the stamp, not by each: when
// the time open is over one half-open probe arrives, and the outcome is told to
// the others. Until then nothing arrives at all.
func TestOneHalfOpenProbePerStamp(t *testing.T) {
	s := e2e.Start(t, e2e.Options{
		Gateways: 3, Gossip: true, Clients: []string{"second", "third"}, Latency: azuresim.Latency{Tokens: 1},
	})
	ptu := s.Sim.Instance("swedencentral-ptu")
	tr := startTraffic(t, s, s.Gateways...)
	tr.more(s, 30)
	setFault(t, s, "swedencentral-ptu", azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500})
	for _, g := range s.Gateways {
		s.Await(g.Name+" opens its breaker", func() bool { return target(s, g, "swedencentral-ptu").Breaker != breaker.Closed })
	}
	tr.more(s, 30)
	allOpen := time.Now()
	probes := func() []azuresim.Record { return after(calls(ptu), allOpen) }
	s.Await("the first probe", func() bool { return len(probes()) > 0 })
	// A second round cannot begin yet: a breaker is open for at least 5 s.
	first := probes()[0].Start
	s.Await("3 s have passed", func() bool { return time.Since(first) > 3*time.Second })
	if n := len(probes()); n != 1 {
		t.Errorf("%d probes of the target in 3 s, want one of the whole stamp", n)
	}
	t.Logf("the probe came %v after the last breaker opened", first.Sub(allOpen).Round(time.Millisecond))

	ptu.ClearFaults()
	back := time.Now()
	for _, g := range s.Gateways {
		s.Await(g.Name+" readmits", func() bool { return target(s, g, "swedencentral-ptu").Breaker == breaker.Closed })
	}
	t.Logf("all three readmitted it %v after it was well again", time.Since(back).Round(time.Millisecond))
	failed := 0
	for _, r := range probes() {
		if r.Status != 200 {
			failed++
		}
	}
	t.Logf("%d requests failed on it from the last opening to the readmission, in %v", failed, time.Since(allOpen).Round(time.Millisecond))
	tr.wantAllServed(t)
}
