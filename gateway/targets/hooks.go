package targets

import (
	"github.com/stampgate/stampgate/controlplane/policy"
)

// A Change is a transition of one target's machines, for metrics and logs.
type Change struct {
	Key     policy.Key
	Backend string
	// Machine is gate, breaker, identity, deployment, retirement, operation or model.
	Machine string
	// From and To are the machine's states: clear and throttled for a gate; closed,
	// open and half-open for a breaker (open lets nothing through); ok and alarm;
	// present and missing; served and retired; allowed and forbidden; right and other.
	From, To string
}

type hooks struct {
	change      func(Change)
	budgetSpent func(route string)
	probeOwner  func(policy.Key) bool
}

// OnChange has f called after each transition, from the goroutine that caused
// it and with no lock held. What only the passing of time changes, such as the
// end of a gate, is not told.
func (r *Registry) OnChange(f func(Change)) { r.setHooks(func(h *hooks) { h.change = f }) }

// OnBudgetSpent has f called when a retry is refused because the route's budget
// is spent.
func (r *Registry) OnBudgetSpent(f func(route string)) {
	r.setHooks(func(h *hooks) { h.budgetSpent = f })
}

// SetProbeOwner makes half-open probes, and tests of long gates, the business of
// one gateway of the stamp: f says whether this one owns a target's probes. If
// the owner does nothing within a grace period, others probe too. nil: all own.
func (r *Registry) SetProbeOwner(f func(policy.Key) bool) {
	r.setHooks(func(h *hooks) { h.probeOwner = f })
}

func (r *Registry) setHooks(set func(*hooks)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := *r.hooks.Load()
	set(&h)
	r.hooks.Store(&h)
}

func (r *Registry) changed(st *state, before, after standing) {
	f := r.hooks.Load().change
	if f == nil || before == after {
		return
	}
	c := Change{Key: st.key}
	if t := st.target.Load(); t != nil {
		c.Backend = t.Backend
	}
	tell := func(machine, from, to string) {
		if from != to {
			c.Machine, c.From, c.To = machine, from, to
			f(c)
		}
	}
	tell("breaker", before.health.String(), after.health.String())
	for _, m := range [...]struct {
		machine, off, on string
		before, after    bool
	}{
		{"gate", "clear", "throttled", before.gated, after.gated},
		{"identity", "ok", "alarm", before.alarm, after.alarm},
		{"deployment", "present", "missing", before.missing, after.missing},
		{"retirement", "served", "retired", before.retired, after.retired},
		{"operation", "allowed", "forbidden", before.forbidden, after.forbidden},
		{"model", "right", "other", before.model, after.model},
	} {
		names := map[bool]string{false: m.off, true: m.on}
		tell(m.machine, names[m.before], names[m.after])
	}
}
