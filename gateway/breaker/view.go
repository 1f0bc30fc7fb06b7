package breaker

import "time"

// window30 is how long a client that used a target counts as a user of it.
const window30 = buckets * bucketSpan

// State returns the state for everyone, and when an open breaker becomes
// half-open.
func (b *Breaker) State(now time.Time) (State, time.Time) {
	return b.whole.at(now), b.whole.until
}

// Effective returns the state as health and status should show it. That is the
// state for everyone, except where every client that used the target within 30 s,
// and there was one, has an open circuit of its own: then it is the first of those
// to end, since the target serves nobody.
func (b *Breaker) Effective(now time.Time) (state State, until time.Time, byClient bool) {
	if s, until := b.State(now); s != Closed {
		return s, until, false
	}
	found := false
	for i, name := range b.names {
		c := &b.slots[i]
		if name == 0 {
			continue
		}
		s := c.own.at(now)
		switch {
		case s == Closed && now.Sub(c.last) < window30:
			return Closed, time.Time{}, false
		case s == Closed:
		case !found || c.own.until.Before(until):
			state, until, found = s, c.own.until, true
		}
	}
	return state, until, found
}

// Admits reports whether Admit would let the client pass, without force.
func (b *Breaker) Admits(now time.Time, name uint64) bool {
	if ok, _ := b.whole.allows(now, 0); !ok && !overdue(now, &b.whole) {
		return false
	}
	c := b.find(nonzero(name))
	if c == nil {
		return true
	}
	ok, _ := c.own.allows(now, 0)
	return ok || overdue(now, &c.own)
}

// overdue: the only thing in the way are tests whose lease is over.
func overdue(now time.Time, c *circuit) bool {
	return c.at(now) == HalfOpen && c.probes > 0 && !now.Before(c.probeEnds)
}

// Probing reports whether a test for everyone is under way.
func (b *Breaker) Probing(now time.Time) bool { return b.whole.testing(now) }

// MustWait reports whether even a forced attempt of the client must wait, for so many
// tests are under way.
func (b *Breaker) MustWait(now time.Time, name uint64, forced int) bool {
	full := func(c *circuit) bool { return c.at(now) != Closed && c.testing(now) && c.probes >= forced }
	c := b.find(nonzero(name))
	return full(&b.whole) || c != nil && full(&c.own)
}

// BlockedUntil returns the moment before which Admit refuses everyone; zero
// where it does not.
func (b *Breaker) BlockedUntil(now time.Time) time.Time {
	switch {
	case b.whole.at(now) == Closed:
		return time.Time{}
	case b.Probing(now):
		return b.whole.probeEnds
	}
	return b.whole.until
}

// Readmitted returns when the breaker last closed after having been open; zero
// if it never was. From then on Share grows.
func (b *Breaker) Readmitted() time.Time { return b.whole.readmitted }

// Share returns the part of its usual work that a closed target should get:
// 0.1 on readmission, growing to 1 over 30 s.
func (b *Breaker) Share(now time.Time) float64 { return b.whole.share(now) }

// Strays returns a set of clients, a bit for each value of the hash modulo 64,
// that holds every client whose own circuit is not closed: what a lock-free
// reader asks before it takes the lock.
func (b *Breaker) Strays() uint64 {
	var set uint64
	for i, name := range b.names {
		if name != 0 && b.slots[i].own.state != Closed {
			set |= 1 << (name & 63)
		}
	}
	return set
}

// ClientUntil returns when the client's own circuit becomes half-open; zero if it
// has none.
func (b *Breaker) ClientUntil(name uint64) time.Time {
	if c := b.find(nonzero(name)); c != nil && c.own.state != Closed {
		return c.own.until
	}
	return time.Time{}
}

// KeepsAway reports whether some client is kept away, or tested, on its own.
func (b *Breaker) KeepsAway(now time.Time) bool {
	for i, name := range b.names {
		if name != 0 && b.slots[i].own.at(now) != Closed {
			return true
		}
	}
	return false
}

// Reset closes the breaker and forgets everything, without a slow start.
func (b *Breaker) Reset() {
	epoch := b.whole.epoch + 1
	*b = New(b.cfg)
	b.whole.epoch = epoch
}
