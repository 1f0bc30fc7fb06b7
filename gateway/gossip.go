package gateway

import (
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway/stampview"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

func (g *gateway) buildGossip() error {
	if g.cfg.Gossip == nil {
		return nil
	}
	mc := g.cfg.gossipConfig(g.log, g.metrics)
	if g.store != nil { // the stamp's members are remembered beside the policy
		mc.PeersFile = filepath.Join(g.cfg.Policy.CacheDir, "peers.json")
	}
	var err error
	g.gossip, err = stampview.NewGossip(stampview.Config{Membership: mc, Registry: g.registry, Self: g.ownReport, Log: g.log})
	return err
}

func (c Config) gossipConfig(log zerolog.Logger, metrics prometheus.Registerer) membership.Config {
	return membership.Config{
		Boundary: c.Boundary, Region: c.Region, Name: c.Name, Version: telemetry.Version(),
		Listen: c.Gossip.Listen, Advertise: c.Gossip.Advertise, Join: c.Gossip.Join, KeyFile: c.Gossip.KeyFile,
		TCPOnly: c.Gossip.TCPOnly, Fast: c.Gossip.Fast, Logger: log, Registerer: metrics,
	}
}

// ownReport is what this gateway reports of itself.
func (g *gateway) ownReport() stampview.Report {
	r := stampview.Report{Health: g.machine.Summary().Ready.String(), Draining: g.drains.Gateway()}
	if s := g.follower.Snapshot(); s != nil {
		r.PolicySerial = s.Serial()
	}
	return r
}

// digests are the stamp's own, and those of other stamps.
func (g *gateway) digests() *stampview.Digests {
	return &stampview.Digests{
		Boundary: g.cfg.Boundary, Region: g.cfg.Region, Gateway: g.cfg.Name,
		Store: g.store, Registry: g.registry, Snapshot: g.follower.Snapshot, Log: g.log,
		Mine: func() bool { return !g.drains.Gateway() && (g.gossip == nil || g.gossip.Owner("digest")) },
	}
}
