package targets

import (
	"slices"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// MayRetry reports whether another attempt may follow one that ended with o: by
// the kind of the outcome and the attempts already made. Whether the retry can be
// paid for, Next finds out. Call it once for each attempt.
func (s *Selection) MayRetry(now time.Time, o Outcome) bool {
	if o.Kind.Final() {
		return false
	}
	if o.Kind == Retired {
		s.retired |= 1 << min(s.attempts-1, 63)
	}
	if o.Kind == Throttled {
		s.gates++
	}
	if o.Kind.Free() {
		// It cost nothing. But what was known to fail and was asked all the same counts:
		// an outage in which every request tries every target would multiply the load.
		switch {
		case o.Kind == Throttled:
		case s.forced:
			return s.payKnownBad(now)
		case o.Kind == DeploymentMissing, o.Kind == Retired:
		default:
			s.plan.budget.Free(now)
		}
		s.owes = s.costly > 0
		return true
	}
	s.costly++
	s.tiers |= s.lastTier()
	if s.costly >= maxAttempts(s.req.Route) || !s.repeatable(o) {
		return false
	}
	if s.forced {
		return s.payKnownBad(now)
	}
	s.owes = true
	return true
}

// lastTier returns the bit of the tier of the last attempt.
func (s *Selection) lastTier() uint64 {
	last := s.triedMore
	if s.attempts <= triedInline {
		last = s.tried[:s.attempts]
	}
	for i := range s.plan.tiers {
		if slices.Contains(s.plan.tiers[i].states, last[len(last)-1]) {
			return tierBit(i)
		}
	}
	return 0
}

// payKnownBad pays at once for a retry after an attempt that was forced.
func (s *Selection) payKnownBad(now time.Time) bool {
	s.token = s.plan.budget.WithdrawKnownBad(now)
	if f := s.reg.hooks.Load().budgetSpent; f != nil && !s.token.Valid() {
		f(s.req.Route.Name)
	}
	return s.token.Valid()
}

// repeatable: a request that may have reached the backend in full is repeated
// only if that does no harm, and, where no answer came, if the policy agrees.
func (s *Selection) repeatable(o Outcome) bool {
	switch {
	case !o.Sent:
		return true
	case !s.req.Stateless:
		return false
	case o.Kind == ServerError, o.Kind == GaveUp:
		return true // it was answered: nothing ambiguous about it
	}
	return s.req.Route.RepeatAmbiguous
}

func maxAttempts(r *policy.CompiledRoute) int {
	if r.MaxAttempts <= 0 {
		return 3
	}
	return r.MaxAttempts
}

// pay withdraws what the retry costs. Without a token the request is stuck while a
// target without a sign of failure is left, and has failed where none is.
func (s *Selection) pay() bool {
	if !s.owes || s.token.Valid() {
		return true
	}
	if s.token = s.plan.budget.Withdraw(s.now); s.token.Valid() {
		s.unpaid = false
		return true
	}
	s.stuck = s.mayWait() && s.hopeful()
	if !s.unpaid {
		s.unpaid = true
		if f := s.reg.hooks.Load().budgetSpent; f != nil {
			f(s.req.Route.Name)
		}
	}
	return false
}
