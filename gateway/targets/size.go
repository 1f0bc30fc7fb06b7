package targets

import (
	"slices"
	"time"
)

// A sizeGate keeps the requests of one client away that are as large as one that
// was refused for its size. A target's quota is a number of tokens a minute; a
// request that alone is larger is refused by every target, and says nothing about
// what others ask for.
type sizeGate struct {
	client uint64
	tokens int // this size and above
	until  int64
}

// leastSizeGate is how long it is kept away at least: a quota is a minute's, and
// the request will not fit into the next one either.
const leastSizeGate = 10 * time.Second

// maxSizeGates bounds those of one target; the one that ends first makes room.
const maxSizeGates = 16

// oversized reports whether such a gate keeps a request away, and until when.
func (st *state) oversized(at int64, client uint64, tokens int) (until int64, gated bool) {
	gates := st.sizes.Load()
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

// gateSize adds a gate. The caller holds mu.
func (st *state) gateSize(at int64, g sizeGate) {
	next := st.liveSizes(func(old sizeGate) bool {
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
	st.sizes.Store(&next)
}

// servedSize forgets what the success of a request disproves. The caller holds mu.
func (st *state) servedSize(client uint64, tokens int) {
	if st.sizes.Load() == nil {
		return
	}
	next := st.liveSizes(func(old sizeGate) bool { return old.client == client && old.tokens <= tokens })
	if len(next) == 0 {
		st.sizes.Store(nil)
		return
	}
	st.sizes.Store(&next)
}

// liveSizes returns a copy without those that are to be dropped.
func (st *state) liveSizes(drop func(sizeGate) bool) []sizeGate {
	var next []sizeGate
	if old := st.sizes.Load(); old != nil {
		next = slices.DeleteFunc(slices.Clone(*old), drop)
	}
	return next
}
