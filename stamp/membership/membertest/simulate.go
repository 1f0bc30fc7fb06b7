package membertest

import (
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
	Verdicts int     // how many targets are gated, one after the other
	Targets  int     // with load, in the report of each gateway
	Seed     uint64
}

// Result is what came out. Bytes are those handed to the network, keys and
// labels included, headers of UDP, TCP and IP not.
type Result struct {
	Whole         time.Duration // from starting all at once until all see all
	Deliveries    int
	P50, P99, Max time.Duration // from publishing a verdict until a peer has it, over all peers
	IdleBytes     float64       // sent per second and gateway while nothing happens
	BusyBytes     float64       // the same while the load of all targets of all gateways changes all the time
	ReportBytes   int           // held by each gateway at the end
}

// Simulate runs a stamp in the bubble of the test and measures it.
func Simulate(t testing.TB, s Simulation) Result {
	t.Helper()
	net := NewNetwork(t, s.Seed)
	stamp := StartStamp(t, net, s.Gateways, nil)
	var r Result
	r.Whole = Await(t, 5*time.Minute, "all see all", func() bool { return AllSee(stamp) })
	publish(stamp, s.Targets, 0)
	<-time.After(time.Minute) // what starting has stirred up settles
	net.SetLoss(s.Loss)
	r.IdleBytes = rate(stamp, time.Minute, func() { <-time.After(time.Minute) })
	rng := rand.New(rand.NewPCG(s.Seed, 2))
	var times []time.Duration
	for i := range s.Verdicts {
		times = append(times, verdict(t, stamp, rng.IntN(len(stamp)), time.Duration(i+1)*time.Minute)...)
		<-time.After(2 * time.Second)
	}
	slices.Sort(times)
	r.Deliveries = len(times)
	if n := len(times); n > 0 {
		r.P50, r.P99, r.Max = times[n/2], times[n*99/100], times[n-1]
	}
	r.BusyBytes = rate(stamp, time.Minute, func() {
		for i := range 120 {
			publish(stamp, s.Targets, uint32(i+1))
			<-time.After(time.Minute / 120)
		}
	})
	r.ReportBytes = stamp[0].Status().StateBytes
	return r
}

// publish gives every gateway new load on all targets.
func publish(stamp []*Gateway, targets int, inFlight uint32) {
	for _, g := range stamp {
		g.Publish(report(targets, inFlight, 0))
	}
}

// report speaks of targets of two backends. A gate is on the first.
func report(targets int, inFlight uint32, gate time.Duration) membership.Report {
	r := membership.Report{Health: "pass", PolicySerial: 42}
	for i := range targets {
		origin := "https://swc-ptu.openai.azure.com"
		if i%2 == 1 {
			origin = "https://swc-standard.openai.azure.com"
		}
		r.Targets = append(r.Targets, membership.TargetReport{
			Origin: origin, Deployment: "gpt-4o-" + string(rune('a'+i/2)),
			InFlight: inFlight + uint32(i), FirstByteEWMA: 800 * time.Millisecond, LastSuccessAge: time.Second,
		})
	}
	if targets > 0 {
		r.Targets[0].GateRemaining = gate
	}
	return r
}

// verdict lets one gateway gate a target and returns how long each other took
// to hear of it.
func verdict(t testing.TB, stamp []*Gateway, from int, gate time.Duration) []time.Duration {
	t.Helper()
	name := stamp[from].Self().Name
	targets := 1
	for _, p := range stamp[(from+1)%len(stamp)].View().Peers {
		targets = max(targets, len(p.Report.Targets))
	}
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
				for _, p := range g.View().Peers {
					if p.Member.Name == name && len(p.Report.Targets) > 0 && p.Report.Targets[0].GateRemaining == gate {
						mu.Lock()
						times = append(times, time.Since(start))
						mu.Unlock()
						return
					}
				}
				select {
				case <-changed:
				case <-limit:
					t.Errorf("%s never heard of it", g.Self().Gateway)
					return
				}
			}
		})
	}
	stamp[from].Publish(report(targets, 0, gate))
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
