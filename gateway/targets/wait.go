package targets

import (
	"sync"
	"time"
)

// Waiting. When a tier fails as a whole with many requests in flight, all of them
// want to repeat at once. The budget and the room of the targets let scouts go
// first; the others wait here for a token or for room, as long as a target is left
// that shows no sign of failing, and fail at once when none is.

const (
	// A request waits at most this long in all, and at most a third of what is left
	// of its time, so that the attempt that it waits for still has the other two.
	mostWait  = 30 * time.Second
	waitShare = 3
	// lookAgain is how long one that is not woken waits until it looks again: time
	// alone also frees tokens and ends suspicions.
	lookAgain = 100 * time.Millisecond
)

// A queue wakes those who wait in the order in which they came.
type queue struct {
	mu      sync.Mutex // guards waiting
	waiting []chan struct{}
}

// join returns a channel that is closed when it is one's turn to look.
func (q *queue) join() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := make(chan struct{})
	q.waiting = append(q.waiting, c)
	return c
}

// wake wakes the first n.
func (q *queue) wake(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; n > 0 && len(q.waiting) > 0; n-- {
		close(q.waiting[0])
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
	}
}

// leave removes one that has not been woken.
func (q *queue) leave(c chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == c {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return
		}
	}
}

// A Wait is a place in the queue of those who may repeat later.
type Wait struct {
	// Turn is closed when it is worth calling Next again; After is how long to wait
	// for that before calling Next all the same.
	Turn  <-chan struct{}
	After time.Duration

	queue *queue
	turn  chan struct{}
}

// Done gives the place back. Call it once, before Next.
func (w *Wait) Done() { w.queue.leave(w.turn) }

// Wait tells, after Next returned false, whether the request may still have its
// turn: a target without a sign of failure is left, and only the budget or the
// target's room stands in the way. The caller waits and calls Next again.
func (s *Selection) Wait(now time.Time) (Wait, bool) {
	if !s.stuck {
		return Wait{}, false
	}
	if s.waitEnds.IsZero() {
		s.waitEnds = now.Add(mostWait)
		if s.req.Deadline.After(now) {
			s.waitEnds = now.Add(min(mostWait, s.req.Deadline.Sub(now)/waitShare))
		}
	}
	left := s.waitEnds.Sub(now)
	if left <= 0 {
		return Wait{}, false
	}
	turn := s.plan.queue.join()
	return Wait{Turn: turn, After: min(left, lookAgain), queue: &s.plan.queue, turn: turn}, true
}

// mayWait reports whether time is left to wait in.
func (s *Selection) mayWait() bool { return s.waitEnds.IsZero() || s.now.Before(s.waitEnds) }
