// Package orders puts into effect what operators have ordered: which backends and
// regions get no new work, and whether this gateway or its region is to drain.
//
// Package follow says which orders are in force, by signature and by time; this
// package says what they mean here. It does no I/O and decides nothing else. The
// gateway's wiring hands it the orders; whoever admits work or answers for health
// asks it.
package orders

import (
	"sync/atomic"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// Drains are what takes no new work. It is safe for concurrent use.
type Drains struct {
	gateway  string
	region   geo.RegionID
	registry *targets.Registry

	gatewayOrdered, regionOrdered, stopping atomic.Bool
}

// New returns the drains of a gateway, with nothing drained. The registry is told
// of backends and regions.
func New(gateway string, region geo.RegionID, registry *targets.Registry) *Drains {
	return &Drains{gateway: gateway, region: region, registry: registry}
}

// Take puts orders in force in place of those before. Calls must not overlap.
func (d *Drains) Take(all []store.Order) {
	backends, regions := make(map[string]bool), make(map[geo.RegionID]bool)
	gateways := make(map[string]bool)
	for _, order := range all {
		if order.Action != store.Drain {
			continue
		}
		switch order.Kind {
		case store.BackendOrder:
			backends[order.Name] = true
		case store.RegionOrder:
			regions[geo.RegionID(order.Name)] = true
		case store.GatewayOrder:
			gateways[order.Name] = true
		}
	}
	d.gatewayOrdered.Store(gateways[d.gateway])
	d.regionOrdered.Store(regions[d.region])
	d.registry.SetDrained(backends, regions)
}

// Stop drains this gateway for good: its process is about to end.
func (d *Drains) Stop() { d.stopping.Store(true) }

// Gateway reports whether this gateway takes no new work, by order or for its end.
func (d *Drains) Gateway() bool { return d.stopping.Load() || d.gatewayOrdered.Load() }

// Region reports whether this gateway's region is to be left by the global router.
// The gateway still serves what arrives.
func (d *Drains) Region() bool { return d.regionOrdered.Load() }
