package policy

import (
	"iter"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// A Snapshot is a compiled policy. It never changes after Compile returns it
// and shares no memory with its source, so any number of goroutines may read it
// without a lock. A request loads it once and keeps it to its end.
type Snapshot struct {
	serial   uint64
	digest   string // sha256 of the canonical document, hex
	fence    *geo.Fence
	stamps   map[geo.RegionID]*StampRules
	routes   map[string]*CompiledRoute
	clients  map[[32]byte]*keyGrant // by sha256 of the key
	byClient map[string]*Principal
	targets  []*Target
}

// Serial returns the publication's number; 0 for a policy read from a file.
func (s *Snapshot) Serial() uint64 { return s.serial }

// Digest returns the SHA-256 of the canonical document, in hex.
func (s *Snapshot) Digest() string { return s.digest }

// Boundary returns the boundary that the policy is for.
func (s *Snapshot) Boundary() geo.Boundary { return s.fence.Boundary() }

// Route returns the route that clients call by this name.
func (s *Snapshot) Route(name string) (*CompiledRoute, bool) {
	r, ok := s.routes[name]
	return r, ok
}

// Routes yields every route, in the order of the document.
func (s *Snapshot) Routes() iter.Seq[*CompiledRoute] {
	return func(func(*CompiledRoute) bool) {}
}

// Targets yields every target of the boundary, each once.
func (s *Snapshot) Targets() iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, t := range s.targets {
			if !yield(t) {
				return
			}
		}
	}
}

// Stamp returns the rules of the region's stamp.
func (s *Snapshot) Stamp(region geo.RegionID) (*StampRules, bool) {
	r, ok := s.stamps[region]
	return r, ok
}

// ClientByKey returns the client whose key has this SHA-256, unless the key's
// notAfter has passed. The lookup is by the hash of what was presented, so its
// timing tells nothing of a stored key.
func (s *Snapshot) ClientByKey(sum [32]byte, now time.Time) (*Principal, bool) {
	g, ok := s.clients[sum]
	if !ok || (!g.notAfter.IsZero() && !now.Before(g.notAfter)) {
		return nil, false
	}
	return g.client, true
}

type keyGrant struct {
	client   *Principal
	notAfter time.Time
}

// A Principal is a client that was admitted.
type Principal struct {
	Name   string
	routes map[string]bool
}

// May reports whether the route is granted to the client.
func (p *Principal) May(route string) bool { return p.routes[route] }

// StampRules are the parts of a policy that concern one stamp.
type StampRules struct {
	Region     geo.RegionID
	Fallback   []geo.RegionID
	FallbackOn FallbackOn
	Health     StampHealth
}

// A CompiledRoute has its defaults filled in and its tiers worked out for each
// stamp.
type CompiledRoute struct {
	Name            string
	Model           string
	Version         string
	Required        bool
	Connect         time.Duration
	FirstByte       time.Duration
	Idle            time.Duration
	Total           time.Duration
	MaxAttempts     int // that may have cost a backend work
	RepeatAmbiguous bool
	ProbeLongGates  bool
	tiers           map[geo.RegionID][]CompiledTier
}

// Tiers returns the route's tiers for the stamp of a region, best first. The
// caller must not change the result.
func (r *CompiledRoute) Tiers(region geo.RegionID) []CompiledTier { return r.tiers[region] }

// A CompiledTier holds targets that are tried as equals.
type CompiledTier struct {
	Targets []*Target
	// Passive: the targets stand in another region than the stamp's own.
	Passive bool
}

// A Key names a target wherever its state is kept: two routes to the same
// deployment of the same endpoint share it.
type Key struct {
	Origin     string // scheme://host[:port]
	Deployment string
}

// A Target is one deployment that a request may be sent to.
type Target struct {
	geo.Target // admitted by the boundary's fence

	Key        Key
	Backend    string
	Kind       Kind
	Deployment string
	Model      string
	Version    string
	// Weight is the target's share among its equals, > 0: PTU or tokens per
	// minute as declared, 1 where nothing is.
	Weight      float64
	Provisioned bool
	Credential  Credential
	Scope       string
}
