package gateway

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	// digestPeriod is how often a stamp's digest is written.
	digestPeriod = 2 * time.Second
	// digestLife is how long another stamp's digest is believed: three periods,
	// so that one late write changes nothing.
	digestLife = 3 * digestPeriod
	// digestTargets bounds what is read of a digest, which anybody with access to
	// the boundary's etcd could have written.
	digestTargets = 2048
)

// A digest is what a stamp says of its own region's targets to the stamps that
// may fall back to it. Waits are remaining times: no clocks are compared.
type digest struct {
	Gateway string         `json:"gateway"`
	Targets []digestTarget `json:"targets"` // those that call for caution
	Load    digestLoad     `json:"load"`
}

type digestTarget struct {
	Origin     string `json:"origin"`
	Deployment string `json:"deployment"`
	GateMS     int64  `json:"gateMs,omitempty"`
	Breaker    string `json:"breaker,omitempty"`
}

// digestLoad is for status alone.
type digestLoad struct {
	InFlight int `json:"inFlight"`
}

// writeDigest writes the stamp's digest while this gateway is the one of its
// stamp that should: all members agree on who that is, and where they do not, or
// there is no gossip, several write, each what it knows. It runs beside the requests and never holds one up.
func (g *gateway) writeDigest(ctx context.Context) {
	tick := time.NewTicker(digestPeriod)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if g.isDraining() || g.gossip != nil && !g.gossip.members.Owner("digest") {
			continue
		}
		payload, err := json.Marshal(g.ownDigest(time.Now()))
		if err == nil {
			err = g.store.PutDigest(ctx, g.cfg.Boundary, g.cfg.Region, payload)
		}
		if err != nil && !failing && ctx.Err() == nil {
			g.log.Warn().Err(telemetry.Foreign(err)).Msg("the stamp's digest is not written: other stamps learn by their own first attempt")
		}
		failing = err != nil
	}
}

// ownDigest sums up what the stamp knows: this gateway's evidence and its peers'.
func (g *gateway) ownDigest(now time.Time) digest {
	d := digest{Gateway: g.cfg.Name, Targets: []digestTarget{}}
	known := g.registry.Cautions(now, g.cfg.Region)
	d.Load.InFlight = known.InFlight
	for _, t := range known.Targets {
		out := digestTarget{Origin: t.Key.Origin, Deployment: t.Key.Deployment, GateMS: t.Gate.Milliseconds()}
		if t.Breaker != breaker.Closed {
			out.Breaker = t.Breaker.String()
		}
		d.Targets = append(d.Targets, out)
	}
	return d
}

// watchDigests takes in what other stamps say of their regions. It can only add
// caution, and ends by itself when the other stamp falls silent.
func (g *gateway) watchDigests(ctx context.Context) error {
	return g.store.WatchDigests(ctx, g.cfg.Boundary, func(region geo.RegionID, payload json.RawMessage) {
		if region == g.cfg.Region || payload == nil {
			return
		}
		hints, err := g.hints(region, payload)
		if err != nil {
			g.log.Warn().Err(telemetry.Foreign(err)).Str("of", string(region)).Msg("digest not understood")
			return
		}
		g.registry.ApplyHint(time.Now(), hints, digestLife)
	})
}

// hints reads a digest. A stamp is heard on targets of its own region alone.
func (g *gateway) hints(region geo.RegionID, payload json.RawMessage) ([]targets.Report, error) {
	var d digest
	if err := json.Unmarshal(payload, &d); err != nil {
		return nil, err
	}
	s := g.follower.Snapshot()
	if s == nil {
		return nil, nil
	}
	var out []targets.Report
	for _, t := range d.Targets[:min(len(d.Targets), digestTargets)] {
		key := policy.Key{Origin: t.Origin, Deployment: t.Deployment}
		if known, ok := s.Target(key); !ok || known.Region() != region {
			continue
		}
		h := targets.Report{Key: key, Gate: time.Duration(max(t.GateMS, 0)) * time.Millisecond}
		if t.Breaker == breaker.Open.String() {
			h.Breaker = breaker.Open
		}
		out = append(out, h)
	}
	return out, nil
}
