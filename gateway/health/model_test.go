package health_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

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
		in.Routes[0].Availability = targets.AllThrottled
	case f.OwnGone:
		in.Routes[0].Availability = targets.PassiveOnly
	case f.Throttled: // out, in every region
		in.Routes[0].Availability = targets.None
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
	return m.damped(0, func(f faults) bool { return !f.NoPolicy && !f.NoCredential },
		func(f faults) bool { return f.Draining })
}

// stamp: every required route can be served, by the policy's choice.
func (m model) stamp() bool {
	return m.damped(80, m.canServe, func(f faults) bool { return f.Draining || f.RegionDrained })
}

func (m model) route() bool {
	return m.damped(80, m.canServe, func(faults) bool { return false })
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

// damped wants good for so many Periods more before it rises, for a fifth of them
// where bad was seen for 30 s, doubled for each fall after a rise: histories are
// shorter than the five minutes that make a fall no flap.
func (m model) damped(hold int, good, forced func(faults) bool) bool {
	up, decided, run, rises, fell, out := false, false, 0, 0, false, 0
	hadPolicy, wasGood := false, false
	for _, f := range m.history {
		hadPolicy = hadPolicy || !f.NoPolicy
		switch {
		case !good(f) && wasGood:
			out = 1
		case !good(f):
			out++
		}
		wasGood = good(f)
		switch {
		case forced(f):
			up, decided, run, rises, fell = false, true, 0, 0, false
		case !hadPolicy:
			up, decided, run, rises, fell = false, false, 0, 0, false
		case !decided:
			up, decided = good(f), true
		case good(f) == up:
			run = 0
		default:
			run++
			wait := 0
			if fell && hold > 0 {
				if wait = hold; out >= 60 {
					wait = hold / 5
				}
				wait = min(wait<<rises, 600)
			}
			switch {
			case up && run == 3:
				up, run, fell = false, 0, true
			case !up && run >= 2 && run > wait:
				if fell {
					rises++
				}
				up, run = true, 0
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
	in := f.inputs(ref.choice)
	in.Now = epoch.Add(time.Duration(len(ref.history)) * health.Period)
	m.Evaluate(in)
	s := m.Summary()
	if s.Ready.Good() != ref.ready() || s.Stamp.Good() != ref.stamp() || s.Routes[0].Status.Good() != ref.route() {
		t.Fatalf("after %+v with %+v: ready %v, stamp %v, route %v; the model says %v, %v, %v",
			ref.history, ref.choice, s.Ready, s.Stamp, s.Routes[0].Status, ref.ready(), ref.stamp(), ref.route())
	}
}

// Each pair of the 64 combinations of six faults: the second is entered from the
// first, held until it must show, and left towards the first again, under each of
// the policy's four choices. Every other history starts in the fault.
func TestEveryCombinationOfSixFaultsAgreesWithTheModel(t *testing.T) {
	for _, choice := range choices() {
		for from := range 64 {
			for to := from; to < 64; to++ {
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
			held := rapid.OneOf(rapid.IntRange(1, 4), rapid.IntRange(78, 84)).Draw(t, "held")
			for range min(held, 250-len(ref.history)) {
				compare(t, m, ref, faultsOf(bits))
			}
		}
	})
}
