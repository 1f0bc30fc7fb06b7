package targets

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A sizeGate concerns the requests of one client that are as large as one that was
// refused for its size. A target's quota is a number of tokens a minute; a request
// that alone is larger is refused by every target, and says nothing about what
// others ask for.
type sizeGate struct {
	client uint64
	tokens int  // this size and above
	large  bool // it is larger than the quota: the target is none the worse for it
	since  int64
	until  int64
}

const (
	// leastSizeGate is how long one that is too large is kept away at least: a quota
	// is a minute's, and the request will not fit into the next one either. One that
	// may just have come at a bad time is kept away as long as the target said, or
	// firstSizeGate.
	leastSizeGate = 10 * time.Second
	firstSizeGate = time.Second
	// largeFor is how long a request is remembered as one that fits no target of a
	// route, once a target that refused it has served another meanwhile: refusals of
	// its like are then its own.
	largeFor = 10 * time.Minute
	// maxSizeGates bounds a list; the one that ends first makes room.
	maxSizeGates = 16
)

// sizeGates are those of one target, or of one route. Looking takes no lock.
type sizeGates struct {
	mu   sync.Mutex                 // orders changes; never held across a call out
	live atomic.Pointer[[]sizeGate] // nil: none
}

// find reports whether one concerns a request, and until when.
func (s *sizeGates) find(at int64, client uint64, tokens int) (until int64, found bool) {
	gates := s.live.Load()
	if gates == nil {
		return 0, false
	}
	for _, g := range *gates {
		if g.client == client && tokens >= g.tokens && at < g.until {
			return g.until, true
		}
	}
	return 0, false
}

func (s *sizeGates) add(at int64, g sizeGate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.without(func(old sizeGate) bool {
		return at >= old.until || old.client == g.client && old.tokens >= g.tokens && old.until <= g.until
	})
	if len(next) >= maxSizeGates {
		soonest := 0
		for i := range next {
			if next[i].until < next[soonest].until {
				soonest = i
			}
		}
		next = slices.Delete(next, soonest, soonest+1)
	}
	next = append(next, g)
	s.live.Store(&next)
}

// unrefuted reports whether one is in force since the last success of the target:
// then nobody knows better than the client that was refused.
func (s *sizeGates) unrefuted(at, succeeded int64) bool {
	gates := s.live.Load()
	if gates == nil {
		return false
	}
	return slices.ContainsFunc(*gates, func(g sizeGate) bool { return !g.large && at < g.until && g.since > succeeded })
}

// confirmed returns those that are about the size indeed: another request, which
// began later, was served all the same.
func (s *sizeGates) confirmed(started int64, client uint64, tokens int) []sizeGate {
	gates := s.live.Load()
	if gates == nil {
		return nil
	}
	var about []sizeGate
	for _, g := range *gates {
		if started > g.since && (g.client != client || tokens < g.tokens) {
			about = append(about, g)
		}
	}
	return about
}

// served forgets what the success of a request disproves.
func (s *sizeGates) served(client uint64, tokens int) {
	if s.live.Load() == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.without(func(old sizeGate) bool { return old.client == client && old.tokens <= tokens })
	if len(next) == 0 {
		s.live.Store(nil)
		return
	}
	s.live.Store(&next)
}

// without returns a copy without those that are to be dropped.
func (s *sizeGates) without(drop func(sizeGate) bool) []sizeGate {
	var next []sizeGate
	if old := s.live.Load(); old != nil {
		next = slices.DeleteFunc(slices.Clone(*old), drop)
	}
	return next
}
