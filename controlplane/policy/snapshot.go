package policy

import (
	"crypto/sha256"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// A Snapshot is a compiled policy. It never changes after Compile returns it
// and shares no memory with its source, so any number of goroutines may read it
// without a lock. A request loads it once and keeps it to its end.
type Snapshot struct {
	serial     uint64
	digest     string // of the document as it came
	fence      *geo.Fence
	stamps     map[geo.RegionID]*StampRules
	routes     map[string]*CompiledRoute
	ordered    []*CompiledRoute
	keys       map[[sha256.Size]byte]keyGrant // by sha256 of the key
	entra      map[EntraClient]*Principal     // in small letters
	principals []*Principal
	targets    []*Target
	byKey      map[Key]*Target
	debug      bool
	references *References
	others     map[geo.Boundary]string // addresses of other boundaries' gateways
}

// Serial returns the publication's number; 0 for a policy read from a file.
func (s *Snapshot) Serial() uint64 { return s.serial }

// Digest returns the digest of the document as it came: Options.Digest.
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
	return slices.Values(s.ordered)
}

// RequiredRoutes yields the routes that count for the stamp's health, in the
// order of the document.
func (s *Snapshot) RequiredRoutes() iter.Seq[*CompiledRoute] {
	return func(yield func(*CompiledRoute) bool) {
		for _, r := range s.ordered {
			if r.Required && !yield(r) {
				return
			}
		}
	}
}

// Targets yields every target of the boundary, each once.
func (s *Snapshot) Targets() iter.Seq[*Target] {
	return slices.Values(s.targets)
}

// Target returns the target of that key.
func (s *Snapshot) Target(key Key) (*Target, bool) {
	t, ok := s.byKey[key]
	return t, ok
}

// DebugHeaders reports whether replies may name the targets that were tried.
func (s *Snapshot) DebugHeaders() bool { return s.debug }

// References returns what becomes of external references in requests.
func (s *Snapshot) References() *References { return s.references }

// OtherBoundary returns the address of another boundary's gateways, if the policy
// gives it.
func (s *Snapshot) OtherBoundary(name geo.Boundary) (string, bool) {
	address, ok := s.others[name]
	return address, ok
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
	g, ok := s.keys[sum]
	if !ok || (!g.notAfter.IsZero() && !now.Before(g.notAfter)) {
		return nil, false
	}
	return g.client, true
}

// ClientByEntra returns the client that an application of a tenant signs in as.
// Both are GUIDs; case does not matter.
func (s *Snapshot) ClientByEntra(tenant, application string) (*Principal, bool) {
	p, ok := s.entra[EntraClient{Tenant: tenant, Application: application}.folded()]
	return p, ok
}

func (e EntraClient) folded() EntraClient {
	return EntraClient{Tenant: strings.ToLower(e.Tenant), Application: strings.ToLower(e.Application)}
}

// Principals yields every client, in the order of the document.
func (s *Snapshot) Principals() iter.Seq[*Principal] { return slices.Values(s.principals) }

// A Caller is a client and the proof by which it was admitted.
type Caller struct {
	*Principal

	Key   [sha256.Size]byte // the SHA-256 of its key; zero if it came with a token
	Entra EntraClient       // whom its token is of; zero if it came with a key
}

// Admits reports whether the caller would be admitted by this snapshot, as the
// same client, and returns the client as it is here. The caller may come from an
// earlier snapshot.
func (s *Snapshot) Admits(c Caller, now time.Time) (*Principal, bool) {
	if c.Principal == nil {
		return nil, false
	}
	var p *Principal
	var ok bool
	if c.Entra != (EntraClient{}) {
		p, ok = s.ClientByEntra(c.Entra.Tenant, c.Entra.Application)
	} else {
		p, ok = s.ClientByKey(c.Key, now)
	}
	return p, ok && p.Name == c.Name
}

// NextExpiry returns when the next key of a client expires; false if none does.
func (s *Snapshot) NextExpiry(after time.Time) (next time.Time, ok bool) {
	for _, g := range s.keys {
		if g.notAfter.After(after) && (next.IsZero() || g.notAfter.Before(next)) {
			next = g.notAfter
		}
	}
	return next, !next.IsZero()
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
	FirstByte       time.Duration // of a stream
	Answer          time.Duration // of one attempt at a plain answer; at most Total
	EarlyHead       time.Duration // 0: none
	Idle            time.Duration
	Total           time.Duration
	MaxAttempts     int // that may have cost a backend work
	RepeatAmbiguous bool
	ProbeLongGates  bool
	tiers           map[geo.RegionID][]CompiledTier
}

// Tiers returns the route's tiers for the stamp of a region, best first; none
// for a region that has no stamp. The caller must not change the result.
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
	// Weight is the target's share among its equals, > 0: as declared, else its
	// PTU or tokens per minute in units of the mean of those that have the same
	// model, version and class, else 1 (an average one).
	Weight      float64
	Provisioned bool
	Credential  Credential
	Scope       string
	Probe       Probe
	// TokensPerMinute is the declared quota of a standard deployment, 0 if unknown.
	TokensPerMinute int
	// AvoidMismatch: the policy wants a target avoided that answers as another model.
	AvoidMismatch bool

	names  map[string]bool // what answers may call the model; nil: not compared
	others map[string]bool // what the document calls its other models
}
