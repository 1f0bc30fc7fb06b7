package scorecard

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// P7: a client whose requests make any backend answer 500 harms nobody else:
// every other request is answered at the first attempt, and no breaker opens for
// others.
func TestP7PoisonClient(t *testing.T) {
	const (
		poisoned = 150
		honest   = 120 // while the poison flows, and as many again after it
	)
	healthy, err := measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(t.Context(), RunGateway, layout{number: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, i := range s.inside {
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500, Only: azuresim.OnlyStream}); err != nil {
			t.Fatal(err)
		}
	}
	poisoner, neighbour := newClient(s.keys[0]), newClient(s.keys[1])
	defer poisoner.close()
	defer neighbour.close()

	ask := func(n int) {
		for range n {
			if a := neighbour.ask(t.Context(), s.url, Plain); !a.complete || a.text != healthy.text || a.attempts != 1 {
				t.Errorf("a neighbour's request: status %d after %d attempts, %v: %s", a.status, a.attempts, a.err, a.raw)
			}
		}
	}
	var wg sync.WaitGroup
	var answered atomic.Int32
	for range 3 {
		wg.Go(func() {
			for range poisoned / 3 {
				if a := poisoner.ask(t.Context(), s.url, Stream); a.status == 200 {
					answered.Add(1)
				}
			}
		})
	}
	ask(honest)
	wg.Wait()
	if n := answered.Load(); n != 0 {
		t.Errorf("%d poison requests were answered: they are none", n)
	}
	struck := 0
	for _, i := range s.inside {
		struck += int(i.Faults()[0].Fired)
	}
	// P6: what the poison costs the backends is bounded like any failure's: one
	// attempt each, a tenth more, and the reserve of ten with what refills it.
	if limit := poisoned + poisoned/10 + 10 + 20; struck == 0 || struck > limit {
		t.Errorf("%d poison requests made the backends fail %d times, want 1 to %d", poisoned, struck, limit)
	}
	// No breaker is open for others: when only one of the poisoned backends is
	// left, it serves many at a time. An ejected one would be tried by one.
	for _, i := range s.inside[1:] {
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultRefuse}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.inside[0].SetLatency(azuresim.Latency{FirstToken: 5 * time.Millisecond}); err != nil { // so that they overlap
		t.Fatal(err)
	}
	for range 6 {
		wg.Go(func() {
			for range honest / 6 {
				if a := neighbour.ask(t.Context(), s.url, Plain); !a.complete {
					t.Errorf("with one backend left: status %d after %d attempts, %v: %s", a.status, a.attempts, a.err, a.raw)
				}
			}
		})
	}
	wg.Wait()
}
