package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/stampgate/stampgate/geo"
)

// snapshot puts a document without faults into its compiled form. Everything
// that the document owns and could change is copied.
func (c *check) snapshot() *Snapshot {
	s := &Snapshot{
		serial: c.opt.Serial, digest: c.opt.Digest, fence: c.fence,
		stamps:  make(map[geo.RegionID]*StampRules, len(c.doc.Stamps)),
		routes:  make(map[string]*CompiledRoute, len(c.routes)),
		keys:    make(map[[sha256.Size]byte]keyGrant),
		entra:   make(map[EntraClient]*Principal),
		targets: c.targets,
		byKey:   make(map[Key]*Target, len(c.targets)),
		ordered: c.routes,
		debug:   c.doc.DebugHeaders,

		references: compileReferences(c.doc.ExternalReferences, c.doc.Residency.Processing),
		others:     make(map[geo.Boundary]string, len(c.doc.OtherBoundaries)),
	}
	for name, address := range c.doc.OtherBoundaries {
		s.others[geo.Boundary(name)] = address
	}
	for i := range c.doc.Stamps {
		rules := compileStamp(&c.doc.Stamps[i])
		s.stamps[rules.Region] = rules
	}
	for _, r := range c.routes {
		s.routes[r.Name] = r
	}
	for _, t := range c.targets {
		s.byKey[t.Key] = t
	}
	for i := range c.doc.Clients {
		s.addClient(&c.doc.Clients[i])
	}
	return s
}

func compileStamp(s *Stamp) *StampRules {
	rules := &StampRules{
		Region: s.Region, Fallback: slices.Clone(s.Fallback), FallbackOn: s.FallbackOn, Health: s.Health,
	}
	if rules.FallbackOn == "" {
		rules.FallbackOn = FallbackOnAny
	}
	if rules.Health.OnlyPassive == "" {
		rules.Health.OnlyPassive = Warn
	}
	if rules.Health.AllThrottled == "" {
		rules.Health.AllThrottled = Warn
	}
	return rules
}

func (s *Snapshot) addClient(cl *Client) {
	p := &Principal{Name: cl.Name, routes: make(map[string]bool, len(cl.Routes))}
	for _, r := range cl.Routes {
		p.routes[r] = true
	}
	s.principals = append(s.principals, p)
	for _, k := range cl.Keys {
		var sum [sha256.Size]byte
		if _, err := hex.Decode(sum[:], []byte(k.SHA256)); err != nil {
			panic("policy: snapshot of a document that was not validated")
		}
		s.keys[sum] = keyGrant{p, k.NotAfter}
	}
	for _, e := range cl.Entra {
		s.entra[e.folded()] = p
	}
}
