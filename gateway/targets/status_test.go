package targets

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/geo"
)

func TestServes(t *testing.T) {
	for _, c := range []struct {
		name  string
		on    policy.FallbackOn
		setup func(w *world)
		want  Availability
	}{
		{"all sound", "", func(*world) {}, OwnAvailable},
		{"own gated", "", func(w *world) { w.gate(0, 0, time.Minute) }, PassiveOnly},
		{"own gated, passive only for failures", policy.FallbackOnFailure, func(w *world) { w.gate(0, 0, time.Minute) }, AllThrottled},
		{"own ejected", "", func(w *world) { w.eject(0, 0) }, PassiveOnly},
		{"own ejected, passive only for throttling", policy.FallbackOnThrottling, func(w *world) { w.eject(0, 0) }, None},
		{"all gated", "", func(w *world) { w.gate(0, 0, time.Minute); w.gate(1, 0, time.Minute) }, AllThrottled},
		{"a gate that may be tested is a gate", "", func(w *world) {
			w.gate(0, 0, time.Hour)
			w.gate(1, 0, time.Hour)
			w.sleep(2 * time.Minute)
		}, AllThrottled},
		{"all ejected", "", func(w *world) { w.eject(0, 0); w.eject(1, 0) }, None},
		{"gated and ejected", "", func(w *world) { w.gate(0, 0, time.Minute); w.eject(1, 0) }, AllThrottled},
		// Without traffic nobody would ever probe: the router must send some.
		{"waiting for a probe", "", func(w *world) { w.eject(0, 0); w.sleep(20 * time.Second) }, OwnAvailable},
		{"waiting for another's probe", "", func(w *world) {
			w.reg.SetProbeOwner(func(policy.Key) bool { return false })
			w.eject(0, 0)
			w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
		}, OwnAvailable},
		{"refused to one client more than gates, and nobody served since", "", func(w *world) {
			w.state(0, 0).sizes.add(w.reg.since(w.now), sizeGate{client: 1, since: w.reg.since(w.now), until: always})
		}, PassiveOnly},
		{"and somebody served since", "", func(w *world) {
			w.state(0, 0).sizes.add(w.reg.since(w.now), sizeGate{client: 1, since: w.reg.since(w.now), until: always})
			w.sleep(1)
			w.call("b", worked)
		}, OwnAvailable},
		{"drained", "", func(w *world) { w.reg.SetDrained(map[string]bool{"t0-0": true}, nil) }, PassiveOnly},
		{"a client alone finds it failing", "", func(w *world) {
			for range 5 {
				w.call("alone", broke)
			}
		}, PassiveOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 1).passive(1)
			w.stamp.FallbackOn = c.on
			c.setup(w)
			if got := w.reg.Serves(w.now, w.request("")); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestExplainSaysWhyATargetIsExcluded(t *testing.T) {
	w := newWorld(t, 4, 2).passive(1)
	w.gate(0, 0, 20*time.Second)
	w.eject(0, 1)
	w.told(0, 2, Outcome{Kind: DeploymentMissing}, "x", "y")
	w.reg.SetDrained(map[string]bool{"t1-1": true}, nil)
	var got []string
	for _, e := range w.reg.Explain(w.now, w.request("a")) {
		got = append(got, strings.TrimSpace(e.Target.Backend+" "+string(rune('0'+e.Order))+" "+e.Reason))
	}
	want := []string{
		"t0-3 1", "t1-0 2", "t0-0 0 throttled", "t0-1 0 breaker open", "t0-2 0 deployment does not exist", "t1-1 0 drained",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	w.stamp.FallbackOn = policy.FallbackOnThrottling
	w = newWorld(t, 2)
	w.call("a", broke)
	all := w.reg.Explain(w.now, w.request("a"))
	if all[0].Order != 1 || all[1].Order != 2 || all[1].Reason == "" || all[1].Wait != Milliseconds(suspectFor) {
		t.Errorf("a suspect is not the second: %+v", all)
	}
}

func TestDrainedBackendGetsNoNewRequestAndOldOnesEnd(t *testing.T) {
	w := newWorld(t, 1, 1)
	running := w.next(w.begin("a"))
	w.reg.SetDrained(map[string]bool{"t0-0": true}, nil)
	if w.call("a", worked).Backend != "t1-0" {
		t.Error("a new request on a drained backend")
	}
	running.Observe(w.now, worked)
	w.reg.SetDrained(nil, nil)
	if w.call("a", worked).Backend != "t0-0" {
		t.Error("still drained")
	}
}

func TestChangesAreTold(t *testing.T) {
	w := newWorld(t, 1)
	var told []string
	w.reg.OnChange(func(c Change) { told = append(told, c.Backend+" "+c.Machine+" "+c.From+"→"+c.To) })
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	w.call("a", worked)
	w.call("a", throttled(time.Second))
	w.sleep(2 * time.Second)
	w.call("a", Outcome{Kind: DeploymentMissing})
	w.sleep(time.Minute)
	w.call("a", worked)
	w.call("a", Outcome{Kind: IdentityRefused, Credential: 1})
	w.call("b", worked)
	want := []string{
		"t0-0 breaker closed→open", "t0-0 breaker half-open→closed", "t0-0 gate clear→throttled",
		"t0-0 deployment present→missing", "t0-0 deployment missing→present", "t0-0 identity ok→alarm", "t0-0 identity alarm→ok",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestSpentBudgetIsTold(t *testing.T) {
	w := newWorld(t, 40)
	spent := 0
	w.reg.OnBudgetSpent(func(route string) {
		if route != "r" {
			t.Errorf("route %q", route)
		}
		spent++
	})
	for range 12 {
		s := w.begin("a")
		w.next(s).Observe(w.now, broke)
		s.MayRetry(w.now, broke)
		if ticket, ok := s.Next(w.now, w.rng); ok {
			ticket.Observe(w.now, broke)
		}
	}
	if spent != 2 { // the reserve gives ten, of which the share of 12 first attempts is one
		t.Errorf("told %d times, want 2", spent)
	}
}

// State belongs to the target, not to the policy that names it.
func TestStateSurvivesAChangeOfPolicy(t *testing.T) {
	source, err := os.ReadFile("testdata/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, second := compile(t, string(source)), compile(t, strings.ReplaceAll(string(source), "gone", "other"))
	r := New("")
	r.Advance(first)
	now := time.Now()
	targets := slices.Collect(first.Targets())
	at := func(name string) *state {
		for _, target := range targets {
			if target.Backend == name {
				return r.view.Load().states[target.Key]
			}
		}
		t.Fatalf("no target %s", name)
		return nil
	}
	kept, gone := at("swc-ptu"), at("gone")
	kept.gate.Refuse(now, Signals{RetryAfter: time.Minute, HasRetryAfter: true}, 0)
	kept.copyOut(now)
	for _, client := range []string{"a", "b"} {
		kept.exclusion(missing, "").breaker.Note(now, r.client(client), breaker.Content, 0)
	}
	kept.copyOut(now)
	route, _ := first.Route("gpt-4o")
	stamp, _ := first.Stamp("swedencentral")
	req := Request{Route: route, Stamp: stamp, Region: "swedencentral", Client: "payroll", Stateless: true}
	old := r.Begin(req)

	r.Advance(second)
	if at("swc-ptu") != kept || !kept.gate.OpensAt().After(now) {
		t.Error("the gate was forgotten")
	}
	if kept.outUntil.Load() != never {
		t.Error("a missing deployment gets no other chance from a new policy")
	}
	if n := len(r.Status(now)); n != 3 {
		t.Errorf("%d targets known, want the 3 of the new policy", n)
	}
	// A request of before ends by the policy under which it began.
	route2, _ := second.Route("gpt-4o")
	if s := r.Begin(Request{Route: route2, Stamp: stamp, Region: geo.RegionID("swedencentral")}); s.plan == old.plan {
		t.Error("the new policy uses the old plan")
	}
	seen := make(map[*state]bool)
	for {
		ticket, ok := old.Next(now, newWorld(t, 1).rng)
		if !ok {
			break
		}
		seen[ticket.state] = true
		ticket.Observe(now, throttled(time.Second))
	}
	if !seen[gone] {
		t.Error("a request of before cannot use a target that only its policy names")
	}
}

func compile(t testing.TB, source string) *policy.Snapshot {
	t.Helper()
	doc, err := policy.Decode([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLatencyIsTheAverageOfTheLastAnswers(t *testing.T) {
	var l latency
	if l.add(0, time.Second); l.compared(0) != 0 {
		t.Error("one answer decides")
	}
	for range leastSamples - 1 {
		l.add(1, 3*time.Second)
	}
	if got := l.compared(1); got != 2750*time.Millisecond {
		t.Errorf("of eight answers: %v", got)
	}
	for range 500 {
		l.add(2, 5*time.Second)
	}
	if got := l.read(2); got < 4900*time.Millisecond {
		t.Errorf("five hundred answers later: %v", got)
	}
	if l.compared(2+int64(latencyFresh)+1) != 0 {
		t.Error("an answer of long ago decides")
	}
}

// What goes out as JSON comes back the same, to the millisecond.
func TestStatusIsReadAsItIsWritten(t *testing.T) {
	before := Status{
		Backend: "b", Deployment: "d", Region: "swedencentral", Breaker: breaker.HalfOpen,
		Gate: Milliseconds(1500 * time.Microsecond), FirstByte: Milliseconds(time.Second), Share: 0.5, InFlight: 2,
	}
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"backend":"b","deployment":"d","region":"swedencentral","available":false,"gateMs":2,"breaker":"half-open",` +
		`"share":0.5,"inFlight":2,"peerInFlight":0,"firstByteMs":1000}`
	if string(text) != want {
		t.Errorf("written %s\nwant    %s", text, want)
	}
	var after Status
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	if before.Gate = Milliseconds(2 * time.Millisecond); after != before {
		t.Errorf("read %+v, want %+v", after, before)
	}
}

// Next and Explain go the same way: whatever is known of the targets, the one that
// is explained as the first is the one that is taken, until none is left.
func TestNextTakesWhatExplainShows(t *testing.T) {
	for name, setup := range map[string]func(*world){
		"nothing known":   func(*world) {},
		"some gated":      func(w *world) { w.gate(0, 0, time.Minute); w.gate(1, 0, time.Minute) },
		"some ejected":    func(w *world) { w.eject(0, 1); w.eject(1, 1) },
		"a suspect":       func(w *world) { w.call("x", broke) },
		"half-open":       func(w *world) { w.eject(0, 0); w.sleep(20 * time.Second) },
		"drained":         func(w *world) { w.reg.SetDrained(map[string]bool{"t0-0": true, "t0-1": true}, nil) },
		"a region closed": func(w *world) { w.stamp.FallbackOn = policy.FallbackOnThrottling },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, 2).passive(1)
			setup(w)
			s := w.begin("a")
			for {
				first := w.explainedFirst(s)
				ticket, ok := s.Next(w.now, w.rng)
				switch {
				case !ok && len(first) > 0:
					t.Fatalf("nothing was taken, explained as first were %v", first)
				case !ok:
					return
				case len(first) > 0 && !slices.Contains(first, ticket.Target.Backend):
					t.Fatalf("%s was taken, explained as first were %v", ticket.Target.Backend, first)
				case len(first) == 0 && !ticket.admitted.forced():
					t.Fatalf("%s was taken, explained was none", ticket.Target.Backend)
				}
				ticket.Observe(w.now, throttled(time.Minute))
			}
		})
	}
}

// explainedFirst returns the backends that Explain puts first, of those that the
// request has not tried.
func (w *world) explainedFirst(s *Selection) []string {
	var first []string
	order := 0
	for _, e := range w.reg.Explain(w.now, w.request("a")) {
		if e.Order == 0 || s.hasTried(w.reg.view.Load().states[e.Target.Key]) || order > 0 && e.Order != order {
			continue
		}
		order = e.Order
		first = append(first, e.Backend)
	}
	return first
}
