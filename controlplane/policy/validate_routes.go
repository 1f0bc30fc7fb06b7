package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// What a route gets where the document says nothing.
const (
	defaultConnect   = 2 * time.Second
	defaultFirstByte = 30 * time.Second
	defaultIdle      = time.Minute
	defaultTotal     = 10 * time.Minute
	defaultAttempts  = 3
	mostAttempts     = 10
	leastTimeout     = time.Millisecond
	leastEarlyHead   = time.Second
	mostEarlyHead    = 4 * time.Minute // the longest that Front Door waits for an origin
)

func (c *check) allRoutes() {
	routes := c.doc.Routes
	if len(routes) == 0 {
		c.fault("routes", "is empty: name at least one")
	}
	if !c.count("routes", len(routes), maxRoutes) {
		return
	}
	names := make(unique)
	gathered := make(map[modelVersion]map[geo.RegionID][]CompiledTier)
	for i := range routes {
		r, path := &routes[i], at("routes", i)
		if c.name(path+".name", r.Name, deploymentForm()) {
			names.add(c, path+".name", strings.ToLower(r.Name), "name (case aside)")
		}
		named := c.name(path+".model", r.Model, modelForm())
		named = c.name(path+".version", r.Version, modelForm()) && named
		c.timeouts(path+".timeouts", r.Timeouts)
		c.earlyHead(path, r)
		if m := r.Attempts.Max; m < 0 || m > mostAttempts {
			c.fault(path+".attempts.max", "%d: want 1 to %d, or leave it out", m, mostAttempts)
		}
		compiled := compileRoute(r)
		mv := modelVersion{r.Model, r.Version}
		switch {
		case len(r.Tiers) > 0:
			compiled.tiers = c.writtenTiers(path, r)
		case named && len(c.byModel[mv]) == 0:
			c.noDeployment(path, mv)
		default:
			// Routes to the same model share their tiers: they cannot differ.
			if gathered[mv] == nil {
				gathered[mv] = c.gatherTiers(mv)
			}
			compiled.tiers = gathered[mv]
		}
		c.routes = append(c.routes, compiled)
	}
}

func (c *check) noDeployment(path string, mv modelVersion) {
	var versions []string
	named := false
	for _, b := range c.doc.Backends {
		for _, d := range b.Deployments {
			named = named || (d.Model == mv.model && d.Version == mv.version && !d.SKU.Batch())
			if d.Model == mv.model && d.Version != mv.version && !slices.Contains(versions, d.Version) {
				versions = append(versions, d.Version)
			}
		}
	}
	switch {
	case named: // there is one, refused for a reason that is told already
	case len(versions) > 0:
		c.fault(path+".version", "no deployment for online calls has model %s at version %s: the versions there are: %s", quote(mv.model), quote(mv.version), list(versions))
	default:
		c.fault(path+".model", "no deployment for online calls has model %s at version %s: add one, or remove the route", quote(mv.model), quote(mv.version))
	}
}

func (c *check) timeouts(path string, t Timeouts) {
	within := func(field string, d Duration, most time.Duration) {
		if d != 0 && (time.Duration(d) < leastTimeout || time.Duration(d) > most) {
			c.fault(path+"."+field, "%s: want %s to %s, or leave it out", d, leastTimeout, most)
		}
	}
	within("connect", t.Connect, time.Minute)
	within("firstByte", t.FirstByte, 30*time.Minute)
	within("idle", t.Idle, 30*time.Minute)
	within("answer", t.Answer, 24*time.Hour)
	within("total", t.Total, 24*time.Hour)
	if t.Total == 0 {
		t.Total = Duration(defaultTotal)
	}
	notOver := func(field string, d Duration) {
		if d > t.Total {
			c.fault(path+"."+field, "%s is longer than the total of %s: shorten it, or raise total", d, t.Total)
		}
	}
	notOver("connect", t.Connect)
	notOver("firstByte", t.FirstByte)
	notOver("answer", t.Answer)
}

// earlyHead must leave a stream the time to begin by itself, and must come before
// a balancer gives up.
func (c *check) earlyHead(path string, r *Route) {
	if d := time.Duration(r.EarlyHead); d != 0 && (d < leastEarlyHead || d > mostEarlyHead) {
		c.later(path+".earlyHead", "%s: want %s to %s, or leave it out", r.EarlyHead, leastEarlyHead, mostEarlyHead)
	}
}

// compileRoute fills in the defaults. A default never exceeds a total that the
// operator chose shorter.
func compileRoute(r *Route) *CompiledRoute {
	or := func(d Duration, otherwise time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return time.Duration(d)
	}
	yes := func(b *bool) bool { return b == nil || *b }
	total := or(r.Timeouts.Total, defaultTotal)
	attempts := r.Attempts.Max
	if attempts == 0 {
		attempts = defaultAttempts
	}
	return &CompiledRoute{
		Name: r.Name, Model: r.Model, Version: r.Version, Required: yes(r.Required),
		Connect:         or(r.Timeouts.Connect, min(defaultConnect, total)),
		FirstByte:       or(r.Timeouts.FirstByte, min(defaultFirstByte, total)),
		Idle:            or(r.Timeouts.Idle, min(defaultIdle, total)),
		Answer:          or(r.Timeouts.Answer, total),
		EarlyHead:       time.Duration(r.EarlyHead),
		Total:           total,
		MaxAttempts:     attempts,
		RepeatAmbiguous: yes(r.Attempts.RepeatAmbiguous),
		ProbeLongGates:  yes(r.Attempts.ProbeLongGates),
	}
}

// writtenTiers checks tiers that were written out by hand, and works out which
// stamp gets which.
func (c *check) writtenTiers(path string, r *Route) map[geo.RegionID][]CompiledTier {
	path += ".tiers"
	if !c.count(path, len(r.Tiers), maxTiers) {
		return nil
	}
	tiers := make(map[geo.RegionID][]CompiledTier, len(c.stampAt))
	first := make(map[tierTarget]string)
	for i, tier := range r.Tiers {
		p := at(path, i)
		if _, ok := c.stampAt[tier.Region]; !ok && tier.Region != "" {
			c.fault(p+".region", "%s has no stamp: correct the name, or leave it out for every stamp", quote(tier.Region))
		}
		if len(tier.Targets) == 0 {
			c.fault(p+".targets", "is empty: name targets as backend/deployment, or remove the tier")
		}
		if !c.count(p+".targets", len(tier.Targets), maxTierTargets) {
			continue
		}
		var targets []*Target
		for j, name := range tier.Targets {
			tp := at(p+".targets", j)
			c.repeated(tp, name, tier.Region, first)
			if t := c.tierTarget(tp, name, r); t != nil {
				targets = append(targets, t)
				c.used[t] = true
			}
		}
		targets = slices.Clip(targets) // shared by stamps: nobody may append in place
		for region := range c.stampAt {
			if (tier.Region == "" || tier.Region == region) && len(targets) > 0 {
				tiers[region] = append(tiers[region], CompiledTier{Targets: targets, Passive: allElsewhere(targets, region)})
			}
		}
	}
	return tiers
}

// A tierTarget is a target as one stamp ("" for all) sees it.
type tierTarget struct {
	region geo.RegionID
	name   string
}

// repeated refuses a target that some stamp would meet twice.
func (c *check) repeated(path, name string, region geo.RegionID, first map[tierTarget]string) {
	clashes := []geo.RegionID{region, ""}
	if region == "" {
		for r := range c.stampAt {
			clashes = append(clashes, r)
		}
		slices.Sort(clashes)
	}
	for _, other := range clashes {
		if before, again := first[tierTarget{other, name}]; again {
			c.fault(path, "%s is already in %s: name a target once", quote(name), before)
			return
		}
	}
	first[tierTarget{region, name}] = path
}

func (c *check) tierTarget(path, name string, r *Route) *Target {
	t := c.byName[name]
	switch {
	case t == nil && c.named[name]:
		// Refused for a reason that is told at the deployment.
	case t == nil:
		c.fault(path, "%s is not a target: want backend/deployment of this document", quote(name))
	case t.Model != r.Model || t.Version != r.Version:
		c.fault(path, "%s has model %s at version %s, but the route stands for %s at %s: a route never mixes versions",
			quote(name), quote(t.Model), quote(t.Version), quote(r.Model), quote(r.Version))
	case t.SKU().Batch():
		c.fault(path, "%s is of type %s, which serves no online call: remove it", quote(name), t.SKU())
	default:
		return t
	}
	return nil
}

func allElsewhere(targets []*Target, region geo.RegionID) bool {
	return !slices.ContainsFunc(targets, func(t *Target) bool { return t.Region() == region })
}

// gatherTiers works out the tiers of a model for every stamp: "same region
// provisioned; same region standard; then each fallback region, standard before
// provisioned, so that a passive region's reserved capacity stays for its own
// clients".
func (c *check) gatherTiers(mv modelVersion) map[geo.RegionID][]CompiledTier {
	type place struct {
		region      geo.RegionID
		provisioned bool
	}
	groups := make(map[place][]*Target)
	for _, t := range c.byModel[mv] {
		p := place{t.Region(), t.Provisioned}
		groups[p] = append(groups[p], t)
	}
	tiers := make(map[geo.RegionID][]CompiledTier, len(c.stampAt))
	for region, i := range c.stampAt {
		order := []place{{region, true}, {region, false}}
		for _, passive := range c.doc.Stamps[i].Fallback {
			order = append(order, place{passive, false}, place{passive, true})
		}
		for _, p := range order {
			if group := groups[p]; len(group) > 0 {
				tiers[region] = append(tiers[region], CompiledTier{Targets: slices.Clip(group), Passive: p.region != region})
				for _, t := range group {
					c.used[t] = true
				}
			}
		}
	}
	return tiers
}
