// Package budget bounds the retries of one route in one gateway, so that an
// outage is not multiplied by those who suffer from it.
//
// The budget bounds waste, not repair: a retry that is answered has multiplied
// nothing and gives its token back. Retries that fail, or have no answer yet, are
// limited to a tenth of the first attempts of the last 10 s. A reserve of ten,
// refilled at one a second, lets a route with little traffic retry at all. It is a
// floor, not an addition: what it gives counts against the tenth. Over a time t with
// f first attempts there are therefore at most about max(f/10, t/1s) + 10 retries
// that fail: the reserve matters only below ten requests a second.
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

// A Token is the right to one retry. The zero Token is none.
type Token struct {
	slot    int64 // in which it was taken, from 1 on
	reserve bool
}

// Valid reports whether it is one.
func (t Token) Valid() bool { return t.slot > 0 }

// Withdraw takes one retry, from the share or else from the reserve. The token is
// not valid if there is none.
func (b *Budget) Withdraw(now time.Time) Token {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.withinShare(now) {
		return b.take(false)
	}
	b.refill(now)
	if b.spent > (reserve-1)*refillIn {
		return Token{}
	}
	b.spent += refillIn
	return b.take(true)
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
func (b *Budget) WithdrawKnownBad(now time.Time) Token {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	if (b.retry+b.free+1)*2*share > b.first {
		return Token{}
	}
	return b.take(false)
}

// Return gives a token back: its retry was answered, or was not made for want of
// a target. It goes where it came from; one that the window has forgotten already
// has nowhere to go.
func (b *Budget) Return(now time.Time, t Token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	if !t.Valid() || t.slot-1 <= b.number-slots {
		return
	}
	b.slots[(t.slot-1)%slots].retries--
	b.retry--
	if t.reserve {
		b.refill(now)
		b.spent = max(0, b.spent-refillIn)
	}
}

// withinShare counts every retry of the window, those of the reserve too: the
// reserve is a floor under the share, not an addition to it.
func (b *Budget) withinShare(now time.Time) bool {
	b.turn(now)
	return (b.retry+1)*share <= b.first
}

func (b *Budget) take(reserve bool) Token {
	b.slots[b.number%slots].retries++
	b.retry++
	return Token{slot: b.number + 1, reserve: reserve}
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
