package e2e_test

import (
	"net/http"
	"testing"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// twoRegions starts a stamp in swedencentral and one in westeurope, and returns
// a gateway of each.
func twoRegions(t *testing.T, opt e2e.Options) (s *e2e.Stack, sweden, west *e2e.Gateway) {
	t.Helper()
	opt.Regions = []geo.RegionID{"swedencentral", "westeurope"}
	opt.Latency.Tokens = max(opt.Latency.Tokens, 1)
	s = e2e.Start(t, opt)
	for _, g := range s.Gateways {
		switch {
		case g.Region == "swedencentral" && sweden == nil:
			sweden = g
		case g.Region == "westeurope" && west == nil:
			west = g
		}
	}
	return s, sweden, west
}

// regionDown takes a region's instances away.
func regionDown(t *testing.T, s *e2e.Stack, region string) {
	t.Helper()
	for _, kind := range []string{"-ptu", "-std"} {
		setFault(t, s, region+kind, azuresim.Fault{Kind: azuresim.FaultDown})
	}
}

// served makes calls at a gateway that must all be served in a region.
func served(t *testing.T, s *e2e.Stack, g *e2e.Gateway, calls int, region string) {
	t.Helper()
	for n := range calls {
		resp := post(t, g, s.Key, chatPath, chatBody(false))
		text := read(t, resp)
		if got := resp.Header.Get("x-stampgate-region"); resp.StatusCode != http.StatusOK || got != region {
			t.Fatalf("call %d at %s: status %d, served in %q, want %s: %s", n, g.Name, resp.StatusCode, got, region, text)
		}
	}
}

// P5 between stamps: what westeurope's stamp knows of its targets keeps
// swedencentral's first attempts there away from the one that is gated, though
// it is the one that it would have begun with.
func TestDigestSparesGatedTargetOfTheOtherStamp(t *testing.T) {
	s, sweden, west := twoRegions(t, e2e.Options{Gossip: true})
	std, ptu := s.Sim.Instance("westeurope-std"), s.Sim.Instance("westeurope-ptu")
	setFault(t, s, "westeurope-ptu", azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "1", Count: 1})
	setFault(t, s, "westeurope-std", azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "60"})
	// Westeurope begins with its provisioned target, so that the refusal of that
	// leads to the one of the other.
	served(t, s, west, 1, "swedencentral")
	if target(s, west, "westeurope-std").Gate == 0 {
		t.Fatal("westeurope does not know that its own target is gated")
	}
	s.Await("swedencentral hears of it, and no more of the provisioned one's gate", func() bool {
		return target(s, sweden, "westeurope-std").Gate > 0 && target(s, sweden, "westeurope-ptu").Gate == 0 &&
			target(s, west, "westeurope-ptu").Gate == 0
	})
	regionDown(t, s, "swedencentral")
	std.ClearRecords()
	ptu.ClearRecords()
	served(t, s, sweden, 20, "westeurope")
	if n := len(calls(std)); n != 0 {
		t.Errorf("the gated target got %d requests of 20", n)
	}
	if n := len(calls(ptu)); n != 20 {
		t.Errorf("the other target got %d requests, want 20", n)
	}
}

// P3: with etcd gone no stamp hears of another. Then one 429 teaches it, and no
// request fails.
func TestWithoutDigestOneRefusalTeaches(t *testing.T) {
	s, sweden, _ := twoRegions(t, e2e.Options{Gossip: true})
	s.StopControl()
	setFault(t, s, "westeurope-std", azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "60"})
	regionDown(t, s, "swedencentral")
	served(t, s, sweden, 20, "westeurope")
	if n := len(calls(s.Sim.Instance("westeurope-std"))); n != 1 {
		t.Errorf("the gated target got %d requests of 20, want the one that taught", n)
	}
}
