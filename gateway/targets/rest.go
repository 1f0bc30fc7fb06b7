package targets

import (
	"slices"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/geo"
)

// A Watcher is one who looks at all targets again and again. When nothing has
// happened there is nothing to look at: what time alone changes only ever gets
// better (a gate opens, a breaker lets a test through).
type Watcher uint32

// The watchers.
const (
	ForHealth Watcher = 1 << iota
	ForGossip
	ForDigest
	everyone = ForHealth | ForGossip | ForDigest
)

// stir notes that something may have got worse. It is called after the change, by
// requests too: nearly always somebody else has noted it already, and it only reads.
func (r *Registry) stir() {
	if r.stirred.Load() != uint32(everyone) {
		r.stirred.Store(uint32(everyone))
	}
}

// Quiet reports whether nothing has happened since the watcher last asked. He must
// look after he has asked, not before.
func (r *Registry) Quiet(w Watcher) bool { return r.stirred.And(^uint32(w))&uint32(w) == 0 }

// untouched reports whether no request of ours and no report of others ever reached
// the target. It takes no lock.
func (st *state) untouched() bool {
	return st.heard.Load() == never && st.succeeded.Load() == never && st.inFlight.Load() == 0 && st.gatedUntil.Load() == never &&
		st.outUntil.Load() == never && !st.held.Load() && !st.unproven.Load()
}

// Cautions is what a stamp reports of its region's targets.
type Cautions struct {
	InFlight int
	Targets  []Report // those that are throttled or fail, in the order of their keys
}

// Cautions returns what this gateway and its peers know of a region's targets that
// calls for caution. It must not be changed.
func (r *Registry) Cautions(now time.Time, region geo.RegionID) *Cautions {
	if last := r.cautions.Load(); r.Quiet(ForDigest) && last != nil {
		return last
	}
	r.cautions.Store(nil)
	out, at := &Cautions{}, r.since(now)
	for _, st := range r.view.Load().states {
		if t := st.target.Load(); t == nil || t.Region() != region || st.untouched() && st.peersSilent(at) {
			continue
		}
		s := st.status(now, at)
		out.InFlight += s.InFlight + s.PeerInFlight
		o := Report{Key: s.Key, Gate: time.Duration(s.Gate)}
		if s.Breaker != breaker.Closed || s.PeersOpen > 0 {
			o.Breaker = breaker.Open
		}
		if !o.Idle() {
			out.Targets = append(out.Targets, o)
		}
	}
	slices.SortFunc(out.Targets, Report.Compare)
	if out.InFlight == 0 && len(out.Targets) == 0 {
		r.cautions.Store(out)
	}
	return out
}

// peersSilent reports whether no peer has anything to report of the target.
func (st *state) peersSilent(at int64) bool {
	return at >= st.peers.until.Load() || st.peers.inFlight.Load() == 0 && st.peers.open.Load() == 0
}
