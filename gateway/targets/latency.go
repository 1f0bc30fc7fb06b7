package targets

import (
	"math"
	"sync/atomic"
	"time"
)

// A latency is a peak EWMA of the time to the first byte: it follows a rise at
// once and forgets with a time constant. Two goroutines that add at the same
// moment may lose one sample; the average does not care.
type latency struct {
	value atomic.Uint64 // float64 bits, ns; 0: no sample yet
	at    atomic.Int64  // of the last sample, ns since the registry's base
}

// latencyDecay is the time constant.
const latencyDecay = 10 * time.Second

func (l *latency) add(at int64, sample time.Duration) {
	if sample <= 0 {
		return
	}
	v := math.Float64frombits(l.value.Load())
	s := float64(sample)
	if s < v {
		keep := decay(at - l.at.Load())
		s = v*keep + s*(1-keep)
	}
	l.value.Store(math.Float64bits(s))
	l.at.Store(at)
}

// read returns the average, 0 where there is none. Without samples it fades, so
// that a target which was slow once is tried again.
func (l *latency) read(at int64) time.Duration {
	v := l.value.Load()
	if v == 0 {
		return 0
	}
	return time.Duration(math.Float64frombits(v) * decay(at-l.at.Load()))
}

func decay(past int64) float64 {
	if past <= 0 {
		return 1
	}
	return math.Exp(-float64(past) / float64(latencyDecay))
}
