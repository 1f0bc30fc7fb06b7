package targets

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
)

func TestFirstTierServesUntilItCannot(t *testing.T) {
	w := newWorld(t, 1, 1)
	if got := w.call("a", throttled(20*time.Second)); got != w.tiers[0].Targets[0] {
		t.Fatal("the first request did not go to the first tier")
	}
	w.sleep(time.Second)
	if got := w.call("a", worked); got != w.tiers[1].Targets[0] {
		t.Error("a gated first tier does not spill")
	}
	until := w.state(0, 0).gate.OpensAt()
	w.now = until.Add(-1)
	if got := w.call("a", worked); got != w.tiers[1].Targets[0] {
		t.Error("taken one nanosecond before its gate ends")
	}
	w.now = until
	if got := w.call("a", worked); got != w.tiers[0].Targets[0] {
		t.Error("not preferred again the moment its gate ends")
	}
}

func TestEachTargetAtMostOnce(t *testing.T) {
	w := newWorld(t, 20, 20)
	s := w.begin("a")
	seen := make(map[*policy.Target]bool)
	for range 40 {
		ticket := w.next(s)
		if seen[ticket.Target] {
			t.Fatal("a target twice")
		}
		seen[ticket.Target] = true
		ticket.Observe(w.now, throttled(time.Minute))
		if !s.MayRetry(w.now, throttled(time.Minute)) {
			t.Fatal("no other target after a refusal that cost nothing")
		}
	}
	if _, ok := s.Next(w.now, w.rng); ok {
		t.Error("a forty-first of forty targets")
	}
}

func TestSuspectTargetComesAfterTheCleanOnesOfItsTier(t *testing.T) {
	w := newWorld(t, 2, 1)
	bad := w.call("a", broke)
	for range 50 {
		if w.call("a", worked) == bad {
			t.Fatal("taken though its last outcome was a failure")
		}
	}
	// With the clean one gone it is still before the next tier.
	clean := 0
	if w.tiers[0].Targets[0] == bad {
		clean = 1
	}
	w.gate(0, clean, time.Minute)
	if got := w.call("a", worked); got != bad {
		t.Error("the next tier was used before a suspect of this one")
	}
}

func TestSuspicionEndsAfterFiveSecondsForOneRequestAtATime(t *testing.T) {
	w := newWorld(t, 2)
	bad := w.call("a", broke)
	w.sleep(5*time.Second - 1)
	for range 50 {
		if w.call("a", worked) == bad {
			t.Fatal("taken before 5 s had passed")
		}
	}
	w.sleep(1)
	var trial *Ticket
	for range 50 {
		ticket := w.next(w.begin("a"))
		if ticket.Target != bad {
			ticket.Observe(w.now, worked)
			continue
		}
		if trial != nil {
			t.Fatal("two requests try it at once")
		}
		trial = ticket
	}
	if trial == nil {
		t.Fatal("never tried after 5 s")
	}
	trial.Observe(w.now, worked)
	for range 50 {
		if w.call("a", worked) == bad {
			return
		}
	}
	t.Error("still avoided after a success")
}

func TestEjectedTargetIsProbedByOneRequestWithTheRoutesLimits(t *testing.T) {
	w := newWorld(t, 2)
	w.eject(0, 0)
	out := w.state(0, 0).outUntil.Load()
	w.now = w.reg.base.Add(time.Duration(out) - 1)
	for range 20 {
		if w.call("a", worked) == w.tiers[0].Targets[0] {
			t.Fatal("used while its breaker is open")
		}
	}
	w.sleep(1)
	var probe *Ticket
	for range 20 {
		if ticket := w.next(w.begin("a")); ticket.Target == w.tiers[0].Targets[0] {
			if probe != nil {
				t.Fatal("two probes at once")
			}
			probe = ticket
		} else {
			ticket.Observe(w.now, worked)
		}
	}
	if probe == nil || !probe.Probe || probe.Connect != w.route.Connect || probe.FirstByte != w.route.FirstByte {
		t.Fatalf("no probe with the route's own limits: %+v", probe)
	}
	probe.Answered(w.now, time.Second)
	if w.reg.Status(w.now)[0].Share != 0.1 {
		t.Error("no slow start once a good answer has begun")
	}
	probe.Observe(w.now, worked)
}

func TestReadmittedTargetGetsAGrowingShare(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	if got := w.call("a", worked); got != w.tiers[0].Targets[0] {
		t.Fatal("the probe went elsewhere")
	}
	for _, c := range []struct {
		after    time.Duration
		min, max float64
	}{{0, 0.07, 0.13}, {15 * time.Second, 0.5, 0.6}, {15 * time.Second, 1, 1}} {
		w.sleep(c.after)
		n := 0
		const calls = 3000
		for range calls {
			if w.call("a", worked) == w.tiers[0].Targets[0] {
				n++
			}
		}
		if share := float64(n) / calls; share < c.min || share > c.max {
			t.Errorf("%v later: share %.3f, want %.2f…%.2f", c.after, share, c.min, c.max)
		}
	}
}

func TestReadmittedTargetServesAllIfThereIsNoOther(t *testing.T) {
	w := newWorld(t, 1)
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	w.call("a", worked)
	for range 100 {
		w.call("a", worked)
	}
}

func TestTargetNearItsLimitIsUsedLess(t *testing.T) {
	for _, c := range []struct {
		name     string
		signals  Signals
		min, max float64
	}{
		{"half left", Signals{RemainingRequests: 0.5, RemainingTokens: -1, Utilization: -1}, 0.45, 0.55},
		{"1 % of the tokens left", Signals{RemainingRequests: -1, RemainingTokens: 0.01, Utilization: -1}, 0.02, 0.13},
		{"97 % used", Signals{RemainingRequests: -1, RemainingTokens: -1, Utilization: 0.97}, 0.1, 0.33},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			st := w.state(0, 0)
			n := 0
			const calls = 3000
			for range calls {
				st.noteSignals(st.since(w.now), c.signals)
				if w.call("a", worked) == w.tiers[0].Targets[0] {
					n++
				}
			}
			if share := float64(n) / calls; share < c.min || share > c.max {
				t.Errorf("share %.3f, want %.2f…%.2f", share, c.min, c.max)
			}
			w.sleep(headroomFor)
			if st.usable(st.since(w.now)) != 1 {
				t.Error("believed for longer than its time")
			}
		})
	}
}

func TestPassiveRegionsServeOnlyForTheReasonsThePolicyNames(t *testing.T) {
	for _, c := range []struct {
		on              policy.FallbackOn
		gated, ejected  bool
		spills, drained bool
	}{
		{policy.FallbackOnAny, true, false, true, false},
		{policy.FallbackOnAny, false, true, true, false},
		{policy.FallbackOnFailure, true, false, false, false},
		{policy.FallbackOnFailure, false, true, true, false},
		{policy.FallbackOnFailure, false, false, true, true},
		{policy.FallbackOnThrottling, true, false, true, false},
		{policy.FallbackOnThrottling, false, true, false, false},
		{policy.FallbackOnThrottling, false, false, false, true},
	} {
		t.Run(fmt.Sprintf("%s/gated=%t/ejected=%t/drained=%t", c.on, c.gated, c.ejected, c.drained), func(t *testing.T) {
			w := newWorld(t, 1, 1).passive(1)
			w.stamp.FallbackOn = c.on
			if c.gated {
				w.gate(0, 0, time.Minute)
			}
			if c.ejected {
				w.eject(0, 0)
			}
			if c.drained {
				w.reg.SetDrained(map[string]bool{"t0-0": true}, nil)
			}
			s := w.begin("a")
			ticket, ok := s.Next(w.now, w.rng)
			if got := ok && ticket.Passive; got != c.spills {
				t.Errorf("spills = %t, want %t", got, c.spills)
			}
		})
	}
}

func TestPassiveRegionServesWhereTheOwnFailedThisRequest(t *testing.T) {
	w := newWorld(t, 1, 1).passive(1)
	w.stamp.FallbackOn = policy.FallbackOnFailure
	s := w.begin("a")
	first := w.next(s)
	first.Observe(w.now, broke)
	if !s.MayRetry(w.now, broke) || !w.next(s).Passive {
		t.Error("no second attempt in the passive region")
	}
}

func TestWhenAllAreEjectedAFewRequestsPerTargetAreLetThrough(t *testing.T) {
	w := newWorld(t, 2, 1)
	w.eject(0, 0)
	w.sleep(time.Second)
	w.eject(0, 1)
	w.sleep(time.Second)
	w.eject(1, 0)
	var order []string
	var held []*Ticket
	for range 3 * scouts {
		ticket := w.next(w.begin("a"))
		order, held = append(order, ticket.Target.Backend), append(held, ticket)
		if !ticket.Probe {
			t.Error("not as a test")
		}
	}
	if want := slices.Concat(slices.Repeat([]string{"t0-0"}, scouts), slices.Repeat([]string{"t0-1"}, scouts), slices.Repeat([]string{"t1-0"}, scouts)); !slices.Equal(order, want) {
		t.Errorf("order %v, want the oldest failure first", order)
	}
	s := w.begin("a")
	if _, ok := s.Next(w.now, w.rng); ok {
		t.Fatal("one more request was let through")
	}
	if v := s.Verdict(w.now); v.AllThrottled || v.RetryAfter != time.Second {
		t.Errorf("verdict %+v", v)
	}
	held[scouts].Observe(w.now, worked)
	if got := w.call("a", worked); got.Backend != "t0-1" {
		t.Errorf("after t0-1 has recovered: %s", got.Backend)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(w *world)
		want  Verdict
	}{
		{"all gated: the soonest of all tiers", func(w *world) {
			w.gate(0, 0, 40*time.Second)
			w.gate(0, 1, 50*time.Second)
			w.gate(1, 0, 7*time.Second)
		}, Verdict{AllThrottled: true, RetryAfter: 7 * time.Second}},
		{"at most a minute", func(w *world) {
			w.gate(0, 0, time.Hour)
			w.gate(0, 1, time.Hour)
			w.gate(1, 0, time.Hour)
		}, Verdict{AllThrottled: true, RetryAfter: time.Minute}},
		{"at least a millisecond", func(w *world) {
			w.gate(0, 0, time.Second)
			w.gate(0, 1, time.Second)
			w.gate(1, 0, time.Second)
			w.sleep(time.Second - 1)
		}, Verdict{AllThrottled: true, RetryAfter: time.Millisecond}},
		{"what is drained could not serve", func(w *world) {
			w.gate(0, 0, 9*time.Second)
			w.gate(0, 1, 9*time.Second)
			w.reg.SetDrained(map[string]bool{"t1-0": true}, nil)
		}, Verdict{AllThrottled: true, RetryAfter: 9 * time.Second}},
		{"all drained", func(w *world) {
			w.reg.SetDrained(map[string]bool{"t0-0": true, "t0-1": true, "t1-0": true}, nil)
		}, Verdict{AllThrottled: false, RetryAfter: time.Minute}},
		{"all retired", func(w *world) {
			for i := range 3 {
				w.told(i/2, i%2, Outcome{Kind: Retired}, "b", "c")
			}
		}, Verdict{AllRetired: true, RetryAfter: time.Minute}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, 1)
			c.setup(w)
			s := w.begin("a")
			if _, ok := s.Next(w.now, w.rng); ok {
				t.Fatal("something is left")
			}
			if got := s.Verdict(w.now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestLongGateIsTestedUnlessThePolicyForbids(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		w := newWorld(t, 1, 1)
		w.route.ProbeLongGates = allowed
		w.gate(0, 0, 24*time.Hour)
		w.sleep(time.Minute - 1)
		if w.call("a", worked).Backend != "t1-0" {
			t.Fatal("tested early")
		}
		w.sleep(1)
		first, second := w.next(w.begin("a")), w.next(w.begin("a"))
		if got := first.Target.Backend == "t0-0" && first.Probe; got != allowed {
			t.Errorf("allowed %t: tested %t", allowed, got)
		}
		if second.Target.Backend != "t1-0" {
			t.Error("two requests test it at once")
		}
		first.Observe(w.now.Add(time.Second), worked)
		w.sleep(2 * time.Second)
		if got := w.call("a", worked).Backend == "t0-0"; got != allowed {
			t.Errorf("allowed %t: open after the test's success: %t", allowed, got)
		}
	}
}

func TestMayRetry(t *testing.T) {
	no := new(false)
	for _, c := range []struct {
		name      string
		o         Outcome
		stateful  bool
		ambiguous *bool
		want      bool
	}{
		{"success", worked, false, nil, false},
		{"rejected", Outcome{Kind: Rejected}, false, nil, false},
		{"canceled", Outcome{Kind: Canceled}, false, nil, false},
		{"our own time is over", Outcome{Kind: OutOfTime, Sent: true}, false, nil, false},
		{"our own machine failed", Outcome{Kind: LocalFault}, false, nil, false},
		{"gave up", Outcome{Kind: GaveUp, Sent: true}, false, nil, true},
		{"gave up, and the policy forbids", Outcome{Kind: GaveUp, Sent: true}, false, no, true}, // it was answered
		{"stateful, gave up", Outcome{Kind: GaveUp, Sent: true}, true, nil, false},
		{"the wrong place", Outcome{Kind: Unfit}, true, nil, true},
		{"forbidden there", Outcome{Kind: OperationForbidden}, true, nil, true},
		{"missing there", Outcome{Kind: DeploymentMissing}, true, nil, true},
		{"retired there", Outcome{Kind: Retired}, true, nil, true},
		{"throttled", throttled(time.Second), false, nil, true},
		{"500", broke, false, nil, true},
		{"silence", Outcome{Kind: FirstByteTimeout, Sent: true}, false, nil, true},
		{"silence, and the policy forbids", Outcome{Kind: FirstByteTimeout, Sent: true}, false, no, false},
		{"500 is an answer, not silence", broke, false, no, true},
		{"broken off, and the policy forbids", Outcome{Kind: Broken, Sent: true}, false, no, false},
		{"broken off before it was sent", Outcome{Kind: Broken}, false, no, true},
		{"stateful, refused", throttled(time.Second), true, nil, true},
		{"stateful, not connected", Outcome{Kind: ConnectFailed}, true, nil, true},
		{"stateful, not sent in full", Outcome{Kind: Broken}, true, nil, true},
		{"stateful, 500", broke, true, nil, false},
		{"stateful, silence", Outcome{Kind: FirstByteTimeout, Sent: true}, true, nil, false},
		{"stateful, broken off", Outcome{Kind: Broken, Sent: true}, true, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3)
			if c.ambiguous != nil {
				w.route.RepeatAmbiguous = *c.ambiguous
			}
			req := w.request("a")
			req.Stateless = !c.stateful
			s := w.reg.Begin(req)
			w.next(&s).Observe(w.now, c.o)
			if got := s.MayRetry(w.now, c.o); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

func TestAtMostThreeAttemptsThatCost(t *testing.T) {
	w := newWorld(t, 6)
	s := w.begin("a")
	for i, o := range []Outcome{broke, throttled(time.Second), broke, {Kind: ConnectFailed}, broke} {
		w.next(s).Observe(w.now, o)
		if got, want := s.MayRetry(w.now, o), i < 4; got != want {
			t.Fatalf("attempt %d: may retry = %t, want %t", i+1, got, want)
		}
	}
}

func TestRetryThatFoundNoTargetIsGivenBack(t *testing.T) {
	w := newWorld(t, 1)
	for range 30 { // three times the reserve
		s := w.begin("a")
		w.next(s).Observe(w.now, broke)
		w.state(0, 0).suspectUntil.Store(never)
		w.state(0, 0).health.Reset()
		w.state(0, 0).copyOut(w.now)
		if !s.MayRetry(w.now, broke) {
			t.Fatal("the budget is spent on retries that were never made")
		}
		if _, ok := s.Next(w.now, w.rng); ok {
			t.Fatal("a second target of one")
		}
	}
}

func TestStatefulRequestTakesNoProbeWhileAnotherTargetIsSound(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	req := w.request("a")
	req.Stateless = false
	s := w.reg.Begin(req)
	if got := w.next(&s).Target.Backend; got != "t1-0" {
		t.Errorf("went to %s", got)
	}
}

func TestPinnedRequestGoesToItsBackendOnly(t *testing.T) {
	w := newWorld(t, 3, 3)
	req := w.request("a")
	req.Backend = "t1-2"
	s := w.reg.Begin(req)
	if got := w.next(&s).Target.Backend; got != "t1-2" {
		t.Fatalf("went to %s", got)
	}
	if _, ok := s.Next(w.now, w.rng); ok {
		t.Error("redirected to another backend")
	}
	w.gate(1, 2, 30*time.Second)
	if v := s.Verdict(w.now); !v.AllThrottled || v.RetryAfter != 30*time.Second {
		t.Errorf("verdict %+v, want its own gate", v)
	}
}

func TestTicketIsGivenBackOnce(t *testing.T) {
	w := newWorld(t, 1)
	ticket := w.next(w.begin("a"))
	if got := w.state(0, 0).inFlight.Load(); got != 1 {
		t.Errorf("%d in flight, want 1", got)
	}
	for range 3 {
		ticket.Observe(w.now, worked)
	}
	if got := w.state(0, 0).inFlight.Load(); got != 0 {
		t.Errorf("%d in flight, want 0", got)
	}
}

// Whatever happens: a target of the route's tiers, at most once, never one that
// is gated or drained or missing, and one in flight at most while its breaker is
// open.
func TestSelectionInvariants(t *testing.T) {
	kinds := []Kind{
		Success, Throttled, ConnectFailed, TLSFailed, ServerError, FirstByteTimeout, Broken,
		GaveUp, Unfit, IdentityRefused, OperationForbidden, DeploymentMissing, Retired, Rejected, Canceled, OutOfTime, LocalFault,
	}
	rapid.Check(t, func(rt *rapid.T) {
		tiers := tiersOf(rapid.SliceOfN(rapid.IntRange(0, 4), 1, 4).Draw(rt, "tiers")...)
		inside := make(map[*policy.Target]bool)
		for i := range tiers {
			tiers[i].Passive = i > 1
			for _, target := range tiers[i].Targets {
				inside[target] = true
			}
		}
		reg, route, now := New(""), testRoute(), time.Now()
		reg.addPlan(route, here, tiers)
		stamp := &policy.StampRules{FallbackOn: rapid.SampledFrom([]policy.FallbackOn{
			"", policy.FallbackOnFailure, policy.FallbackOnThrottling,
		}).Draw(rt, "fallbackOn")}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		var held []Ticket
		for range rapid.IntRange(1, 60).Draw(rt, "requests") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(rt, "pause")))
			s := reg.Begin(Request{
				Route: route, Stamp: stamp, Region: here, Stateless: rapid.Bool().Draw(rt, "stateless"),
				Client:    rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "client"),
				Operation: rapid.SampledFrom([]string{"chat", "embeddings"}).Draw(rt, "operation"),
				Tokens:    rapid.IntRange(0, 3).Draw(rt, "tokens"), Stream: rapid.Bool().Draw(rt, "stream"),
			})
			seen := make(map[*policy.Target]bool)
			for {
				ticket, ok := s.Next(now, rng)
				if !ok {
					if v := s.Verdict(now); v.RetryAfter < time.Millisecond || v.RetryAfter > time.Minute {
						rt.Fatalf("verdict out of bounds: %+v", v)
					}
					break
				}
				st := ticket.state
				switch {
				case !inside[ticket.Target]:
					rt.Fatal("a target from outside the tiers")
				case seen[ticket.Target]:
					rt.Fatal("a target twice")
				case !st.gate.Clear(now) && !ticket.admitted.test && !ticket.admitted.against:
					rt.Fatal("a gated target")
				}
				seen[ticket.Target] = true
				if rapid.IntRange(0, 9).Draw(rt, "hold") == 0 {
					held = append(held, ticket)
					break
				}
				o := Outcome{Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), Sent: rapid.Bool().Draw(rt, "sent")}
				if o.Kind == Throttled && rapid.Bool().Draw(rt, "named") {
					o = throttled(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "wait")))
				}
				ticket.Observe(now, o)
				if !s.MayRetry(now, o) {
					break
				}
			}
			if len(held) > 0 && rapid.Bool().Draw(rt, "late") {
				held[0].Observe(now, Outcome{Kind: rapid.SampledFrom(kinds).Draw(rt, "late kind"), Sent: true})
				held = held[1:]
			}
		}
		for _, ticket := range held {
			ticket.Observe(now, worked)
		}
		for _, st := range reg.view.Load().states {
			if n := st.inFlight.Load(); n != 0 {
				rt.Fatalf("%d in flight at the end", n)
			}
			if n, m := st.unanswered.Load(), st.scouting.Load(); n != 0 || m != 0 {
				rt.Fatalf("%d without an answer, %d scouts at the end", n, m)
			}
		}
	})
}

func TestAHundredGoroutines(t *testing.T) {
	w := newWorld(t, 3, 2, 2).passive(2)
	w.reg.OnChange(func(Change) {})
	w.reg.OnBudgetSpent(func(string) {})
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 100 {
				now := w.now.Add(time.Duration(i) * 100 * time.Millisecond)
				switch g {
				case 0:
					w.reg.ApplyRemote(now, []Report{{
						Key: w.tiers[0].Targets[0].Key, Gate: time.Millisecond, InFlight: 3, Breaker: 1,
					}})
					w.reg.ApplyHint(now, []Report{{Key: w.tiers[2].Targets[0].Key, Breaker: 1}}, time.Second)
				case 1:
					w.reg.Export(now)
					w.reg.Status(now)
				case 2:
					w.reg.SetDrained(map[string]bool{"t1-0": i%2 == 0}, nil)
					w.reg.Serves(now, w.request(""))
				case 3:
					w.reg.SetProbeOwner(func(policy.Key) bool { return i%2 == 0 })
					w.reg.Explain(now, w.request("x"))
				case 4: // another region's plan, made while requests run
					w.reg.Begin(Request{Route: testRoute(), Region: "elsewhere"})
				default:
					s := w.reg.Begin(w.request(string(rune('a' + g%5))))
					for {
						ticket, ok := s.Next(now, rng)
						if !ok {
							s.Verdict(now)
							break
						}
						o := Outcome{Kind: Kind(rng.IntN(int(LocalFault) + 1)), FirstByte: time.Second}
						if o.Kind == Success {
							ticket.Answered(now, time.Second)
						}
						ticket.Observe(now, o)
						if !s.MayRetry(now, o) {
							break
						}
					}
				}
			}
		})
	}
	wg.Wait()
	for _, s := range w.reg.Status(w.now) {
		if s.InFlight != 0 {
			t.Errorf("%v: %d in flight", s.Key, s.InFlight)
		}
	}
}

func TestCommonCaseAllocatesNothing(t *testing.T) {
	w := newWorld(t, 3)
	req := w.request("a")
	if n := testing.AllocsPerRun(200, func() {
		s := w.reg.Begin(req)
		ticket, _ := s.Next(w.now, w.rng)
		ticket.Answered(w.now, time.Second)
		ticket.Observe(w.now, worked)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
