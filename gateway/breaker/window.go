package breaker

import "time"

// A window counts the outcomes of the last 30 s in ten buckets of 3 s: an outcome
// counts for more than 27 s and for at most 30 s.
type window struct {
	start   time.Time // of bucket number 0; set by the first outcome
	number  int64     // of the newest bucket
	buckets [buckets]bucket
}

const (
	buckets    = 10
	bucketSpan = 3 * time.Second
)

// A bucket counts halves, and saturates instead of overflowing: 32,767 outcomes in
// 3 s are 10,000 a second.
type bucket struct{ total, content, hard uint16 }

type counts struct{ total, content, hard int }

func (w *window) add(now time.Time, e Evidence) {
	b := &w.buckets[w.turn(now)%buckets]
	if b.total >= 1<<16-2 {
		return
	}
	b.total += 2
	switch e {
	case Content, Weak:
		b.content += uint16(e.halves())
	case Hard:
		b.hard += uint16(e.halves())
	case None, Good:
	}
}

// turn clears the buckets that have become too old and returns the newest's number.
func (w *window) turn(now time.Time) int64 {
	if w.start.IsZero() {
		w.start = now
	}
	n := int64(now.Sub(w.start) / bucketSpan)
	if n <= w.number { // also results that come in out of order
		return w.number
	}
	if n-w.number >= buckets {
		w.buckets = [buckets]bucket{}
	} else {
		for i := w.number + 1; i <= n; i++ {
			w.buckets[i%buckets] = bucket{}
		}
	}
	w.number = n
	return n
}

func (w *window) sum(now time.Time) counts {
	var c counts
	if w.start.IsZero() {
		return c
	}
	w.turn(now)
	for _, b := range w.buckets {
		c.total += int(b.total)
		c.content += int(b.content)
		c.hard += int(b.hard)
	}
	return c
}

func (w *window) reset() { *w = window{} }
