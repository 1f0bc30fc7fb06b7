package breaker

import "time"

// The numbers of a circuit.
const (
	slowStart      = 30 * time.Second // from readmission to the full share
	slowStartShare = 0.1              // the share on readmission
	// probeLease is for how long a test that has no answer keeps others from
	// starting. It is not cut: an answer may take minutes, and counts whenever it
	// comes.
	probeLease = time.Minute
	// staleAfter: a circuit that nobody tested for so long after its time was over
	// is closed, with a slow start: what is known of the target is too old.
	staleAfter = 5 * time.Minute
)

// A circuit is the state machine itself, for everyone or for one client.
type circuit struct {
	state      State // Closed or Open; half-open is open with its time over
	epoch      uint32
	probes     int           // tests that run, unanswered, and whose lease is not over
	leases     uint32        // counts how often all of them were given up
	until      time.Time     // when half-open begins
	wait       time.Duration // how long it was last open, for the decorrelated jitter
	probeEnds  time.Time     // when the lease of the newest test ends
	readmitted time.Time     // when it was last closed after having been open
}

// at returns the state at a moment.
func (c *circuit) at(now time.Time) State {
	switch {
	case c.state == Closed || c.stale(now):
		return Closed
	case now.Before(c.until):
		return Open
	}
	return HalfOpen
}

func (c *circuit) stale(now time.Time) bool {
	return c.state == Open && c.probes == 0 && !now.Before(c.until.Add(staleAfter))
}

// settle turns a stale circuit into a closed one.
func (c *circuit) settle(now time.Time) {
	if c.probes > 0 && !now.Before(c.probeEnds) {
		c.probes = 0
		c.leases++
	}
	if c.stale(now) {
		c.readmit(now)
	}
}

// allows reports whether an attempt may pass, and whether as a test.
func (c *circuit) allows(now time.Time, forced int) (ok, probe bool) {
	switch c.at(now) {
	case Closed:
		return true, false
	case HalfOpen:
		return c.probes < max(1, forced), true
	case Open:
	}
	return c.probes < forced, true
}

// testing reports whether a test runs whose lease is not over.
func (c *circuit) testing(now time.Time) bool { return c.probes > 0 && now.Before(c.probeEnds) }

func (c *circuit) probe(now time.Time) { c.probes, c.probeEnds = c.probes+1, now.Add(probeLease) }

// release ends a test, if it was not given up before.
func (c *circuit) release(lease uint32) {
	if lease == c.leases {
		c.probes = max(0, c.probes-1)
	}
}

// open begins a time open, its length between Base and three times the last one,
// at most Max. Where the circuit has been closed long enough since, the lengths
// begin anew; where it fails soon after readmission, it flaps, and is left alone
// for Flap at least.
func (c *circuit) open(now time.Time, cfg Config, draw float64) {
	last, least := c.wait, cfg.Base
	if c.state == Closed {
		switch closed := now.Sub(c.readmitted); {
		case c.readmitted.IsZero() || closed >= max(cfg.Flap, c.wait):
			last = 0
		case closed < cfg.Flap:
			least = min(cfg.Flap, cfg.Max)
		}
	}
	most := min(3*max(last, cfg.Base), cfg.Max)
	c.wait = cfg.Base + time.Duration(unit(draw)*float64(most-cfg.Base))
	c.wait = max(c.wait, least)
	c.state, c.probes, c.until = Open, 0, now.Add(c.wait)
	c.epoch++
}

// reopen begins another time open of the same length.
func (c *circuit) reopen(now time.Time) {
	c.probes, c.until = 0, now.Add(c.wait)
	c.epoch++
}

func (c *circuit) readmit(now time.Time) {
	c.state, c.probes, c.readmitted = Closed, 0, now
	c.epoch++
}

// share is the part of its normal work that a closed circuit should get.
func (c *circuit) share(now time.Time) float64 {
	if c.stale(now) {
		return slowStartShare
	}
	if c.readmitted.IsZero() {
		return 1
	}
	return ShareAfter(now.Sub(c.readmitted))
}

// ShareAfter returns the part of its usual work that a target gets so long after
// its readmission: 0.1 at once, growing to 1 over 30 s.
func ShareAfter(since time.Duration) float64 {
	if since >= slowStart {
		return 1
	}
	return slowStartShare + (1-slowStartShare)*float64(max(0, since))/float64(slowStart)
}

// unit bounds a draw to [0, 1].
func unit(draw float64) float64 {
	if !(draw > 0) { // NaN too
		return 0
	}
	return min(draw, 1)
}
