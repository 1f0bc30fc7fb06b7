package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A reason says why a target cannot take a request now.
type reason uint8

const (
	fine reason = iota
	gated
	ejected       // by a breaker or the identity alarm, for everyone or for this client
	awaitingOwner // to be probed, by another gateway of the stamp
	missing       // the deployment does not exist
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
	if s.at < st.missingUntil.Load() {
		return missing
	}
	if s.at < st.gatedUntil.Load() {
		due := st.testAt.Load()
		if s.at < due || !s.req.Route.ProbeLongGates || !s.owns(st, due) {
			return gated
		}
	}
	if s.at < st.outUntil.Load() {
		return ejected
	}
	if st.tender.Load() && !s.owns(st, st.outUntil.Load()) {
		return awaitingOwner
	}
	if st.stray(s.client) && !st.admits(s.now, s.client) {
		return ejected
	}
	return fine
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

// passiveAllowed reports whether the reason for which the region's own targets
// cannot serve is one for which the policy lets passive regions serve. Where the
// region has no target of its own there is nothing to restrict.
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

// forcible reports whether a request may be let through an open breaker now.
func (st *state) forcible(now time.Time, client uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.gate.Open(now) && (st.claim || !st.gate.Claimed(now)) {
		return false
	}
	return !st.health.Busy(now, client) && !st.identity.Busy(now, client)
}

// A Verdict says why nothing is left.
type Verdict struct {
	// AllThrottled: every target that could serve is gated; else none is available.
	AllThrottled bool
	// AllRetired: every target that was asked, or is known, says that the model is
	// retired.
	AllRetired bool
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
			if why == fine && s.at < st.gatedUntil.Load() {
				why = gated // though a test of it is due
			}
			switch why {
			case gated:
				throttled = true
				free := st.gatedUntil.Load()
				if st.claimed.Load() { // one request is finding out
					free = min(free, s.at+int64(unknownRetryAfter))
				}
				freeGate = min(freeGate, free)
			case missing:
				freeOther = min(freeOther, st.missingUntil.Load())
			case ejected: // one request at a time is let through all the while
				freeOther = min(freeOther, s.at+int64(unknownRetryAfter))
			case fine, awaitingOwner:
				sound = sound || !st.tender.Load()
				freeOther = min(freeOther, s.at+int64(unknownRetryAfter))
			case drained, elsewhere:
			}
		}
	}
	if throttled && !sound {
		return Verdict{AllThrottled: true, RetryAfter: clampRetry(freeGate - s.at)}
	}
	return Verdict{RetryAfter: clampRetry(min(freeGate, freeOther) - s.at)}
}

func clampRetry(ns int64) time.Duration {
	return min(max(minRetryAfter, time.Duration(ns)), maxRetryAfter)
}
