package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A reason says why a target cannot take a request now.
type reason uint8

const (
	fine          reason = iota
	gated                // for everyone, or requests of this client and size
	ejected              // by the breaker or for our identity, for everyone or for this client
	awaitingOwner        // to be probed, by another gateway of the stamp
	absent               // the deployment does not exist
	gone                 // the model is retired there
	forbiddenHere        // our identity may not do this operation there
	drained
	elsewhere // on another backend than the one the request is pinned to
)

// probeGrace is how long others wait for the owner of a probe. Gossip needs 1 s.
// probeDelay is by how much peers' open breakers can put it off beyond what own
// evidence says, so that a peer that lies cannot keep a target from being tested
// for ever.
const (
	probeGrace = 5 * time.Second
	probeDelay = time.Minute
)

// blocked says what keeps a target from this request, tried or not.
func (s *Selection) blocked(t *tier, j int) reason {
	st := t.states[j]
	if s.req.Backend != "" && t.targets[j].Backend != s.req.Backend {
		return elsewhere
	}
	if d := s.reg.drains.Load(); d != nil && d.excludes(t.targets[j], t.passive) {
		return drained
	}
	if s.gatedHere(t, j) {
		return gated
	}
	if s.at < st.outUntil.Load() {
		return reasonOf(aspect(st.outFor.Load()))
	}
	if st.unproven.Load() && !s.owns(st, st.outUntil.Load()) {
		return awaitingOwner
	}
	if st.asks(s.client) {
		if about, out := st.refuses(s.now, s.client, s.req.Operation); out {
			return reasonOf(about)
		}
	}
	return fine
}

func reasonOf(about aspect) reason {
	switch about {
	case missing:
		return absent
	case retirement:
		return gone
	case forbidden:
		return forbiddenHere
	case failing, identity:
	}
	return ejected
}

// gatedHere reports whether a gate keeps the request away: the target's own word,
// unless a test of a long one is due; peers' word, where it counts for this route
// and no test of it is due; the size of the request.
func (s *Selection) gatedHere(t *tier, j int) bool {
	st := t.states[j]
	if s.at < st.ownGate.Load() {
		due := st.testAt.Load()
		return s.at < due || !s.req.Route.ProbeLongGates || !s.owns(st, due)
	}
	if s.honours(t, j) && (s.at < st.claimDue.Load() || !s.req.Stateless) {
		return true
	}
	_, out := st.sizes.find(s.at, s.client, s.req.Tokens)
	return out
}

// honours reports whether the target is gated for this route by peers' word alone.
func (s *Selection) honours(t *tier, j int) bool {
	st := t.states[j]
	return s.at >= st.ownGate.Load() && s.at < st.gatedUntil.Load() && s.at < t.claimed[j].Load()
}

// owns reports whether this gateway may probe a target, due since the moment
// given: it is the stamp's owner of the probe, or a peer has since found that the
// target works, or the owner has done nothing. The owner's breaker may be open
// for longer than ours, in particular after its probe has failed: as long as it
// is, there is nothing that the owner should have done.
func (s *Selection) owns(st *state, due int64) bool {
	f := s.reg.hooks.Load().probeOwner
	if f == nil || f(st.key) || st.peers.succeeded.Load() > st.outSince.Load() {
		return true
	}
	due = max(due, min(st.peers.testUntil.Load(), due+int64(probeDelay)))
	return s.at >= due+int64(probeGrace)
}

// passiveAllowed reports whether the policy lets passive regions serve now: always,
// or only while the region's own targets are throttled, or only while they fail.
// Where the region has no target of its own there is nothing to restrict.
func (s *Selection) passiveAllowed() bool {
	if s.passiveOnce {
		return s.passiveOK
	}
	s.passiveOnce, s.passiveOK = true, true
	if s.req.Stamp == nil || s.req.Stamp.FallbackOn == "" || s.req.Stamp.FallbackOn == policy.FallbackOnAny {
		return true
	}
	own, throttled, failed := 0, 0, 0
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive {
			continue
		}
		for j := range t.states {
			own++
			if s.blocked(t, j) == gated {
				throttled++
			} else {
				failed++ // ejected, tried, drained, still being readmitted …
			}
		}
	}
	switch {
	case own == 0:
	case s.req.Stamp.FallbackOn == policy.FallbackOnThrottling:
		s.passiveOK = throttled > 0
	case s.req.Stamp.FallbackOn == policy.FallbackOnFailure:
		s.passiveOK = failed > 0
	}
	return s.passiveOK
}

// A Verdict says why nothing is left.
type Verdict struct {
	// AllRetired: every target says that its model is no longer served.
	AllRetired bool
	// Unpaid: a failed attempt could not be repeated for want of budget.
	Unpaid bool
	// AllThrottled: every target that could serve is gated; else none is available.
	AllThrottled bool
	// RetryAfter is the soonest moment at which a target may be free again,
	// 1 ms … 60 s.
	RetryAfter time.Duration
}

// The bounds of what a client is told, and the wait where no deadline is known:
// a target is being probed at this moment, or has failed this very request.
const (
	minRetryAfter     = time.Millisecond
	maxRetryAfter     = time.Minute
	unknownRetryAfter = time.Second
)

// Verdict tells what to answer after Next returned false. Targets that are
// ejected, drained or missing could not serve, so that they do not keep it from
// being a throttling; one that is sound but has failed this request does.
func (s *Selection) Verdict(now time.Time) Verdict {
	s.look(now)
	throttled, sound := false, false
	freeGate, freeOther := int64(always), int64(always)
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		if t.passive && !s.passiveAllowed() {
			continue
		}
		for j, st := range t.states {
			why := s.blocked(t, j)
			if why == fine && (s.at < st.ownGate.Load() || s.honours(t, j)) {
				why = gated // though a test of it is due
			}
			switch why {
			case gated:
				throttled = true
				freeGate = min(freeGate, s.ungated(t, j))
			case absent, gone:
				freeOther = min(freeOther, max(st.outUntil.Load(), s.at+int64(unknownRetryAfter)))
			case ejected, forbiddenHere: // some requests are let through all the while
				freeOther = min(freeOther, s.at+int64(unknownRetryAfter))
			case fine, awaitingOwner:
				sound = sound || !st.unproven.Load()
				freeOther = min(freeOther, s.at+int64(unknownRetryAfter))
			case drained, elsewhere:
			}
		}
	}
	v := Verdict{AllRetired: s.allRetired(), Unpaid: s.unpaid}
	if throttled && !sound {
		v.AllThrottled, v.RetryAfter = true, clampRetry(freeGate-s.at)
		return v
	}
	v.RetryAfter = clampRetry(min(freeGate, freeOther) - s.at)
	return v
}

// ungated is when the gate that keeps the request away may be over.
func (s *Selection) ungated(t *tier, j int) int64 {
	st := t.states[j]
	if until, out := st.sizes.find(s.at, s.client, s.req.Tokens); out && s.at >= st.gatedUntil.Load() {
		return until
	}
	if s.honours(t, j) { // one request is finding out
		return min(st.gatedUntil.Load(), s.at+int64(unknownRetryAfter))
	}
	return st.gatedUntil.Load()
}

// allRetired reports whether every target of the route has said, to this request
// or to enough others, that its model is retired.
func (s *Selection) allRetired() bool {
	told := 0
	for i := range s.plan.tiers {
		t := &s.plan.tiers[i]
		for j, st := range t.states {
			if !s.retiredBy(st) && s.blocked(t, j) != gone {
				return false
			}
			told++
		}
	}
	return told > 0
}

// retiredBy reports whether the target told this request so.
func (s *Selection) retiredBy(st *state) bool {
	for i := range min(s.attempts, triedInline) {
		if s.tried[i] == st {
			return s.retired&(1<<i) != 0
		}
	}
	return false
}

func clampRetry(ns int64) time.Duration {
	return min(max(minRetryAfter, time.Duration(ns)), maxRetryAfter)
}
