package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// unwise warns of what is legal but will be regretted.
func (c *check) unwise() {
	for i, s := range c.doc.Stamps {
		if i >= maxStamps {
			break
		}
		path := at("stamps", i)
		if len(s.Fallback) == 0 {
			c.warn(path+".fallback", "is empty: when the backends of %s fail, this stamp has nowhere to go", quote(s.Region))
		}
		if !c.backendIn[s.Region] {
			c.warn(path+".region", "%s has no backend of its own: every call crosses to another region", quote(s.Region))
		}
	}
	if len(c.found.Faults) == 0 { // else what is missing may only have been refused
		for i, r := range c.routes {
			c.unwiseRoute(at("routes", i), r)
			c.unwiseTimes(at("routes", i), &c.doc.Routes[i])
		}
		c.unwiseBackends()
	}
	c.unwiseClients()
	if c.doc.Residency.RegionalProcessing == geo.InRegion && c.doc.Residency.Processing != geo.AtRest {
		c.warn("residency.regionalProcessing", "takes Microsoft's narrower sentence: its pages say that a regional deployment is processed in its region, and also that it may be processed anywhere in the region's geography for operational purposes (deployment types, 2026-08-06); make sure which of them your contract holds to")
	}
	for _, zone := range slices.Sorted(maps.Keys(c.doc.Residency.DataZones)) {
		c.narrowZone(zone)
	}
}

func (c *check) unwiseRoute(path string, r *CompiledRoute) {
	distinct := make(map[*Target]bool)
	for _, s := range c.doc.Stamps[:min(len(c.doc.Stamps), maxStamps)] {
		tiers := r.tiers[s.Region]
		own := false
		for _, tier := range tiers {
			own = own || !tier.Passive
			for _, t := range tier.Targets {
				distinct[t] = true
			}
		}
		switch {
		case len(tiers) == 0 && r.tiers != nil:
			c.warn(path, "cannot be served by the stamp in %s: there is no target for it", quote(s.Region))
		case !own && r.tiers != nil && c.backendIn[s.Region]:
			c.warn(path, "has no target in %s, which has a stamp: %s at version %s is only in other regions", quote(s.Region), quote(r.Model), quote(r.Version))
		}
	}
	if len(distinct) == 1 {
		c.warn(path, "has one target: when it fails or is throttled, nothing else can serve")
	}
}

// What Front Door allows an origin until its first byte: 30 s unless configured
// otherwise, 240 s at most.
const (
	frontDoorDefault = 30 * time.Second
	frontDoorMost    = 240 * time.Second
)

// unwiseTimes warns of waits that a front door on the way cuts short. Traffic
// Manager is not on the way, and a default is nobody's choice: only what is
// written is told.
func (c *check) unwiseTimes(path string, r *Route) {
	quiet := time.Duration(r.Timeouts.FirstByte)
	if r.EarlyHead != 0 {
		quiet = time.Duration(r.EarlyHead)
	}
	switch {
	case quiet > frontDoorMost: // earlyHead cannot be so long
		c.warn(path+".timeouts.firstByte", "%s is more than Front Door waits for a first byte, %s at most: behind it, set earlyHead", r.Timeouts.FirstByte, frontDoorMost)
	case quiet > frontDoorDefault && r.EarlyHead == 0:
		c.warn(path+".timeouts.firstByte", "%s is more than Front Door waits for a first byte unless configured otherwise, %s: behind it, raise its origin timeout or set earlyHead", r.Timeouts.FirstByte, frontDoorDefault)
	case quiet > frontDoorDefault:
		c.warn(path+".earlyHead", "%s is more than Front Door waits for a first byte unless configured otherwise, %s: behind it, raise its origin timeout or shorten this", r.EarlyHead, frontDoorDefault)
	}
	if answer := time.Duration(r.Timeouts.Answer); answer > frontDoorMost {
		c.warn(path+".timeouts.answer", "%s is more than Front Door waits for a plain answer, %s at most: behind it, such calls must be streamed", r.Timeouts.Answer, frontDoorMost)
	}
}

func (c *check) unwiseBackends() {
	used := make(map[string]bool)
	for t := range c.used {
		used[t.Backend] = true
	}
	for i, b := range c.doc.Backends {
		if !used[b.Name] {
			c.warn(at("backends", i), "is used by no route: no stamp has it among its tiers")
		}
	}
}

func (c *check) unwiseClients() {
	for i := range c.doc.Clients[:min(len(c.doc.Clients), maxClients)] {
		cl, path := &c.doc.Clients[i], at("clients", i)
		if len(cl.Keys) == 0 && len(cl.Entra) == 0 {
			c.warn(path, "has neither keys nor entra: nobody can sign in as %s", quote(cl.Name))
		}
		if len(cl.Routes) == 0 {
			c.warn(path+".routes", "is empty: %s may call nothing", quote(cl.Name))
		}
		for j, k := range cl.Keys[:min(len(cl.Keys), maxKeys)] {
			switch p := at(path+".keys", j) + ".notAfter"; {
			case k.NotAfter.IsZero():
				c.warn(p, "is missing: the key never expires")
			case !c.opt.Now.IsZero() && !c.opt.Now.Before(k.NotAfter):
				c.warn(p, "has passed: the key is refused, remove it")
			}
		}
	}
}

// narrowZone warns where a document makes a zone smaller than it was known to
// be when this was written.
func (c *check) narrowZone(zone string) {
	said := c.doc.Residency.DataZones[zone]
	var missing []geo.Country
	known, _ := geo.LookupDataZone(zone)
	for _, country := range known.Countries {
		if !slices.Contains(said, country) {
			missing = append(missing, country)
		}
	}
	if len(missing) > 0 {
		c.warn("residency.dataZones."+printable(zone), "leaves out %s, which Azure counts to the zone as far as was known on %s: make sure", list(missing), known.Known)
	}
}
