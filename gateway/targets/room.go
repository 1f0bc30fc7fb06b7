package targets

import (
	"time"
)

// firstRoom is how many repeated attempts without an answer a target takes at a
// time: scouts go before the crowd. Each that is answered makes room for one more,
// so that a sound target doubles what it takes with every round of answers, and
// one that fails as well costs three retries.
const (
	firstRoom = 3
	mostRoom  = 1 << 20
)

// takeRoom reserves room for a scout: a request that repeats a failed attempt, or
// that comes when the target's gate has just opened.
func (st *state) takeRoom() bool {
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
		st.room.Store(min(st.room.Load()+1, mostRoom))
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

func (st *state) endStream(at int64) {
	st.unanswered.Add(-1)
	st.quietSince.Store(at)
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
