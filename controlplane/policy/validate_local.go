package policy

import (
	"maps"
	"slices"

	"github.com/stampgate/stampgate/geo"
)

// localResidency holds the document against the process's own configuration:
// "even a validly signed policy cannot go beyond them" (P2).
func (c *check) localResidency() {
	local := c.opt.Local
	if local == nil {
		return
	}
	own := *local
	own.AllowLoopback = c.opt.AllowLoopback
	fence, err := geo.NewFence(own)
	if err != nil {
		c.fault("residency", "cannot be held against this process's own residency, which is not sound: %v", err)
		return
	}
	c.local = fence
	r := c.doc.Residency
	if c.doc.Boundary != local.Boundary {
		c.fault("boundary", "%s, but this process belongs to boundary %s: it takes no other's policy", quote(c.doc.Boundary), quote(local.Boundary))
	}
	for i, country := range r.Countries[:min(len(r.Countries), maxCountries)] {
		if !fence.Contains(country) {
			c.fault(at("residency.countries", i), "%s is not among the countries of this process's own residency (%s): remove it, or change the process's configuration first",
				quote(country), list(local.Countries))
		}
	}
	if r.Processing == geo.AtRest && local.Processing != geo.AtRest {
		c.fault("residency.processing", "at-rest is wider than this process's own residency, which wants in-boundary: remove it, or change the process's configuration first")
	}
	if r.RegionalProcessing == geo.InRegion && local.RegionalProcessing != geo.InRegion {
		c.fault("residency.regionalProcessing", "region is wider than this process's own residency, which counts the whole geography: remove it, or change the process's configuration first")
	}
	if local.RequirePrivateAddresses && !r.RequirePrivateAddresses {
		c.fault("residency.requirePrivateAddresses", "is not set, but this process's own residency demands it: set it to true")
	}
	for _, zone := range slices.Sorted(maps.Keys(local.DataZones)) {
		c.zoneNotLaxer(zone, local.DataZones[zone])
	}
}

// zoneNotLaxer refuses a zone that the document makes smaller than the process
// knows it to be: that is how a zone that reaches outside would look inside.
func (c *check) zoneNotLaxer(zone string, known []geo.Country) {
	said, ok := c.doc.Residency.DataZones[zone]
	if !ok {
		said = geo.DefaultDataZones()[zone]
	}
	var missing []geo.Country
	for _, country := range known {
		if !slices.Contains(said, country) {
			missing = append(missing, country)
		}
	}
	if len(missing) > 0 {
		c.fault("residency.dataZones."+printable(zone), "leaves out %s, which this process's own residency counts to the zone: add them", list(missing))
	}
}
