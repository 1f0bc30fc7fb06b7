package targets

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/budget"
	"github.com/stampgate/stampgate/gateway/pick"
	"github.com/stampgate/stampgate/geo"
)

// A Registry holds the state of every target. It is safe for concurrent use;
// requests share no lock but that of the target they are about to use.
type Registry struct {
	region geo.RegionID // of this gateway: plans of its stamp are made ahead
	base   time.Time    // origin of the times that are kept as nanoseconds
	seed   maphash.Seed // for the names of clients

	view   atomic.Pointer[view]
	drains atomic.Pointer[drains]
	hooks  atomic.Pointer[hooks]

	reaches reaches // what probes know, for health alone

	stirred  atomic.Uint32            // for whom something may have changed: bits of Watcher
	exported atomic.Bool              // the last Export had something to tell
	received atomic.Bool              // the last ApplyRemote had something to report
	doubts   atomic.Bool              // others' word keeps some target back
	cautions atomic.Pointer[Cautions] // the last, if it holds as long as nothing is stirred

	mu sync.Mutex // serialises changes of view; never held across a call out
}

// A view is the set of everything known, at one time. It never changes; what it
// points to does.
type view struct {
	states  map[policy.Key]*state
	plans   map[planKey]*plan
	before  map[planKey]*plan         // of the snapshot before: requests still hold it
	budgets map[string]*budget.Budget // by the route's name
}

// New returns a registry that knows no target, for a gateway in the region.
func New(region geo.RegionID) *Registry {
	r := &Registry{region: region, base: time.Now(), seed: maphash.MakeSeed()}
	r.view.Store(&view{
		states:  make(map[policy.Key]*state),
		plans:   make(map[planKey]*plan),
		budgets: make(map[string]*budget.Budget),
	})
	r.hooks.Store(&hooks{})
	return r
}

// Prepare makes state for the targets of a snapshot that is about to be in force and
// the plans of its routes, so that no request makes one. It takes nothing from
// requests of the snapshot before: the state of targets that only that one names
// goes when retire is called, once no new request sees it; requests that began under
// it end as they began. A deployment that was missing gets another chance.
func (r *Registry) Prepare(s *policy.Snapshot) (retire func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, now := r.view.Load(), time.Now()
	next := &view{
		states: maps.Clone(old.states), plans: make(map[planKey]*plan), before: old.plans, budgets: maps.Clone(old.budgets),
	}
	for t := range s.Targets() {
		st := old.states[t.Key]
		if st == nil {
			st = newState(r.base, t.Key)
		}
		st.advance(now, t)
		next.states[t.Key] = st
	}
	for route := range s.Routes() {
		if next.budgets[route.Name] == nil {
			next.budgets[route.Name] = new(budget.Budget)
		}
		if r.region != "" {
			next.plans[planKey{route, r.region}] = r.newPlan(next, route, route.Tiers(r.region))
		}
	}
	r.view.Store(next)
	r.stir()
	return func() { r.retire(s) }
}

// Advance prepares for a snapshot and retires what it does not name, for a registry
// that no request uses meanwhile.
func (r *Registry) Advance(s *policy.Snapshot) { r.Prepare(s)() }

// retire drops the state of what the snapshot does not name.
func (r *Registry) retire(s *policy.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.view.Load()
	next := &view{states: maps.Clone(old.states), plans: old.plans, before: old.before, budgets: maps.Clone(old.budgets)}
	maps.DeleteFunc(next.states, func(k policy.Key, _ *state) bool { _, named := s.Target(k); return !named })
	maps.DeleteFunc(next.budgets, func(name string, _ *budget.Budget) bool { _, named := s.Route(name); return !named })
	r.view.Store(next)
	r.stir()
}

// since turns a moment into nanoseconds after the registry was made. Both carry
// a monotonic reading, so a step of the wall clock moves no deadline.
func (r *Registry) since(t time.Time) int64 { return int64(t.Sub(r.base)) }

type planKey struct {
	route  *policy.CompiledRoute
	region geo.RegionID
}

// A plan is a route as one stamp sees it, with the state of each target at hand.
type plan struct {
	tiers  []tier
	count  int // distinct targets
	budget *budget.Budget
	queue  queue     // of requests that wait for their turn to repeat
	large  sizeGates // what fits no target
}

type tier struct {
	passive bool
	targets []*policy.Target
	states  []*state
	weights pick.Weights
	turns   *pick.Turns
	// doubted and claimed hold, for each target, until when peers' evidence keeps
	// it back for this route, in nanoseconds since the registry's base: that it
	// fails, and that it is throttled.
	doubted []atomic.Int64
	claimed []atomic.Int64
}

// plan returns the route's plan for a region. Those of this gateway's region were
// made when the policy came into force; others are made on first use.
func (r *Registry) plan(route *policy.CompiledRoute, region geo.RegionID) *plan {
	v, key := r.view.Load(), planKey{route, region}
	if p := v.plans[key]; p != nil {
		return p
	}
	if p := v.before[key]; p != nil {
		return p
	}
	return r.addPlan(route, region, route.Tiers(region))
}

// addPlan makes a plan that Advance did not. It copies all that is known, so it is
// for what is rare: another region's plan, and requests of a snapshot long gone.
func (r *Registry) addPlan(route *policy.CompiledRoute, region geo.RegionID, tiers []policy.CompiledTier) *plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.view.Load()
	key := planKey{route, region}
	if p := old.plans[key]; p != nil {
		return p
	}
	next := &view{states: maps.Clone(old.states), plans: maps.Clone(old.plans), before: old.before, budgets: maps.Clone(old.budgets)}
	p := r.newPlan(next, route, tiers)
	next.plans[key] = p
	r.view.Store(next)
	return p
}

// newPlan makes a plan with the states and budgets of a view that nobody else
// sees yet.
func (r *Registry) newPlan(v *view, route *policy.CompiledRoute, tiers []policy.CompiledTier) *plan {
	p := &plan{budget: v.budgets[route.Name]}
	if p.budget == nil {
		p.budget = new(budget.Budget)
		v.budgets[route.Name] = p.budget
	}
	seen := make(map[*state]bool)
	for _, t := range tiers {
		p.tiers = append(p.tiers, r.newTier(v.states, t, seen))
	}
	p.count = len(seen)
	return p
}

func (r *Registry) newTier(states map[policy.Key]*state, ct policy.CompiledTier, seen map[*state]bool) tier {
	t := tier{
		passive: ct.Passive, targets: ct.Targets, turns: pick.NewTurns(len(ct.Targets)),
		doubted: make([]atomic.Int64, len(ct.Targets)), claimed: make([]atomic.Int64, len(ct.Targets)),
	}
	weights := make([]float64, 0, len(ct.Targets))
	for i, target := range ct.Targets {
		st := states[target.Key]
		if st == nil { // a target of an older snapshot, for a request that still holds it
			st = newState(r.base, target.Key)
			st.advance(time.Now(), target)
			states[target.Key] = st
		}
		seen[st] = true
		t.states = append(t.states, st)
		t.doubted[i].Store(never)
		t.claimed[i].Store(never)
		weights = append(weights, target.Weight)
	}
	t.weights = pick.NewWeights(weights)
	return t
}

// client returns what stands for a client's name in the breakers.
func (r *Registry) client(name string) uint64 { return maphash.String(r.seed, name) }
