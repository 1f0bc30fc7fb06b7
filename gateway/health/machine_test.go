package health_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

// epoch is any moment.
var epoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// well is a gateway with nothing wrong: one required route and one that is not.
func well() health.Inputs {
	return health.Inputs{
		Now:               epoch,
		PolicyLoaded:      true,
		CredentialsUsable: true,
		Routes: []health.Route{
			{Name: "chat", Required: true, Availability: targets.OwnAvailable},
			{Name: "embed", Required: false, Availability: targets.OwnAvailable},
		},
	}
}

// with returns well with a change.
func with(change func(*health.Inputs)) health.Inputs {
	in := well()
	change(&in)
	return in
}

func left(a targets.Availability) health.Inputs {
	return with(func(in *health.Inputs) { in.Routes[0].Availability = a })
}

// times evaluates n times.
func times(m *health.Machine, n int, in health.Inputs) {
	for range n {
		m.Evaluate(in)
	}
}

func TestTheFirstEvaluationDecides(t *testing.T) {
	m := health.NewMachine()
	if s := m.Summary(); s.Ready != health.Fail || s.Stamp != health.Fail {
		t.Errorf("before it: %v", s)
	}
	m.Evaluate(well())
	if s := m.Summary(); s.Ready != health.Pass || s.Stamp != health.Pass {
		t.Errorf("after a good one: %v", s)
	}
	m = health.NewMachine()
	m.Evaluate(left(targets.None))
	if s := m.Summary(); s.Ready != health.Pass || s.Stamp != health.Fail {
		t.Errorf("after a bad one: %v", s)
	}
}

// A gateway that starts before its policy has come must not be held back by
// the evaluations it made without one.
func TestTheFirstPolicyDecidesAtOnce(t *testing.T) {
	m := health.NewMachine()
	times(m, 10, health.Inputs{Now: epoch})
	if s := m.Summary(); s.Ready != health.Fail || s.Stamp != health.Fail {
		t.Errorf("without a policy: %v", s)
	}
	m.Evaluate(well())
	if s := m.Summary(); s.Ready != health.Pass || s.Stamp != health.Pass {
		t.Errorf("with one: %v", s)
	}
}

// Readiness is this gateway's own affair: no hold, whatever backends do.
func TestReadyThreeBadToFallTwoGoodToRise(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(well())
	ready := func(want health.Status, when string) {
		t.Helper()
		if got := m.Summary().Ready; got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	bad, good := with(func(in *health.Inputs) { in.CredentialsUsable = false }), well()
	times(m, 2, bad)
	ready(health.Pass, "two bad")
	m.Evaluate(good)
	times(m, 2, bad)
	ready(health.Pass, "two bad, one good, two bad")
	m.Evaluate(bad)
	ready(health.Fail, "three bad in a row")
	m.Evaluate(good)
	ready(health.Fail, "one good")
	m.Evaluate(bad)
	m.Evaluate(good)
	ready(health.Fail, "good, bad, good")
	m.Evaluate(good)
	ready(health.Pass, "two good in a row")
}

func TestDrainingIsNotDamped(t *testing.T) {
	for name, drain := range map[string]func(*health.Machine){
		"by a signal": func(m *health.Machine) { m.Drain() },
		"by an order": func(m *health.Machine) { m.Evaluate(with(func(in *health.Inputs) { in.Draining = true })) },
	} {
		m := health.NewMachine()
		m.Evaluate(well())
		drain(m)
		s := m.Summary()
		if s.Ready != health.Fail || s.Stamp != health.Fail || !s.Draining {
			t.Errorf("%s: %v", name, s)
		}
		// The routes are still served.
		if s.Routes[0].Status != health.Pass {
			t.Errorf("%s: route %v", name, s.Routes[0])
		}
	}
}

func TestASignalsDrainIsForGood(t *testing.T) {
	m := health.NewMachine()
	m.Drain() // even before the first evaluation
	times(m, 10, well())
	if s := m.Summary(); s.Ready != health.Fail || s.Stamp != health.Fail {
		t.Errorf("rose again: %v", s)
	}
}

func TestAnOrdersDrainEndsWithTwoGood(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(well())
	m.Evaluate(with(func(in *health.Inputs) { in.Draining = true }))
	m.Evaluate(well())
	if m.Summary().Ready != health.Fail {
		t.Error("rose after one")
	}
	m.Evaluate(well())
	if m.Summary().Ready != health.Pass {
		t.Error("did not rise after two")
	}
}

func TestADrainedRegionFailsTheStampButStaysReady(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(well())
	m.Evaluate(with(func(in *health.Inputs) { in.RegionDrained = true }))
	if s := m.Summary(); s.Ready != health.Pass || s.Stamp != health.Fail {
		t.Errorf("%v", s)
	}
}

func TestOnlyRequiredRoutesCount(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(with(func(in *health.Inputs) { in.Routes[1].Availability = targets.None }))
	s := m.Summary()
	if s.Stamp != health.Pass || s.Routes[1].Status != health.Fail {
		t.Errorf("%v", s)
	}
}

func TestThePolicyChoosesWhatTwoStatesMean(t *testing.T) {
	for _, tc := range []struct {
		left   targets.Availability
		choice policy.StampHealth
		want   health.Status
	}{
		{targets.OwnAvailable, policy.StampHealth{OnlyPassive: policy.Fail, AllThrottled: policy.Fail}, health.Pass},
		{targets.PassiveOnly, policy.StampHealth{}, health.Warn},
		{targets.PassiveOnly, policy.StampHealth{OnlyPassive: policy.Warn, AllThrottled: policy.Fail}, health.Warn},
		{targets.PassiveOnly, policy.StampHealth{OnlyPassive: policy.Fail}, health.Fail},
		{targets.AllThrottled, policy.StampHealth{}, health.Warn},
		{targets.AllThrottled, policy.StampHealth{OnlyPassive: policy.Fail, AllThrottled: policy.Warn}, health.Warn},
		{targets.AllThrottled, policy.StampHealth{AllThrottled: policy.Fail}, health.Fail},
		{targets.None, policy.StampHealth{}, health.Fail},
	} {
		m := health.NewMachine()
		in := left(tc.left)
		in.Choice = tc.choice
		m.Evaluate(in)
		if got := m.Summary().Stamp; got != tc.want {
			t.Errorf("%v with %v: %v, want %v", tc.left, tc.choice, got, tc.want)
		}
	}
}

func TestAChangedPolicyChangesTheRoutes(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(well())
	m.Evaluate(with(func(in *health.Inputs) {
		in.Routes = []health.Route{{Name: "new", Required: true, Availability: targets.OwnAvailable}}
	}))
	s := m.Summary()
	if len(s.Routes) != 1 || s.Routes[0].Name != "new" || s.Routes[0].Status != health.Pass {
		t.Errorf("%v", s.Routes)
	}
}

func TestFaultsShowWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := health.NewMachine()
		var state, serial atomic.Uint32
		state.Store(uint32(targets.OwnAvailable))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(health.Period)
			defer tick.Stop()
			for {
				in := left(targets.Availability(state.Load()))
				in.Now, in.Policy = time.Now(), fmt.Sprint(serial.Load())
				m.Evaluate(in)
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		}()
		until := func(want health.Status) time.Duration {
			start := time.Now()
			for m.Summary().Stamp != want {
				time.Sleep(time.Millisecond)
			}
			return time.Since(start)
		}
		time.Sleep(time.Nanosecond)
		if s := m.Summary().Stamp; s != health.Pass {
			t.Errorf("the first look did not decide: %v", s)
		}
		// At every phase between two evaluations.
		for phase := range 10 {
			time.Sleep(time.Duration(phase) * health.Period / 10)
			synctest.Wait()
			state.Store(uint32(targets.None))
			if took := until(health.Fail); took > 1501*time.Millisecond {
				t.Errorf("phase %d: fell after %v", phase, took)
			}
			state.Store(uint32(targets.OwnAvailable))
			// An outage of under half a minute: 40 s, and one Period to notice it.
			if took := until(health.Pass); took < 40*time.Second || took > 40501*time.Millisecond {
				t.Errorf("phase %d: rose after %v", phase, took)
			}
			serial.Add(1) // else the next fall would be a flap
		}
		close(stop)
		<-done
	})
}

// No answer may come from passing faults alone: whatever is bad for at most two
// evaluations at a time never shows.
func TestShortFaultsNeverShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := health.NewMachine()
		m.Evaluate(well())
		for _, n := range rapid.SliceOf(rapid.IntRange(0, 2)).Draw(t, "bad in a row") {
			times(m, n, left(targets.None))
			m.Evaluate(well())
			if m.Summary().Stamp == health.Fail {
				t.Fatalf("fell after %d bad", n)
			}
		}
	})
}

func TestSummaryListsRoutesByName(t *testing.T) {
	m := health.NewMachine()
	in := well()
	in.Routes = nil
	for i := range 50 {
		in.Routes = append(in.Routes, health.Route{Name: fmt.Sprintf("r%02d", 49-i), Availability: targets.OwnAvailable})
	}
	m.Evaluate(in)
	for i, r := range m.Summary().Routes {
		if r.Name != fmt.Sprintf("r%02d", i) {
			t.Fatalf("route %d is %s", i, r.Name)
		}
	}
}
