package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/stampgate/stampgate/geo"
)

// regionalProcessing returns what the fence is made with: the document's word if
// it is one.
func (c *check) regionalProcessing(said geo.RegionalProcessing) geo.RegionalProcessing {
	switch said {
	case "", geo.InGeography, geo.InRegion:
		return said
	}
	c.fault("residency.regionalProcessing", "%s: want %s or %s, or leave it out", quote(said), geo.InGeography, geo.InRegion)
	return ""
}

// zone refuses a data zone that Azure does not have: a misspelt one would leave
// the true one as it is by default.
func (c *check) zone(path, zone string) bool {
	if _, known := geo.LookupDataZone(zone); known {
		return true
	}
	var names []string
	for _, z := range geo.DataZones() {
		names = append(names, z.Name)
	}
	c.fault(path, "is no data zone of Azure: want one of %s", list(names))
	return false
}

// modelRouter is the model of Azure that hands a call to another model.
const modelRouter = "model-router"

// beyondDeployment refuses what may be served by something else than the
// deployment itself, where processing must stay inside: Azure's model router, and
// a name for which Azure has a pool that spans the world.
func (c *check) beyondDeployment(path string, b *Backend, d *Deployment) {
	if b.Kind == OpenAICompatible || c.doc.Residency.Processing == geo.AtRest {
		return
	}
	if strings.EqualFold(d.Model, modelRouter) && len(d.ServedAs) == 0 {
		c.fault(path+".servedAs", "is missing: %s hands each call to a model of its choice; name the models that it may choose, or remove the deployment", modelRouter)
	}
	if b.InstantModels == InstantAllowed && c.namesModel(d.Name) {
		c.fault(path+".name", "%s is the name of a model, and the account allows instant models: were the deployment removed, Azure would serve the name from anywhere in the world; rename it, or empty the account's allow list",
			quote(d.Name))
	}
}

func (c *check) instantModels(path string, b *Backend) {
	switch b.InstantModels {
	case "", InstantNone, InstantAllowed:
	default:
		c.fault(path, "%s: want none or allowed, or leave it out", quote(b.InstantModels))
	}
}

// namesModel reports whether a deployment's name could be taken for a model's: it
// is one of the document's, or begins as those of Azure OpenAI do.
func (c *check) namesModel(name string) bool {
	folded := strings.ToLower(name)
	if c.models == nil {
		c.models = make(map[string]bool)
		for i := range c.doc.Backends {
			for _, d := range c.doc.Backends[i].Deployments[:min(len(c.doc.Backends[i].Deployments), maxDeployments)] {
				c.models[strings.ToLower(d.Model)] = true
			}
		}
	}
	for _, family := range []string{"gpt-", "o1", "o3", "o4", "text-embedding-", "model-router"} {
		if strings.HasPrefix(folded, family) {
			return true
		}
	}
	return c.models[folded]
}

func (c *check) externalReferences() {
	const path = "externalReferences"
	r := c.doc.ExternalReferences
	switch r.Rule {
	case "", ReferencesRefuse, ReferencesAllow:
	default:
		c.fault(path, "%s: want refuse, allow or {hosts: […]}", quote(r.Rule))
	}
	if !c.count(path+".hosts", len(r.Hosts), maxReferenceHosts) {
		return
	}
	seen := make(unique)
	for i, host := range r.Hosts {
		p := at(path+".hosts", i)
		if !geo.PlainHost(host) {
			c.fault(p, "%s: want the name of a host in small letters, without scheme, port or path (a name in another script is written as xn--…)", quote(host))
			continue
		}
		seen.add(c, p, host, "host")
	}
}

func (c *check) otherBoundaries() {
	const path = "otherBoundaries"
	if !c.count(path, len(c.doc.OtherBoundaries), maxBoundaries) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.OtherBoundaries)) {
		p := path + "." + printable(name)
		c.name(p, name, boundaryForm())
		if name == string(c.doc.Boundary) {
			c.fault(p, "is this boundary itself: remove it")
		}
		address := c.doc.OtherBoundaries[name]
		if origin, ok := geo.Origin(address); !ok || origin != strings.TrimSuffix(address, "/") || !strings.HasPrefix(origin, "https://") {
			c.fault(p, "is not the address of a gateway, such as https://us.gateway.example: want https and a host in small letters, without path or query")
		}
	}
}
