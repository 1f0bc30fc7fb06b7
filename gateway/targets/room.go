package targets

import (
	"time"
)

// firstRoom is how many repeated attempts without an answer a target takes at a
// time: scouts go before the crowd. Each that is answered makes room for one more,
// so that a sound target doubles what it takes with every round of answers, and
// one that fails as well costs three retries.
//
// What was learned so is worth nothing after a refusal, or after roomLasts without
// a scout: the next outage begins anew.
const (
	firstRoom = 3
	mostRoom  = 1 << 20
	roomLasts = 10 * time.Second
)

// takeRoom reserves room for a scout: a request that repeats a failed attempt, or
// that comes when the target's gate has just opened.
func (st *state) takeRoom(at int64) bool {
	if last := st.scouted.Swap(at); at-last > int64(roomLasts) && st.scouting.Load() == 0 {
		st.room.Store(firstRoom)
	}
	if st.scouting.Add(1) <= st.room.Load() {
		return true
	}
	st.scouting.Add(-1)
	return false
}

// giveRoom takes it back when the answer begins, or the attempt ends without one.
func (st *state) giveRoom(answered, failed bool) {
	st.scouting.Add(-1)
	switch {
	case answered:
		if room := st.room.Load(); room < mostRoom {
			st.room.CompareAndSwap(room, room+1) // a reset that is quicker wins
		}
	case failed:
		st.room.Store(firstRoom)
	}
}

// beginStream and endStream count streams until they begin.
func (st *state) beginStream(at int64) {
	if st.unanswered.Add(1) == 1 {
		st.quietSince.Store(at)
	}
}

func (st *state) endStream(at int64, heard bool) {
	st.unanswered.Add(-1)
	if heard { // a client that gives up does not make a silent target any better
		st.quietSince.Store(at)
	}
}

// full reports whether the target has all the scouts that it takes.
func (st *state) full() bool { return st.scouting.Load() >= st.room.Load() }

// reopening reports whether its gate has opened so recently that those who waited
// for it come back together.
func (st *state) reopening(at int64) bool {
	return at < st.gateRampTo.Load() && at >= st.gatedUntil.Load()
}

// pace is the target's time to the first byte as picks compare it: the average, and
// for streams at least for how long none has begun of those that were asked for.
func (st *state) pace(at int64, stream bool) time.Duration {
	d := st.latency(stream).compared(at)
	if stream && st.unanswered.Load() > 0 {
		d = max(d, time.Duration(at-st.quietSince.Load()))
	}
	return d
}
