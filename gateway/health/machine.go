package health

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/gateway/targets"
)

// A Machine turns evaluations into damped answers. Evaluate and Drain may be
// called by any goroutine; readers take what was last shown without a lock.
type Machine struct {
	mu      sync.Mutex // guards the fields below; nothing is called out while it is held
	ready   damper
	stamp   damper
	routes  map[string]*routeState
	last    Inputs // without Routes
	began   bool   // a policy has been in force
	drained bool   // by Drain; for good
	// settled: the same inputs once more would change nothing but the time.
	settled bool

	// words holds the document of each Status that says nothing more.
	words [Pass + 1]*answer
	now   atomic.Pointer[view]
}

// routeState is what the machine keeps of a route.
type routeState struct {
	damper
	required bool
	left     targets.Availability
}

// view is what readers see. It never changes.
type view struct {
	at      time.Time // of the evaluation; zero before the first
	policy  bool
	summary Summary
	ready   *answer
	stamp   *answer
	routes  map[string]*answer
}

// A Summary is the state in short, for presence and gossip.
type Summary struct {
	Ready    Status
	Stamp    Status
	Draining bool
	// Routes are all routes of the policy, sorted by name. Not to be changed.
	Routes []RouteSummary
}

func (s Summary) equal(o Summary) bool {
	return s.Ready == o.Ready && s.Stamp == o.Stamp && s.Draining == o.Draining && slices.Equal(s.Routes, o.Routes)
}

// A RouteSummary is the state of one route.
type RouteSummary struct {
	Name         string
	Required     bool
	Status       Status
	Availability targets.Availability
}

// NewMachine returns a machine that says fail until its first evaluation.
func NewMachine() *Machine {
	m := &Machine{routes: map[string]*routeState{}}
	for s := Fail; s <= Pass; s++ {
		m.words[s] = statusAnswer(s)
	}
	m.renew()
	return m
}

// Evaluate takes one look. It is a pure step of the machine: the time comes
// with the inputs.
func (m *Machine) Evaluate(in Inputs) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled && in.SameRoutes && m.asBefore(&in) {
		p := *m.now.Load()
		m.last.Now, p.at = in.Now, in.Now
		m.now.Store(&p)
		return
	}
	if in.Policy != m.last.Policy {
		m.stamp.forget()
		for _, r := range m.routes {
			r.forget()
		}
	}
	m.ready.next(in.Now, in.ready(), false)
	m.stamp.next(in.Now, in.stamp(), true)
	m.evaluateRoutes(&in)
	if !m.began && !in.PolicyLoaded {
		// Still starting: nothing is known yet, so that the first policy
		// decides at once instead of rising slowly.
		m.ready, m.stamp = damper{}, damper{}
		for _, r := range m.routes {
			r.damper = damper{}
		}
	}
	m.began = m.began || in.PolicyLoaded
	m.last = in
	m.last.Routes = nil
	m.settled = m.rests(&in)
	m.force()
	m.renew()
}

// asBefore compares what is not about routes.
func (m *Machine) asBefore(in *Inputs) bool {
	return !m.drained && in.PolicyLoaded == m.last.PolicyLoaded && in.Policy == m.last.Policy &&
		in.CredentialsUsable == m.last.CredentialsUsable && in.Draining == m.last.Draining &&
		in.RegionDrained == m.last.RegionDrained && in.Choice == m.last.Choice
}

// rests reports whether every damper shows what it sees, and nothing is forced.
func (m *Machine) rests(in *Inputs) bool {
	if m.drained || in.Draining || in.RegionDrained || !in.PolicyLoaded || !m.ready.rests() || !m.stamp.rests() {
		return false
	}
	for _, r := range m.routes {
		if !r.rests() {
			return false
		}
	}
	return true
}

// Drain fails readiness and the stamp now, and for good.
func (m *Machine) Drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drained = true
	m.force()
	m.renew()
}

// Summary returns the state as last shown.
func (m *Machine) Summary() Summary { return m.now.Load().summary }

// evaluateRoutes takes each route one step further and forgets those that the
// policy no longer has.
func (m *Machine) evaluateRoutes(in *Inputs) {
	seen := make(map[string]bool, len(in.Routes))
	for _, r := range in.Routes {
		seen[r.Name] = true
		st := m.routes[r.Name]
		if st == nil {
			st = &routeState{}
			m.routes[r.Name] = st
		}
		st.required, st.left = r.Required, r.Availability
		st.next(in.Now, min(in.ready(), r.status(in.Choice)), true)
	}
	maps.DeleteFunc(m.routes, func(name string, _ *routeState) bool { return !seen[name] })
}

// force puts the drains into effect, which nothing damps.
func (m *Machine) force() {
	if m.draining() {
		m.ready.fail()
		m.stamp.fail()
	}
	if m.last.RegionDrained {
		m.stamp.fail()
	}
}

func (m *Machine) draining() bool { return m.drained || m.last.Draining }

// renew makes the present state visible.
func (m *Machine) renew() {
	s := Summary{
		Ready:    m.ready.shown,
		Stamp:    m.stamp.shown,
		Draining: m.draining(),
		Routes:   make([]RouteSummary, 0, len(m.routes)),
	}
	for name, st := range m.routes {
		s.Routes = append(s.Routes, RouteSummary{name, st.required, st.shown, st.left})
	}
	slices.SortFunc(s.Routes, func(a, b RouteSummary) int { return strings.Compare(a.Name, b.Name) })
	p := &view{at: m.last.Now, policy: m.last.PolicyLoaded, summary: s}
	if old := m.now.Load(); old != nil && old.summary.equal(s) {
		p.summary, p.ready, p.stamp, p.routes = old.summary, old.ready, old.stamp, old.routes
	} else {
		p.ready, p.stamp = m.words[s.Ready], stampAnswer(s)
		p.routes = make(map[string]*answer, len(s.Routes))
		for _, r := range s.Routes {
			p.routes[r.Name] = m.words[r.Status]
		}
	}
	m.now.Store(p)
}
