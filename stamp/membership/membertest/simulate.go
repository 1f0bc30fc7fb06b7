package membertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/membership"
)

// Simulation says what to simulate.
type Simulation struct {
	Gateways int
	Loss     float64 // share of packets that get lost
	Urgent   int     // how many urgent payloads are broadcast, one after the other
	Payload  int     // size of each payload, in bytes
	Seed     uint64
}

// Result is what came out. Bytes are those handed to the network, keys and
// labels included, headers of UDP, TCP and IP not.
type Result struct {
	Whole         time.Duration // from starting all at once until all see all
	Deliveries    int
	P50, P99, Max time.Duration // from an urgent broadcast until a peer has it, over all peers
	IdleBytes     float64       // sent per second and gateway while nothing happens
	BusyBytes     float64       // the same while routine payloads of all gateways change all the time
	StateBytes    int           // held by each gateway at the end
}

// Simulate runs a stamp in the bubble of the test and measures it.
func Simulate(t testing.TB, s Simulation) Result {
	t.Helper()
	net := NewNetwork(t, s.Seed)
	stamp := StartStamp(t, net, s.Gateways, nil)
	var r Result
	r.Whole = Await(t, 5*time.Minute, "all see all", func() bool { return AllSee(stamp) })
	broadcast(stamp, s.Payload, "first")
	<-time.After(time.Minute) // what starting has stirred up settles
	net.SetLoss(s.Loss)
	r.IdleBytes = rate(stamp, time.Minute, func() { <-time.After(time.Minute) })
	rng := rand.New(rand.NewPCG(s.Seed, 2))
	var times []time.Duration
	for i := range s.Urgent {
		times = append(times, urgent(t, stamp, rng.IntN(len(stamp)), payload(s.Payload, fmt.Sprint("urgent ", i)))...)
		<-time.After(2 * time.Second)
	}
	slices.Sort(times)
	r.Deliveries = len(times)
	if n := len(times); n > 0 {
		r.P50, r.P99, r.Max = times[n/2], times[n*99/100], times[n-1]
	}
	r.BusyBytes = rate(stamp, time.Minute, func() {
		for i := range 120 {
			broadcast(stamp, s.Payload, fmt.Sprint("routine ", i))
			<-time.After(time.Minute / 120)
		}
	})
	r.StateBytes = stamp[0].Status().StateBytes
	return r
}

// broadcast gives every gateway new routine state.
func broadcast(stamp []*Gateway, size int, text string) {
	for _, g := range stamp {
		g.Channel(Channel).Broadcast(1, payload(size, text), membership.Routine)
	}
}

// payload begins with a text and has the given size.
func payload(size int, text string) []byte {
	return append([]byte(text), make([]byte, max(0, size-len(text)))...)
}

// urgent lets one gateway broadcast an urgent payload and returns how long each
// other took to have it.
func urgent(t testing.TB, stamp []*Gateway, from int, sent []byte) []time.Duration {
	t.Helper()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards times
		times []time.Duration
		start = time.Now()
	)
	for i, g := range stamp {
		if i == from {
			continue
		}
		wg.Go(func() {
			limit := time.After(time.Minute)
			for {
				changed := g.Changed()
				if g.Has(stamp[from], string(sent)) {
					mu.Lock()
					times = append(times, time.Since(start))
					mu.Unlock()
					return
				}
				select {
				case <-changed:
				case <-limit:
					t.Errorf("%s never received it", g.Self().Gateway)
					return
				}
			}
		})
	}
	stamp[from].Broadcast(string(sent))
	wg.Wait()
	return times
}

// rate returns what was sent per second and gateway while f ran.
func rate(stamp []*Gateway, per time.Duration, f func()) float64 {
	sum := func() (n int64) {
		for _, g := range stamp {
			s := g.Net.Traffic()
			n += s.PacketBytes + s.StreamBytes
		}
		return n
	}
	before := sum()
	f()
	return float64(sum()-before) / per.Seconds() / float64(len(stamp))
}
