package targets

import (
	"math"
	"sync/atomic"
	"time"
)

// A latency is the average time to the first byte over the last answers. Two
// goroutines that add at the same moment may lose one sample; the average does not
// care. Streams and plain answers are kept apart: a plain answer begins when it is
// complete, so its time says more of what was asked than of the target.
type latency struct {
	value atomic.Uint64 // float64 bits, ns
	count atomic.Uint32 // samples, up to latencySamples
	at    atomic.Int64  // of the last sample, ns since the registry's base
}

const (
	latencySamples = 64 // that the average is over: one slow answer is no slow target
	// A comparison needs so many samples, the last of them so young. One that is not
	// compared is used by its weight, so that a target which was slow is tried again.
	leastSamples = 8
	latencyFresh = 10 * time.Second
)

func (l *latency) add(at int64, sample time.Duration) {
	if sample <= 0 {
		return
	}
	if at-l.at.Load() > int64(latencyFresh) {
		l.count.Store(0) // what it was is not what it is
	}
	n := min(l.count.Load()+1, latencySamples)
	v := math.Float64frombits(l.value.Load())
	l.value.Store(math.Float64bits(v + (float64(sample)-v)/float64(n)))
	l.count.Store(n)
	l.at.Store(at)
}

// read returns the average for people, 0 where there is none of late.
func (l *latency) read(at int64) time.Duration {
	if l.count.Load() == 0 || at-l.at.Load() > int64(time.Minute) {
		return 0
	}
	return time.Duration(math.Float64frombits(l.value.Load()))
}

// compared returns the average for picks, 0 where it should not decide.
func (l *latency) compared(at int64) time.Duration {
	if l.count.Load() < leastSamples || at-l.at.Load() > int64(latencyFresh) {
		return 0
	}
	return time.Duration(math.Float64frombits(l.value.Load()))
}
