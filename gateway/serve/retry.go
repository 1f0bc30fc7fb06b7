package serve

import (
	"strconv"
	"time"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// The span in which a client shall come back: SDKs ignore what is longer than a
// minute.
const (
	soonest = time.Millisecond
	latest  = 60 * time.Second
)

// The spread of what clients are told: half of the wait, within these bounds.
const (
	leastSpread = 500 * time.Millisecond
	mostSpread  = 5 * time.Second
)

// spread returns a wait between this one and somewhat longer, so that clients
// who are told of one opening do not all come back at once. None is beyond
// latest: near it, the span lies below. draw is uniform in [0, 1).
func spread(wait time.Duration, draw float64) time.Duration {
	span := min(max(wait/2, leastSpread), mostSpread)
	from := min(wait, latest-span)
	return from + time.Duration(draw*float64(span))
}

// addRetry says when to come back, or not to.
func addRetry(h message.Header, told refusal.Reply, draw float64) message.Header {
	if told.Final {
		h = h.Add("X-Should-Retry", "false")
	}
	if told.After <= 0 {
		return h
	}
	wait := spread(max(told.After, soonest), draw)
	// Rounded up: a client that comes too early is refused again.
	return h.Add("Retry-After-Ms", strconv.FormatInt(int64((wait+time.Millisecond-1)/time.Millisecond), 10)).
		Add("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}
