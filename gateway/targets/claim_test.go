package targets

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// A peer that lies of every target cannot end the service: each target is asked
// once, and a success outweighs the lie for as long as successes follow.
func TestPeersWordOnGatesIsTestedWhereNothingElseIsLeft(t *testing.T) {
	w := newWorld(t, 1)
	lie := func() {
		w.reg.ApplyRemote(w.now, w.reports(Report{Gate: time.Hour, Age: time.Millisecond}, 0))
	}
	lie()
	s := w.begin("a")
	first, ok := s.Next(w.now, w.rng)
	if !ok {
		t.Fatal("no target, though no refusal was seen here")
	}
	if first.Probe {
		t.Error("the attempt has the short limits of a probe, though nothing has failed")
	}
	if _, ok := w.begin("c").Next(w.now, w.rng); ok {
		t.Error("a target is tested by two requests at once")
	}
	lie() // while the test runs
	first.Answered(w.now, time.Millisecond)
	for range 20 {
		lie()
		if _, ok := w.begin("d").Next(w.now, w.rng); !ok {
			t.Fatal("a lie that was disproved is believed again")
		}
		w.call("e", worked)
		w.sleep(5 * time.Second)
	}
}

// Where the peers are right, one request finds out, and no more follow.
func TestPeersWordOnGatesThatIsTrueCostsOneRequest(t *testing.T) {
	w := newWorld(t, 1)
	w.reg.ApplyRemote(w.now, w.reports(Report{Gate: 20 * time.Second, Age: time.Second}, 0))
	ticket := w.next(w.begin("a"))
	ticket.Observe(w.now, Outcome{Kind: Throttled, Signals: Signals{RetryAfter: 20 * time.Second}})
	for range 20 {
		if _, ok := w.begin("a").Next(w.now, w.rng); ok {
			t.Fatal("a throttled target is asked again")
		}
		w.reg.ApplyRemote(w.now, w.reports(Report{Gate: 20 * time.Second, Age: time.Second}, 0))
		w.sleep(900 * time.Millisecond)
	}
}

// As long as a peer's breaker is open, the owner's may be: there is nothing that
// it should have done. That puts a test off, but not for ever.
func TestProbeWaitsForOwnersOpenBreaker(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.reg.SetProbeOwner(func(k policy.Key) bool { return false })
	w.eject(0, 0)
	due := w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	open := func(d time.Duration) {
		w.reg.ApplyRemote(w.now, w.reports(Report{Breaker: breaker.Open, BreakerFor: d}, 0))
	}
	w.now = due
	open(10 * time.Second)
	w.now = due.Add(10*time.Second + probeGrace - 1)
	if got := w.call("a", worked).Backend; got != "t1-0" {
		t.Fatal("probed before the owner could have")
	}
	w.sleep(1)
	if ticket := w.next(w.begin("a")); !ticket.Probe {
		t.Error("the owner has done nothing for the grace period, and nobody else probes")
	} else {
		ticket.Observe(w.now, Outcome{Kind: Canceled})
	}
	w.now = due.Add(probeDelay + probeGrace)
	open(time.Hour)
	if ticket := w.next(w.begin("a")); !ticket.Probe {
		t.Error("a peer that reports open for ever keeps the target from being tested")
	}
}
