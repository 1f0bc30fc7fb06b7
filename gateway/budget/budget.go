// Package budget bounds the retries of one route in one gateway, so that an
// outage is not multiplied by those who suffer from it.
//
// Retries that may cost a backend work are limited to a tenth of the first
// attempts of the last 10 s. A reserve of ten, refilled at one a second, lets a
// route with little traffic retry at all. It is a floor, not an addition: what it
// gives counts against the tenth. Over a time t with f first attempts there are
// therefore at most about max(f/10, t/1s) + 10 retries: the reserve matters only
// below ten requests a second.
//
// The package is pure: time is passed in. A Budget is safe for concurrent use;
// its lock is held for some additions.
package budget

import (
	"sync"
	"time"
)

// The numbers of a budget.
const (
	span     = time.Second // of a slot
	slots    = 10          // the window is 10 s
	share    = 10          // one retry for so many first attempts
	reserve  = 10          // retries beside the share
	refillIn = time.Second // for one retry of the reserve
)

// A Budget is the retry budget of one route. The zero Budget is ready.
type Budget struct {
	mu     sync.Mutex // guards the fields below
	start  time.Time  // of slot number 0
	number int64      // of the newest slot
	slots  [slots]struct{ first, retries, free uint32 }
	first  int // the sums over slots
	retry  int
	free   int
	// spent is how much of the reserve is in use, as the time its refill takes;
	// at is when that was true.
	spent time.Duration
	at    time.Time
}

// First counts a first attempt.
func (b *Budget) First(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	b.slots[b.number%slots].first++
	b.first++
}

// Withdraw takes one retry, from the share or else from the reserve, and reports
// whether there was one.
func (b *Budget) Withdraw(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.withinShare(now) {
		b.take()
		return true
	}
	b.refill(now)
	if b.spent > (reserve-1)*refillIn {
		return false
	}
	b.spent += refillIn
	b.take()
	return true
}

// Free counts a retry after a refusal that cost the backend nothing. It needs no
// leave, but leaves less for WithdrawKnownBad.
func (b *Budget) Free(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	b.slots[b.number%slots].free++
	b.free++
}

// WithdrawKnownBad takes one retry after an attempt on a target that was known to
// fail, as happens when every target is. It gets half of the share, free retries
// counted too, and nothing of the reserve, so that attempts in an outage of any
// length and kind stay within 1.1 for each request.
func (b *Budget) WithdrawKnownBad(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	if (b.retry+b.free+1)*2*share > b.first {
		return false
	}
	b.take()
	return true
}

// Return gives back a retry that was withdrawn but not made, for want of a
// target. What came from the reserve refills it.
func (b *Budget) Return(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	if s := &b.slots[b.number%slots]; s.retries > 0 {
		s.retries--
		b.retry--
	}
	b.spent = max(0, b.spent-refillIn)
}

// withinShare counts every retry of the window, those of the reserve too: the
// reserve is a floor under the share, not an addition to it.
func (b *Budget) withinShare(now time.Time) bool {
	b.turn(now)
	return (b.retry+1)*share <= b.first
}

func (b *Budget) take() {
	b.slots[b.number%slots].retries++
	b.retry++
}

func (b *Budget) refill(now time.Time) {
	if past := now.Sub(b.at); !b.at.IsZero() && past > 0 {
		b.spent = max(0, b.spent-past)
	}
	if now.After(b.at) {
		b.at = now
	}
}

// turn drops the slots that have become too old.
func (b *Budget) turn(now time.Time) {
	if b.start.IsZero() {
		b.start = now
	}
	n := int64(now.Sub(b.start) / span)
	if n <= b.number {
		return
	}
	for i := max(b.number+1, n-slots+1); i <= n; i++ {
		s := &b.slots[i%slots]
		b.first -= int(s.first)
		b.retry -= int(s.retries)
		b.free -= int(s.free)
		s.first, s.retries, s.free = 0, 0, 0
	}
	b.number = n
}

// Left returns how many retries could be withdrawn now, for status.
func (b *Budget) Left(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	b.refill(now)
	return max(0, b.first/share-b.retry) + int((reserve*refillIn-b.spent)/refillIn)
}
