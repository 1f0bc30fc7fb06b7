package health

import (
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// WatchConfig is where a Watch looks. Nothing here may ask anybody outside this
// process.
type WatchConfig struct {
	Machine  *Machine
	Registry *targets.Registry
	Region   geo.RegionID
	Snapshot func() *policy.Snapshot // nil: no policy is in force
	// CredentialsUsable: for at least one backend of the snapshot there is a credential.
	CredentialsUsable func(*policy.Snapshot) bool
	// Draining and RegionDrained are what Inputs says of them.
	Draining, RegionDrained func() bool
}

// A Watch feeds a Machine with what the gateway knows. While nothing happens it
// looks again only at those routes that could get better by themselves.
type Watch struct {
	cfg WatchConfig

	mu       sync.Mutex // orders looks, and guards the fields below
	policy   *policy.Snapshot
	compiled []*policy.CompiledRoute
	routes   []Route
	troubled []int // in routes: those to look at, which their own region does not serve
}

// NewWatch returns a watch that has not looked yet.
func NewWatch(cfg WatchConfig) *Watch { return &Watch{cfg: cfg} }

// Look has the machine evaluate what is known now. The gateway calls it each Period,
// and when something has to show at once.
func (w *Watch) Look(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cfg.Machine.Evaluate(w.inputs(now))
}

// inputs are what the machine looks at. The caller holds mu.
func (w *Watch) inputs(now time.Time) Inputs {
	in := Inputs{Now: now, Draining: w.cfg.Draining(), RegionDrained: w.cfg.RegionDrained()}
	s := w.cfg.Snapshot()
	if s == nil {
		return in
	}
	in.PolicyLoaded, in.Policy = true, s.Digest()
	in.CredentialsUsable = w.cfg.CredentialsUsable(s)
	if rules, ok := s.Stamp(w.cfg.Region); ok {
		in.Choice = rules.Health
	}
	in.Routes, in.SameRoutes = w.lookAtRoutes(now, s)
	return in
}

// lookAtRoutes returns the routes and whether they are as they were. The caller
// holds mu.
func (w *Watch) lookAtRoutes(now time.Time, s *policy.Snapshot) (routes []Route, same bool) {
	quiet := w.cfg.Registry.Quiet(targets.ForHealth)
	if same = quiet && w.policy == s; !same {
		w.read(s)
	}
	left := w.troubled[:0]
	for _, i := range w.troubled {
		a := w.cfg.Registry.Serves(now, targets.RequestOf(s, w.compiled[i], w.cfg.Region))
		if a != w.routes[i].Availability {
			w.routes[i].Availability, same = a, false
		}
		if a != targets.OwnAvailable {
			left = append(left, i)
		}
	}
	w.troubled = left
	return w.routes, same
}

// read begins anew: every route is to be looked at.
func (w *Watch) read(s *policy.Snapshot) {
	w.policy, w.compiled, w.routes, w.troubled = s, w.compiled[:0], w.routes[:0], w.troubled[:0]
	for r := range s.Routes() {
		w.troubled = append(w.troubled, len(w.routes))
		w.compiled = append(w.compiled, r)
		w.routes = append(w.routes, Route{Name: r.Name, Required: r.Required})
	}
}
