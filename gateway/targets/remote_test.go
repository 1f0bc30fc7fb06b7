package targets

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
)

func (w *world) key(tier, i int) policy.Key { return w.tiers[tier].Targets[i].Key }

// reports is one peer's report of targets of the first tier.
func (w *world) reports(o Report, indexes ...int) []Report {
	var all []Report
	for _, i := range indexes {
		o.Key = w.key(0, i)
		all = append(all, o)
	}
	return all
}

// count returns how many of a number of calls went to each target of tier 0.
func (w *world) count(calls int) map[string]int {
	n := make(map[string]int)
	for range calls {
		n[w.call("a", worked).Backend]++
	}
	return n
}

func TestPeersGateGatesHereAtOnce(t *testing.T) {
	w := newWorld(t, 2)
	w.reg.ApplyRemote(w.now, w.reports(Report{Gate: 20 * time.Second, Age: time.Second}, 0))
	if n := w.count(50); n["t0-0"] != 0 {
		t.Errorf("%d requests to a target that a peer found throttled", n["t0-0"])
	}
	if all := w.reg.Export(w.now); len(all) != 1 || all[0].Key != w.key(0, 1) {
		t.Errorf("a peer's gate is published as our own: %+v", all)
	}
	w.reg.ApplyRemote(w.now, nil) // the peer is gone; what the target asked for still holds
	w.sleep(claimTest - 1)
	if n := w.count(50); n["t0-0"] != 0 {
		t.Error("forgotten with the peer")
	}
}

const maxJitterOfGate = time.Second

// Peers' word on gates is tested now and then: a request that is refused costs
// nothing, and one that is served ends a lie.
func TestPeersGateIsTestedNowAndThen(t *testing.T) {
	w := newWorld(t, 2)
	report := func() {
		w.reg.ApplyRemote(w.now, w.reports(Report{Gate: time.Hour, Age: time.Second}, 0))
	}
	report()
	w.sleep(claimTest)
	report()
	var test *Ticket
	for range 50 {
		ticket := w.next(w.begin("a"))
		if ticket.Target.Backend != "t0-0" {
			ticket.Observe(w.now, worked)
			continue
		}
		if test != nil {
			t.Fatal("two requests test it at once")
		}
		test = ticket
	}
	if test == nil {
		t.Fatal("not tested after 10 s")
	}
	test.Observe(w.now, throttled(30*time.Second))
	w.sleep(29 * time.Second)
	if n := w.count(50); n["t0-0"] != 0 {
		t.Error("asked again though it was refused here as well")
	}
}

// One gateway that lies, each second, for as long as it likes: the others' traffic
// stays in the region.
func TestOnePeerCannotMoveTheTraffic(t *testing.T) {
	for _, own := range []int{1, 2, 3, 6} {
		w := newWorld(t, own, 2).passive(1)
		counts := [2]int{}
		for second := range 600 {
			var all []Report
			for _, tg := range w.tiers[0].Targets {
				all = append(all, Report{
					Key: tg.Key, Gate: 24 * time.Hour, Breaker: breaker.Open, BreakerFor: time.Hour, InFlight: 1 << 20,
				})
			}
			if second >= 10 { // ten sound seconds before
				w.reg.ApplyRemote(w.now, all)
			}
			for i := range 10 {
				ticket := w.next(w.begin(string(rune('a' + i%5))))
				if second >= 10 {
					counts[ticket.Tier]++
				}
				ticket.Observe(w.now, worked)
			}
			w.sleep(time.Second)
		}
		t.Logf("%d own targets, sound: of %d requests in ten minutes %d went to the passive region", own, counts[0]+counts[1], counts[1])
		if counts[1] > counts[0]/20 {
			t.Errorf("%d own targets: one gateway moved %d of %d requests out of the region", own, counts[1], counts[0]+counts[1])
		}
	}
}

func TestPeersInFlightCountsAsLoad(t *testing.T) {
	w := newWorld(t, 2)
	w.reg.ApplyRemote(w.now, append(
		w.reports(Report{InFlight: 30}, 0), w.reports(Report{InFlight: 20}, 0)...))
	if n := w.count(8); n["t0-0"] != 0 {
		t.Errorf("%d of 8 requests to the target with 50 in flight at peers", n["t0-0"])
	}
	// But the weights rule the split: a peer that invents load moves nothing.
	if n := w.count(1000); n["t0-0"] < 480 {
		t.Errorf("%d of 1000 requests to the target that peers report as loaded", n["t0-0"])
	}
}

func TestPeersCanHoldBackHalfOfTheTargetsAtMost(t *testing.T) {
	w := newWorld(t, 6)
	all := w.reports(Report{Breaker: breaker.Open, BreakerFor: time.Minute}, 0, 1, 2, 3, 4, 5)
	all = append(all, w.reports(Report{Breaker: breaker.Open, BreakerFor: time.Minute}, 5)...)
	w.reg.ApplyRemote(w.now, all)
	n := w.count(300)
	if len(n) != 3 || n["t0-5"] != 0 {
		t.Errorf("served by %v: want three, and not the one of which two peers report that it fails", n)
	}
	w.sleep(remoteFor)
	if n := w.count(300); len(n) != 6 {
		t.Errorf("after gossip fell silent served by %v", n)
	}
}

func TestOwnSuccessOutweighsPeers(t *testing.T) {
	w := newWorld(t, 2)
	w.state(0, 0).succeeded.Store(w.reg.since(w.now))
	w.sleep(time.Second)
	w.reg.ApplyRemote(w.now, w.reports(Report{Breaker: breaker.Open, BreakerFor: time.Minute}, 0))
	if n := w.count(50); n["t0-0"] == 0 {
		t.Error("held back in spite of our own success")
	}
}

// Nothing else is left: then a doubted target serves, and none is refused.
func TestPeersCannotEndTheService(t *testing.T) {
	w := newWorld(t, 1)
	w.reg.ApplyRemote(w.now, w.reports(Report{Breaker: breaker.Open, BreakerFor: time.Minute}, 0))
	var held []*Ticket
	for range 50 { // at once: it is not a matter of probes
		held = append(held, w.next(w.begin("a")))
	}
	for _, ticket := range held {
		ticket.Observe(w.now, worked)
	}
	w.eject(0, 0)
	w.reg.ApplyRemote(w.now, w.reports(Report{SuccessAge: 1}, 0))
	if s := w.reg.Status(w.now)[0]; s.Breaker != breaker.Open {
		t.Error("a peer's success closed our breaker")
	}
}

func TestHalfOpenProbeBelongsToItsOwner(t *testing.T) {
	w := newWorld(t, 1, 1)
	owner := false
	w.reg.SetProbeOwner(func(policy.Key) bool { return owner })
	w.eject(0, 0)
	due := w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	w.now = due.Add(probeGrace - 1)
	if got := w.call("a", worked).Backend; got != "t1-0" {
		t.Fatal("probed though another gateway owns the probe")
	}
	owner = true
	if ticket := w.next(w.begin("a")); !ticket.Probe {
		t.Error("the owner does not probe")
	} else {
		ticket.Observe(w.now, Outcome{Kind: Canceled})
	}
	owner = false
	w.now = due.Add(probeGrace)
	if ticket := w.next(w.begin("a")); !ticket.Probe {
		t.Error("the owner has done nothing for the grace period, and nobody else probes")
	}
}

func TestProbeNeedNotWaitOnceThePeerSucceeded(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.reg.SetProbeOwner(func(policy.Key) bool { return false })
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	w.reg.ApplyRemote(w.now, w.reports(Report{SuccessAge: time.Hour}, 0))
	if w.call("a", worked).Backend != "t1-0" {
		t.Fatal("a success from before it was ejected counts")
	}
	w.reg.ApplyRemote(w.now, w.reports(Report{SuccessAge: time.Second}, 0))
	if ticket := w.next(w.begin("a")); !ticket.Probe || ticket.Target.Backend != "t0-0" {
		t.Error("no probe of our own after the owner's succeeded")
	}
}

func TestHintsAddCautionAndExpire(t *testing.T) {
	w := newWorld(t, 1, 2).passive(1)
	w.gate(0, 0, time.Hour)
	w.reg.ApplyHint(w.now, []Report{
		{Key: w.key(1, 0), Gate: time.Hour},
		{Key: policy.Key{Origin: "https://unknown.example"}, Gate: time.Hour},
	}, 6*time.Second)
	if n := w.count(50); n["t1-0"] != 0 {
		t.Error("the hinted gate is ignored")
	}
	w.sleep(6*time.Second + maxJitterOfGate)
	if n := w.count(50); n["t1-0"] == 0 {
		t.Error("the hint has not expired")
	}
	w.state(1, 1).succeeded.Store(never)
	w.sleep(freshFor)
	w.reg.ApplyHint(w.now, []Report{{Key: w.key(1, 1), Breaker: breaker.Open}}, 6*time.Second)
	if n := w.count(50); n["t1-1"] != 0 {
		t.Error("the hinted breaker is ignored")
	}
	w.gate(1, 0, time.Hour)
	if got := w.call("a", worked).Backend; got != "t1-1" {
		t.Errorf("with nothing else left the hint still keeps it out: %s", got)
	}
}

func TestExportHoldsOnlyWhatThisGatewaySaw(t *testing.T) {
	w := newWorld(t, 4)
	if all := w.reg.Export(w.now); len(all) != 0 {
		t.Errorf("there is nothing to tell yet: %+v", all)
	}
	w.gate(0, 0, 30*time.Second)
	w.eject(0, 1)
	ticket := w.next(w.begin("a"))
	w.sleep(2 * time.Second)
	ticket.Answered(w.now, time.Second)
	all := w.reg.Export(w.now)
	if len(all) != 3 {
		t.Fatalf("got %+v", all)
	}
	if o := all[0]; o.Gate != 28*time.Second || o.Age != 0 {
		t.Errorf("gate: %+v", o)
	}
	if o := all[1]; o.Breaker != breaker.Open || o.BreakerFor <= 0 {
		t.Errorf("breaker: %+v", o)
	}
	if o := all[2]; o.Key != ticket.Target.Key || o.InFlight != 1 || o.FirstByte != time.Second || o.SuccessAge != 0 {
		t.Errorf("in flight: %+v", o)
	}
	ticket.Observe(w.now, worked)
	w.sleep(time.Second)
	if o := w.reg.Export(w.now)[2]; o.SuccessAge != time.Second || o.InFlight != 0 {
		t.Errorf("after the success: %+v", o)
	}
}

// A poison client alone on a gateway opens its own circuit there. The stamp is
// not told: a peer would take it for everybody's.
func TestOneClientsBreakerIsNotGossiped(t *testing.T) {
	w := newWorld(t, 1)
	for range 5 {
		w.call("poison", broke)
	}
	if s := w.reg.Status(w.now)[0]; s.Breaker != breaker.Open || !s.ByClient {
		t.Errorf("status %+v: alone on the target, its breaker speaks for it", s)
	}
	if o := w.reg.Export(w.now); len(o) != 0 && o[0].Breaker != breaker.Closed {
		t.Errorf("published: %+v", o)
	}
}
