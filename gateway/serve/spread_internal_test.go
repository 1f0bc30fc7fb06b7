package serve

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/refusal"
)

func TestWaitIsSpreadWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wait := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(2*time.Hour)).Draw(t, "wait"))
		draw := rapid.Float64Range(0, 0.999999).Draw(t, "draw")
		got := spread(wait, draw)
		span := min(max(wait/2, 500*time.Millisecond), 5*time.Second)
		if got > time.Minute {
			t.Fatalf("%v: SDKs ignore what is longer than a minute", got)
		}
		if wait+span <= time.Minute && (got < wait || got > wait+span) {
			t.Fatalf("%v became %v", wait, got)
		}
		if wait+span > time.Minute && got < time.Minute-span {
			t.Fatalf("%v became %v", wait, got)
		}
	})
}

// Eighty clients told of one opening must not come back in the same moment.
func TestClientsToldOfOneOpeningAreSpread(t *testing.T) {
	for _, wait := range []time.Duration{time.Millisecond, 2 * time.Second, 20 * time.Second, time.Minute, time.Hour} {
		slots := map[int64]int{} // of 100 ms
		for range 80 {
			h := addRetry(nil, refusal.Reply{After: wait}, rand.Float64())
			inMs, _ := h.Get("Retry-After-Ms")
			inSeconds, _ := h.Get("Retry-After")
			ms, err := strconv.ParseInt(inMs, 10, 64)
			seconds, err2 := strconv.ParseInt(inSeconds, 10, 64)
			if err != nil || err2 != nil || ms <= 0 || ms > 60_000 || seconds*1000 < ms || seconds > 60 {
				t.Fatalf("%v: header %v", wait, h)
			}
			slots[ms/100]++
		}
		for slot, n := range slots {
			if n > 40 {
				t.Errorf("%v: %d of 80 clients come back in the tenth of a second from %d ms", wait, n, slot*100)
			}
		}
	}
}
