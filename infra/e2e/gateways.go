package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/geo"
)

// A Gateway is one gateway of the stack.
type Gateway struct {
	gateway.Addresses
	Name   string
	Region geo.RegionID
	Config gateway.Config
	stop   func()

	running bool
}

func (s *Stack) newGateway(region geo.RegionID, n int) *Gateway {
	name := fmt.Sprintf("eu-%s-%d", region, n)
	cfg := gateway.Config{
		Boundary: "eu", Region: region, Name: name, Listen: "127.0.0.1:0",
		Admin:     &gateway.Admin{Listen: "127.0.0.1:0"},
		Residency: gateway.Residency{Countries: []geo.Country{"SE", "NL", "IE", "FR", "DE"}},
		Policy: gateway.Policy{
			Etcd:        &gateway.Etcd{Endpoints: s.addresses.Etcd["eu"]},
			TrustedKeys: []string{s.addresses.PublicKey.String()},
			CacheDir:    filepath.Join(s.dir, name),
		},
		Drain:         gateway.Drain{Notice: policy.Duration(time.Millisecond), Timeout: policy.Duration(Limit / 2)},
		AllowLoopback: true,
	}
	if s.Options.TLS {
		cfg.TLS = gateway.TLS{CertFile: filepath.Join(s.dir, "gateway.pem"), KeyFile: filepath.Join(s.dir, "gateway.key")}
	}
	if s.Options.Configure != nil {
		s.Options.Configure(&cfg)
	}
	return &Gateway{Name: name, Region: region, Config: cfg}
}

// StartGateway starts a gateway, for the first time or again, and waits until it
// is ready.
func (s *Stack) StartGateway(g *Gateway) {
	s.T.Helper()
	cfg := g.Config
	if s.Options.Gossip {
		cfg.Gossip = &gateway.Gossip{Listen: "127.0.0.1:0", Join: s.seeds[g.Region], Fast: true}
	}
	ready := make(chan gateway.Addresses, 1)
	g.stop = s.goRun(g.Name, func(ctx context.Context) error {
		return gateway.Run(ctx, cfg, gateway.Options{Log: s.log, Ready: func(a gateway.Addresses) { ready <- a }})
	})
	select {
	case g.Addresses = <-ready:
	case <-time.After(Limit):
		s.T.Fatalf("gateway %s is not ready", g.Name)
	}
	g.running = true
	if s.Options.Gossip {
		s.awaitGossip(g)
	}
}

// awaitGossip waits until the gateway and all of its stamp that run know each
// other.
func (s *Stack) awaitGossip(g *Gateway) {
	s.T.Helper()
	s.Await(g.Name+" gossips", func() bool {
		status := s.Status(g)
		if status.Gossip == nil || !status.Gossip.Addr.IsValid() {
			return false
		}
		g.Gossip = status.Gossip.Addr.String()
		return true
	})
	s.seeds[g.Region] = append(s.seeds[g.Region], g.Gossip)
	stamp := s.stamp(g.Region)
	for _, member := range stamp {
		s.Await(fmt.Sprintf("%s knows %d members", member.Name, len(stamp)), func() bool {
			return len(s.Status(member).Gossip.Members) >= len(stamp)
		})
	}
}

// stamp returns the gateways of a region that run.
func (s *Stack) stamp(region geo.RegionID) (all []*Gateway) {
	for _, g := range s.Gateways {
		if g.Region == region && g.running {
			all = append(all, g)
		}
	}
	return all
}

// Stop drains and ends the gateway.
func (g *Gateway) Stop() {
	g.running = false
	g.stop()
}
