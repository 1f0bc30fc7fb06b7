package targets

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

// What a target has learned of its room is worth nothing after a refusal: each
// reopening lets scouts go first, not the first one alone.
func TestEveryReopeningOfAGateRamps(t *testing.T) {
	w := newWorld(t, 1)
	crowd := func() (open []*Ticket) {
		for range 200 {
			s := w.begin("a")
			if ticket, ok := s.Next(w.now, w.rng); ok {
				open = append(open, &ticket)
			}
		}
		return open
	}
	for round := range 4 {
		w.call("a", throttled(20*time.Second))
		w.now = w.state(0, 0).gate.OpensAt()
		open := crowd()
		if len(open) != firstRoom {
			t.Errorf("reopening %d: %d of 200 let through at once, want %d", round+1, len(open), firstRoom)
		}
		for range 120 { // it answers at once, for 12 s
			w.sleep(100 * time.Millisecond)
			for _, ticket := range open {
				ticket.Answered(w.now, 100*time.Millisecond)
				ticket.Observe(w.now, worked)
			}
			open = crowd()
		}
		for _, ticket := range open {
			ticket.Observe(w.now, worked)
		}
	}
}

// A target that was slow gets its share again when it is well.
func TestTargetThatWasSlowGetsItsShareAgain(t *testing.T) {
	for _, stream := range []bool{false, true} {
		w := newWorld(t, 3)
		share := func(slow, d time.Duration) float64 {
			calls, there := 0, 0
			for end := w.now.Add(d); w.now.Before(end); calls++ {
				req := w.request("a")
				req.Stream = stream
				s := w.reg.Begin(req)
				ticket, took := w.next(&s), 20*time.Millisecond
				if ticket.Target == w.tiers[0].Targets[0] {
					there++
					took = slow
				}
				w.sleep(20 * time.Millisecond)
				ticket.Answered(w.now, took)
				ticket.Observe(w.now, Outcome{Kind: Success, FirstByte: took, Sent: true})
			}
			return float64(there) / float64(calls)
		}
		if got := share(2*time.Second, time.Minute); got > 0.1 {
			t.Errorf("stream %t: a hundred times slower, share %.3f", stream, got)
		}
		if got := share(20*time.Millisecond, time.Minute); got < 0.28 {
			t.Errorf("stream %t: in the minute after it was well again its share is %.3f, want about 0.33", stream, got)
		}
	}
}

// A burst of refusals with a wait of milliseconds keeps nobody away for longer.
func TestShortRefusalsKeepNobodyAwayForLong(t *testing.T) {
	w := newWorld(t, 8)
	s := w.begin("only")
	for {
		ticket, ok := s.Next(w.now, w.rng)
		if !ok {
			break
		}
		ticket.Observe(w.now, throttled(200*time.Millisecond))
		s.MayRetry(w.now, throttled(200*time.Millisecond))
	}
	w.sleep(2 * time.Second)
	for _, client := range []string{"only", "other"} {
		s := w.begin(client)
		s.look(w.now)
		for j := range 8 {
			if s.blocked(&s.plan.tiers[0], j) != fine {
				t.Errorf("2 s after a refusal of 200 ms, target %d is out for %s", j, client)
			}
		}
	}
}

// Peers' word is tested although it came while our own gate was closed, and although
// the test itself takes minutes.
func TestPeersWordIsTestedWhateverTheMoment(t *testing.T) {
	w := newWorld(t, 2)
	w.gate(0, 0, 5*time.Second)
	w.sleep(time.Second)
	w.reg.ApplyRemote(w.now, w.reports(Report{Gate: time.Hour, Age: time.Millisecond}, 0))
	there := 0
	for range 120 {
		w.sleep(time.Second)
		w.reg.ApplyRemote(w.now, nil)
		if w.call("a", worked) == w.tiers[0].Targets[0] {
			there++
		}
	}
	if there < 40 {
		t.Errorf("%d of 120 calls in two minutes after a word that was given once", there)
	}

	w = newWorld(t, 1)
	refused := 0
	var tests []*Ticket
	for range 120 {
		w.reg.ApplyRemote(w.now, w.reports(Report{Gate: time.Hour, Age: time.Millisecond}, 0))
		s := w.begin("b")
		if ticket, ok := s.Next(w.now, w.rng); ok {
			tests = append(tests, &ticket)
		} else {
			refused++
		}
		w.sleep(time.Second)
		if len(tests) == 12 {
			break // answers of two minutes: the first has come
		}
	}
	if refused > 9*12 {
		t.Errorf("%d refused while a slow test ran", refused)
	}
	tests[0].Observe(w.now, worked)
	w.reg.ApplyRemote(w.now, w.reports(Report{Gate: time.Hour, Age: time.Millisecond}, 0))
	w.call("b", worked)
}

// One client's request that no quota admits says nothing of the targets' health.
func TestOversizedRequestDoesNotChangeHealth(t *testing.T) {
	w := newWorld(t, 3)
	for _, target := range w.tiers[0].Targets {
		target.TokensPerMinute = 1000
	}
	req := w.request("a")
	req.Tokens = 100_000
	s := w.reg.Begin(req)
	for {
		ticket, ok := s.Next(w.now, w.rng)
		if !ok {
			break
		}
		ticket.Observe(w.now, throttled(time.Hour))
		s.MayRetry(w.now, throttled(time.Hour))
	}
	if got := w.reg.Serves(w.now, w.request("")); got != OwnAvailable {
		t.Errorf("health says %v", got)
	}
}

// A client that gives up makes a silent target no better.
func TestClientsThatGiveUpDoNotHideSilence(t *testing.T) {
	w := newWorld(t, 2)
	stream := func() *Ticket {
		req := w.request("a")
		req.Stream = true
		s := w.reg.Begin(req)
		return w.next(&s)
	}
	for range 40 {
		ticket := stream()
		w.sleep(20 * time.Millisecond)
		ticket.Answered(w.now, 20*time.Millisecond)
		ticket.Observe(w.now, worked)
	}
	silent := 0
	type pending struct {
		ticket *Ticket
		since  time.Time
	}
	var waiting []pending
	for range 1000 {
		ticket := stream()
		w.sleep(20 * time.Millisecond)
		if ticket.Target == w.tiers[0].Targets[0] {
			silent++
			waiting = append(waiting, pending{ticket, w.now})
		} else {
			ticket.Answered(w.now, 20*time.Millisecond)
			ticket.Observe(w.now, worked)
		}
		for len(waiting) > 0 && w.now.Sub(waiting[0].since) >= 500*time.Millisecond {
			waiting[0].ticket.Observe(w.now, Outcome{Kind: Canceled})
			waiting = waiting[1:]
		}
	}
	for _, p := range waiting {
		p.ticket.Observe(w.now, Outcome{Kind: Canceled})
	}
	if silent > 150 {
		t.Errorf("the silent target got %d of 1,000 streams", silent)
	}
}

// A request that is quicker for the last room does not end the slower one.
func TestLostRaceForRoomIsAWait(t *testing.T) {
	w := newWorld(t, 1, 1)
	s := w.begin("a")
	w.next(s).Observe(w.now, broke)
	s.MayRetry(w.now, broke)
	s.look(w.now)
	w.state(1, 0).scouting.Store(firstRoom)
	w.state(1, 0).scouted.Store(s.at)
	if _, ok := s.take(1, 0, admission{}); ok {
		t.Fatal("a full target took one more")
	}
	if _, ok := s.Wait(w.now); !ok {
		t.Error("it may not wait")
	}
}

// An idle peer stays half-open for minutes, for no call of its own tests the target.
// It knows no more than we do: our traffic stays, and our tests do not wait for it.
func TestIdlePeersHalfOpenBreakerMovesNothing(t *testing.T) {
	w := newWorld(t, 3, 2).passive(1)
	w.reg.SetProbeOwner(func(policy.Key) bool { return false })
	for i := range 3 {
		w.eject(0, i)
	}
	w.now = w.reg.base.Add(time.Duration(max(w.state(0, 0).outUntil.Load(), w.state(0, 1).outUntil.Load(), w.state(0, 2).outUntil.Load())))
	served := make(map[int]int)
	for second := range 60 {
		w.reg.ApplyRemote(w.now, w.reports(Report{Breaker: breaker.HalfOpen}, 0, 1, 2))
		for range 10 {
			ticket := w.next(w.begin("a"))
			if second >= 30 {
				served[ticket.Tier]++
			}
			ticket.Observe(w.now, worked)
		}
		w.sleep(time.Second)
	}
	if served[1] > served[0]/10 {
		t.Errorf("from 30 s on the own region served %d, the passive one %d", served[0], served[1])
	}
}

// A peer whose breaker is open is doubted, and tested by one request every 10 s.
func TestDoubtedTargetIsTestedNowAndThen(t *testing.T) {
	w := newWorld(t, 2)
	there := 0
	for range 60 {
		w.reg.ApplyRemote(w.now, w.reports(Report{Breaker: breaker.Open, BreakerFor: time.Minute}, 0))
		for range 10 {
			ticket := w.next(w.begin("a"))
			if ticket.Target == w.tiers[0].Targets[0] {
				there++
				ticket.Observe(w.now, broke) // the peer is right
				continue
			}
			ticket.Observe(w.now, worked)
		}
		w.sleep(time.Second)
	}
	if there < 3 || there > 8 {
		t.Errorf("asked %d times in a minute, want about 5", there)
	}
}

// Explain never tells a wait that nobody could mean.
func TestExplainTellsSaneWaits(t *testing.T) {
	for _, kind := range []Kind{DeploymentMissing, Retired, OperationForbidden, IdentityRefused, ServerError} {
		w := newWorld(t, 2, 1)
		for i := range 3 {
			w.told(i/2, i%2, Outcome{Kind: kind, Sent: true}, "a")
		}
		w.told(0, 1, throttled(time.Hour), "b")
		for _, client := range []string{"a", "b", "c"} {
			for _, e := range w.reg.Explain(w.now, w.request(client)) {
				if wait := time.Duration(e.Wait); wait < 0 || wait > 24*time.Hour {
					t.Errorf("kind %d, client %s: %q for %v", kind, client, e.Reason, wait)
				}
			}
		}
	}
}
