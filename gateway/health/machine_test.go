package health_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
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
			{Name: "chat", Required: true, Availability: health.OwnAvailable},
			{Name: "embed", Required: false, Availability: health.OwnAvailable},
		},
	}
}

// with returns well with a change.
func with(change func(*health.Inputs)) health.Inputs {
	in := well()
	change(&in)
	return in
}

func left(a health.Availability) health.Inputs {
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
	m.Evaluate(left(health.None))
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

func TestThreeBadToFallTwoGoodToRise(t *testing.T) {
	m := health.NewMachine()
	m.Evaluate(well())
	stamp := func(want health.Status, when string) {
		t.Helper()
		if got := m.Summary().Stamp; got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	bad, good := left(health.None), well()
	times(m, 2, bad)
	stamp(health.Pass, "two bad")
	m.Evaluate(good)
	times(m, 2, bad)
	stamp(health.Pass, "two bad, one good, two bad")
	m.Evaluate(bad)
	stamp(health.Fail, "three bad in a row")
	m.Evaluate(good)
	stamp(health.Fail, "one good")
	m.Evaluate(bad)
	m.Evaluate(good)
	stamp(health.Fail, "good, bad, good")
	m.Evaluate(good)
	stamp(health.Pass, "two good in a row")
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
	m.Evaluate(with(func(in *health.Inputs) { in.Routes[1].Availability = health.None }))
	s := m.Summary()
	if s.Stamp != health.Pass || s.Routes[1].Status != health.Fail {
		t.Errorf("%v", s)
	}
}

func TestThePolicyChoosesWhatTwoStatesMean(t *testing.T) {
	for _, tc := range []struct {
		left   health.Availability
		choice policy.StampHealth
		want   health.Status
	}{
		{health.OwnAvailable, policy.StampHealth{OnlyPassive: policy.Fail, AllThrottled: policy.Fail}, health.Pass},
		{health.PassiveOnly, policy.StampHealth{}, health.Warn},
		{health.PassiveOnly, policy.StampHealth{OnlyPassive: policy.Warn, AllThrottled: policy.Fail}, health.Warn},
		{health.PassiveOnly, policy.StampHealth{OnlyPassive: policy.Fail}, health.Fail},
		{health.AllThrottled, policy.StampHealth{}, health.Warn},
		{health.AllThrottled, policy.StampHealth{OnlyPassive: policy.Fail, AllThrottled: policy.Warn}, health.Warn},
		{health.AllThrottled, policy.StampHealth{AllThrottled: policy.Fail}, health.Fail},
		{health.None, policy.StampHealth{}, health.Fail},
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
		in.Routes = []health.Route{{Name: "new", Required: true, Availability: health.OwnAvailable}}
	}))
	s := m.Summary()
	if len(s.Routes) != 1 || s.Routes[0].Name != "new" || s.Routes[0].Status != health.Pass {
		t.Errorf("%v", s.Routes)
	}
}

func TestFaultsShowWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := health.NewMachine()
		var state atomic.Uint32
		state.Store(uint32(health.OwnAvailable))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx, func(now time.Time) health.Inputs {
				in := left(health.Availability(state.Load()))
				in.Now = now
				return in
			})
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
			state.Store(uint32(health.None))
			if took := until(health.Fail); took > 1501*time.Millisecond {
				t.Errorf("phase %d: fell after %v", phase, took)
			}
			state.Store(uint32(health.OwnAvailable))
			if took := until(health.Pass); took > 1001*time.Millisecond {
				t.Errorf("phase %d: rose after %v", phase, took)
			}
		}
		cancel()
		<-done
	})
}

// faults are what may be wrong at one evaluation: six switches.
type faults struct {
	NoPolicy, NoCredential, Draining, RegionDrained bool
	OwnGone                                         bool // no target of the own region can be asked
	Throttled                                       bool // … nor of the others; with OwnGone because of throttling, alone not seen
}

func (f faults) inputs(choice policy.StampHealth) health.Inputs {
	in := well()
	in.Choice = choice
	in.PolicyLoaded, in.CredentialsUsable = !f.NoPolicy, !f.NoCredential
	in.Draining, in.RegionDrained = f.Draining, f.RegionDrained
	switch {
	case f.OwnGone && f.Throttled:
		in.Routes[0].Availability = health.AllThrottled
	case f.OwnGone:
		in.Routes[0].Availability = health.PassiveOnly
	case f.Throttled: // out, in every region
		in.Routes[0].Availability = health.None
	}
	return in
}

// A model says the same as the machine, from the whole history each time, in
// the words of the specification.
type model struct {
	choice  policy.StampHealth
	history []faults
}

// ready: policy loaded, credentials usable, not draining.
func (m model) ready() bool {
	return m.damped(func(f faults) bool { return !f.NoPolicy && !f.NoCredential },
		func(f faults) bool { return f.Draining })
}

// stamp: every required route can be served, by the policy's choice.
func (m model) stamp() bool {
	return m.damped(m.canServe, func(f faults) bool { return f.Draining || f.RegionDrained })
}

func (m model) route() bool {
	return m.damped(m.canServe, func(faults) bool { return false })
}

func (m model) canServe(f faults) bool {
	if f.NoPolicy || f.NoCredential {
		return false
	}
	switch {
	case f.OwnGone && f.Throttled:
		return m.choice.AllThrottled != policy.Fail
	case f.OwnGone:
		return m.choice.OnlyPassive != policy.Fail
	default:
		return !f.Throttled
	}
}

func (m model) damped(good, forced func(faults) bool) bool {
	up, decided, run := false, false, 0
	hadPolicy := false
	for _, f := range m.history {
		hadPolicy = hadPolicy || !f.NoPolicy
		switch {
		case forced(f):
			up, decided, run = false, true, 0
		case !hadPolicy:
			up, decided, run = false, false, 0
		case !decided:
			up, decided = good(f), true
		case good(f) == up:
			run = 0
		default:
			run++
			if up && run == 3 || !up && run == 2 {
				up, run = !up, 0
			}
		}
	}
	return up
}

func choices() []policy.StampHealth {
	var all []policy.StampHealth
	for _, p := range []policy.Severity{policy.Warn, policy.Fail} {
		for _, a := range []policy.Severity{"", policy.Fail} { // "" is warn
			all = append(all, policy.StampHealth{OnlyPassive: p, AllThrottled: a})
		}
	}
	return all
}

func faultsOf(bits int) faults {
	on := func(i int) bool { return bits>>i&1 == 1 }
	return faults{on(0), on(1), on(2), on(3), on(4), on(5)}
}

// compare feeds both with one more evaluation.
func compare(t interface{ Fatalf(string, ...any) }, m *health.Machine, ref *model, f faults) {
	ref.history = append(ref.history, f)
	m.Evaluate(f.inputs(ref.choice))
	s := m.Summary()
	if s.Ready.Good() != ref.ready() || s.Stamp.Good() != ref.stamp() || s.Routes[0].Status.Good() != ref.route() {
		t.Fatalf("after %+v with %+v: ready %v, stamp %v, route %v; the model says %v, %v, %v",
			ref.history, ref.choice, s.Ready, s.Stamp, s.Routes[0].Status, ref.ready(), ref.stamp(), ref.route())
	}
}

// Every one of the 64 combinations of six faults is entered from every one of
// the 64, held until it must show, and left again, under each of the policy's
// four choices; every other history starts in the fault.
func TestEveryCombinationOfSixFaultsAgreesWithTheModel(t *testing.T) {
	for _, choice := range choices() {
		for from := range 64 {
			for to := range 64 {
				m, ref := health.NewMachine(), &model{choice: choice}
				for i, f := range []int{0, from, from, to, to, to, from, from, 0, 0} {
					if i == 0 && (from+to)%2 == 1 {
						continue
					}
					compare(t, m, ref, faultsOf(f))
				}
			}
		}
	}
}

func TestAnyHistoryAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := health.NewMachine()
		ref := &model{choice: rapid.SampledFrom(choices()).Draw(t, "choice")}
		steps := rapid.SliceOfN(rapid.IntRange(0, 63), 1, 40).Draw(t, "faults")
		for _, bits := range steps {
			// Runs are what damping is about, so each fault is held for a while.
			for range rapid.IntRange(1, 4).Draw(t, "held") {
				compare(t, m, ref, faultsOf(bits))
			}
		}
	})
}

// No answer may come from passing faults alone: whatever is bad for at most two
// evaluations at a time never shows.
func TestShortFaultsNeverShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := health.NewMachine()
		m.Evaluate(well())
		for _, n := range rapid.SliceOf(rapid.IntRange(0, 2)).Draw(t, "bad in a row") {
			times(m, n, left(health.None))
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
		in.Routes = append(in.Routes, health.Route{Name: fmt.Sprintf("r%02d", 49-i), Availability: health.OwnAvailable})
	}
	m.Evaluate(in)
	for i, r := range m.Summary().Routes {
		if r.Name != fmt.Sprintf("r%02d", i) {
			t.Fatalf("route %d is %s", i, r.Name)
		}
	}
}
