package targets

import (
	"maps"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// drains are the orders in force. They never change once stored.
type drains struct {
	backends map[string]bool
	regions  map[geo.RegionID]bool
}

// SetDrained replaces the set of drained backends (by name) and regions. No
// request begins on a drained backend; what runs there ends. A drained region is
// not used by other regions' stamps, while its own stamp still serves what
// arrives.
func (r *Registry) SetDrained(backends map[string]bool, regions map[geo.RegionID]bool) {
	defer r.stir()
	if len(backends) == 0 && len(regions) == 0 {
		r.drains.Store(nil)
		return
	}
	r.drains.Store(&drains{backends: maps.Clone(backends), regions: maps.Clone(regions)})
}

func (d *drains) excludes(t *policy.Target, passive bool) bool {
	return d.backends[t.Backend] || passive && d.regions[t.Region()]
}
