package health

import "time"

const (
	// shortOutage: a status that was bad for less than this may be flapping, so
	// that good must be seen for holdAfterShort before it rises. That is longer
	// than any good spell that a backend shows which is up and down for 20 s each:
	// 20 s, and the 10 s after which its end is seen without traffic; its bad spells
	// show for at most 25 s, the return being seen after 5 s.
	shortOutage    = 30 * time.Second
	holdAfterShort = 40 * time.Second
	// holdAfterLong is how long good must be seen after an outage that lasted. A
	// return without traffic shows after 5.5 s (a probe that hangs for 2 s, 3 s to
	// the next, one Period); with this the answer is 200 within 13.5 s of it.
	holdAfterLong = 8 * time.Second
	// flapWithin: a fall so soon after a rise doubles the next hold, up to holdMax.
	flapWithin = 5 * time.Minute
	holdMax    = 5 * time.Minute
)

// A damper follows a status with reluctance: three bad evaluations in a row to
// fall, two good ones to rise, the first one decides at once. Pass and warn are
// both good and replace each other freely. A patient one also wants good seen
// without a break for the hold before it rises: a stamp that comes and goes does
// more harm to whoever follows it than one that stays away a little longer.
type damper struct {
	shown   Status
	decided bool
	was     Status // at the last look
	against int    // evaluations in a row that contradict what is shown

	rose    time.Time // the last rise; zero: none that counts
	fell    time.Time // the last fall; zero: none that counts, so that a rise needs no hold
	bad     time.Time // since when bad was last seen without a break
	good    time.Time // since when good was seen without a break, while bad is shown
	doubled int       // how often the hold is doubled
}

// next takes one look.
func (d *damper) next(now time.Time, s Status, patient bool) {
	if d.was.Good() != s.Good() {
		if s.Good() {
			d.good = now
		} else {
			d.bad = now
		}
	}
	d.was = s
	if !d.decided {
		d.shown, d.decided = s, true
		return
	}
	if s.Good() == d.shown.Good() {
		d.shown, d.against = s, 0
		return
	}
	d.against++
	switch {
	case !s.Good() && d.against >= badToFall:
		d.fall(now)
	case s.Good() && d.against >= goodToRise && (!patient || now.Sub(d.good) >= d.hold()):
		d.shown, d.against = s, 0
		if !d.fell.IsZero() { // else a drain or an old policy ended, which is no flap
			d.rose = now
		}
	}
}

// rests reports whether it shows what it saw last, so that seeing it again changes
// nothing.
func (d *damper) rests() bool { return d.decided && d.shown == d.was && d.against == 0 }

func (d *damper) fall(now time.Time) {
	if !d.rose.IsZero() && now.Sub(d.rose) <= flapWithin {
		d.doubled++
	} else {
		d.doubled = 0
	}
	d.shown, d.against, d.fell = Fail, 0, now
}

// hold returns how long good must be seen.
func (d *damper) hold() time.Duration {
	if d.fell.IsZero() {
		return 0
	}
	hold := holdAfterLong
	if d.good.Sub(d.bad) < shortOutage {
		hold = holdAfterShort
	}
	for range d.doubled {
		if hold *= 2; hold >= holdMax {
			return holdMax
		}
	}
	return hold
}

// forget drops what is known of earlier falls: what changes is not the backends
// but what is asked of them.
func (d *damper) forget() { d.rose, d.fell, d.doubled = time.Time{}, time.Time{}, 0 }

// fail skips the damping. To rise again takes two good evaluations.
func (d *damper) fail() { *d = damper{shown: Fail, decided: true} }
