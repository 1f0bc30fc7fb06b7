package throttle

import "time"

// The numbers of a gate.
const (
	firstGuess  = time.Second      // for a refusal that names no time
	maxGuess    = time.Minute      // where the doubling of the guess ends
	LongGate    = 2 * time.Minute  // a longer wait may be tested, this often
	firstTest   = time.Minute      // first after this, as long as clients are told to wait at most
	leastRamp   = time.Second      // what a gate lets through grows for half of its wait,
	mostRamp    = 10 * time.Second // within these bounds
	maxJitter   = time.Second      // on reopening: a tenth of the wait, at most this
	shortWait   = firstGuess       // a named wait below it is believed less each time
	maxStrikes  = 10               // 1 ms × 2^10 > shortWait: more strikes change nothing
	distrustFor = 10 * time.Second // how long a success outweighs peers whose word it disproved
)

// A Gate keeps a target from being asked before the moment it named. The zero
// Gate is open. It is not safe for concurrent use; its owner guards it.
//
// Invariant: the deadline of a closed gate never moves to an earlier moment,
// except that an attempt which began after the last refusal succeeds.
type Gate struct {
	own      time.Time     // deadline by refusals seen here; what gossip publishes
	ownSet   time.Time     // when the last such refusal came
	until    time.Time     // the latest deadline of all, peers' included
	opens    time.Time     // until and the jitter
	set      time.Time     // when until was last moved
	lifted   time.Time     // when a success last opened the gate early
	testAt   time.Time     // next moment at which one request may test a long wait; zero: none
	ramp     time.Duration // after opens, for which what passes grows
	draw     float64       // of the jitter, made when the gate closes
	guess    time.Duration // for the next refusal that names no time
	strikes  uint8         // refusals in a row, each after the wait for the one before
	distrust time.Time     // until when the word of peers counts for nothing, because it was disproved
}

// Clear reports whether requests may pass.
func (g *Gate) Clear(now time.Time) bool { return !now.Before(g.opens) }

// OpensAt returns the moment at which the gate opens, jitter included.
func (g *Gate) OpensAt() time.Time { return g.opens }

// OpensIn returns how long the gate stays closed, 0 if it is open.
func (g *Gate) OpensIn(now time.Time) time.Duration { return max(0, g.opens.Sub(now)) }

// RampEnds returns the moment from which on a gate that has opened lets everything
// through again: those who waited come back together. Zero: there is no ramp, for a
// success has opened the gate, or nothing ever closed it.
func (g *Gate) RampEnds() time.Time {
	if g.ramp == 0 {
		return time.Time{}
	}
	return g.opens.Add(g.ramp)
}

// OwnOpensAt returns the moment at which the gate opens by the refusals seen here
// alone, jitter included.
func (g *Gate) OwnOpensAt() time.Time {
	if !g.until.After(g.own) {
		return g.opens
	}
	return g.own
}

// Own returns what is left of the wait by refusals seen here: a duration, so that
// peers need not share a clock.
func (g *Gate) Own(now time.Time) time.Duration { return max(0, g.own.Sub(now)) }

// Refuse records a refusal. draw is uniform in [0, 1) and spreads the reopening
// over a tenth of the wait, at most a second; it is used when the gate closes,
// and kept while it is closed: the latest of many draws would spread nothing. It
// reports whether the gate was open before.
func (g *Gate) Refuse(now time.Time, s Signals, draw float64) bool {
	wasClear := g.Clear(now)
	if wasClear { // else a request that was under way: no new refusal after a wait
		g.strike()
	}
	wait := g.wait(s)
	g.ownSet, g.distrust = now, time.Time{}
	if until := now.Add(wait); until.After(g.own) {
		g.own = until
	}
	g.hold(now, wait, draw)
	return wasClear
}

func (g *Gate) strike() {
	g.testAt = time.Time{}
	g.strikes = min(g.strikes+1, maxStrikes)
	g.guess = min(max(firstGuess, 2*g.guess), maxGuess)
}

// wait is how long a refusal with these signals means. A backend that keeps
// refusing after waits of milliseconds it named itself would be asked for ever,
// and a refusal is quick, so that it would look idle: each such wait doubles, up
// to a second.
func (g *Gate) wait(s Signals) time.Duration {
	switch {
	case s.RetryAfter >= shortWait:
		return min(s.RetryAfter, MaxWait)
	case s.RetryAfter > 0:
		return min(s.RetryAfter<<max(0, int(g.strikes)-1), shortWait)
	case s.Reset > 0:
		return min(s.Reset, MaxWait)
	}
	return max(g.guess, firstGuess)
}

// Hold takes over a peer's gate: what is left of it, and how old its refusal is
// (0: unknown). It can only add caution; it is refused where an attempt of our
// own has succeeded since, and where peers' word was disproved of late. It
// reports whether the deadline moved.
func (g *Gate) Hold(now time.Time, remaining, age time.Duration, draw float64) bool {
	if remaining <= 0 || now.Before(g.distrust) {
		return false
	}
	if age > 0 && !g.lifted.IsZero() && !now.Add(-age).After(g.lifted) {
		return false
	}
	if g.Clear(now) {
		g.testAt = time.Time{}
	}
	return g.hold(now, min(remaining, MaxWait), draw)
}

// hold moves the deadline, never to an earlier one.
func (g *Gate) hold(now time.Time, wait time.Duration, draw float64) bool {
	if g.Clear(now) {
		g.draw = draw
	}
	until := now.Add(wait)
	if wait > LongGate && g.testAt.IsZero() {
		g.testAt = now.Add(firstTest)
	}
	if !until.After(g.until) {
		return false
	}
	g.until, g.set = until, now
	g.ramp = min(max(wait/2, leastRamp), mostRamp)
	g.opens = later(g.opens, until.Add(jitter(wait, g.draw)))
	return true
}

func jitter(wait time.Duration, draw float64) time.Duration {
	if !(draw > 0 && draw < 1) { // NaN too
		return 0
	}
	return time.Duration(draw * float64(min(wait/10, maxJitter)))
}

// TestDue reports when one single request may test whether a long wait still
// holds; zero if the gate is open or the wait is not long.
func (g *Gate) TestDue(now time.Time) time.Time {
	if g.Clear(now) {
		return time.Time{}
	}
	return g.testAt
}

// TakeTest takes the one test of a long wait that is due, if any.
func (g *Gate) TakeTest(now time.Time) bool {
	if due := g.TestDue(now); due.IsZero() || now.Before(due) {
		return false
	}
	g.testAt = now.Add(LongGate)
	return true
}

// Succeed records the success of an attempt that began at started. Where that
// was after the last refusal, the gate opens, and the guess begins anew; an
// earlier attempt, such as a long stream, says nothing of now. It reports
// whether a closed gate opened.
func (g *Gate) Succeed(now, started time.Time) bool {
	if !started.After(g.set) || !started.After(g.ownSet) {
		return false
	}
	if now.Before(g.distrust) {
		g.distrust = now.Add(distrustFor)
	}
	return g.lift(now)
}

// Settled reports whether a success has nothing to change: no refusal and no
// disproved word of a peer is remembered.
func (g *Gate) Settled(now time.Time) bool {
	return g.Clear(now) && g.guess == 0 && g.strikes == 0 && !now.Before(g.distrust)
}

// Claimed reports whether the gate is closed by what peers say alone: no refusal
// seen here holds it.
func (g *Gate) Claimed(now time.Time) bool {
	return !g.Clear(now) && !now.Before(g.own) && g.until.After(g.own)
}

// Disprove records the success of an attempt that was made although peers say
// that the target is throttled. The gate opens, whatever they said meanwhile, and
// they are not heard as long as attempts succeed at least every 10 s and none is
// refused: one that lies would close it again at once. It reports whether a
// closed gate opened.
func (g *Gate) Disprove(now, started time.Time) bool {
	if !started.After(g.ownSet) {
		return false
	}
	g.distrust = now.Add(distrustFor)
	return g.lift(now)
}

// lift opens the gate, and the guess begins anew.
func (g *Gate) lift(now time.Time) bool {
	g.guess, g.strikes = 0, 0
	if g.Clear(now) {
		return false
	}
	g.own, g.until, g.opens, g.lifted, g.testAt, g.ramp = now, now, now, now, time.Time{}, 0
	return true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
