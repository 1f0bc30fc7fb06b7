package targets

import (
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

const (
	ownOrigin     = "https://t0-0.example"
	passiveOrigin = "https://t1-0.example"
)

// probed has both endpoints of a world probed.
func (w *world) probed() *world {
	w.reg.SetProbed([]string{ownOrigin, passiveOrigin})
	return w
}

func (w *world) probe(origin string, failures ...string) {
	for _, f := range failures {
		w.reg.Probed(w.now, []policy.Key{{Origin: origin, Deployment: "d"}}, f)
	}
}

// halfOpen opens the own target's breaker and lets its time pass.
func (w *world) halfOpen() {
	w.t.Helper()
	w.eject(0, 0)
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()) + time.Second)
}

// A reachCase is what happened, and what health then says is left.
type reachCase struct {
	name  string
	setup func(w *world)
	want  Availability
}

func checkReach(t *testing.T, cases []reachCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 1).passive(1).probed()
			c.setup(w)
			if got := w.reg.Serves(w.now, w.request("")); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestProbesTellHealthWhatTrafficDoesNot(t *testing.T) {
	checkReach(t, []reachCase{
		{"never probed counts as available", func(*world) {}, OwnAvailable},
		{"a failed probe must be confirmed", func(w *world) { w.probe(ownOrigin, "refused") }, OwnAvailable},
		{"two in a row count", func(w *world) { w.probe(ownOrigin, "refused", "refused") }, PassiveOnly},
		{"an answer between them", func(w *world) { w.probe(ownOrigin, "refused", "", "refused") }, PassiveOnly},
		{"half a minute between them", func(w *world) {
			w.probe(ownOrigin, "refused", "")
			w.sleep(confirmWithin + time.Second)
			w.probe(ownOrigin, "refused")
		}, OwnAvailable},
		{"an answer after them", func(w *world) { w.probe(ownOrigin, "refused", "refused", "") }, OwnAvailable},
		{"all unreachable", func(w *world) {
			w.probe(ownOrigin, "refused", "refused")
			w.probe(passiveOrigin, "refused", "refused")
		}, None},
		{"one is enough where the last request failed", func(w *world) { w.call("a", broke); w.probe(ownOrigin, "refused") }, PassiveOnly},
		{"a newer success of a request wins", func(w *world) {
			w.probe(ownOrigin, "refused", "refused")
			w.sleep(time.Second)
			w.call("a", worked)
		}, OwnAvailable},
		{"an older success does not", func(w *world) {
			w.call("a", worked)
			w.sleep(time.Second)
			w.probe(ownOrigin, "refused", "refused")
		}, PassiveOnly},
		{"gated although it answers probes", func(w *world) { w.gate(0, 0, time.Minute); w.probe(ownOrigin, "") }, PassiveOnly},
		{"all gated", func(w *world) { w.gate(0, 0, time.Minute); w.gate(1, 0, time.Minute) }, AllThrottled},
		{"all gated, and gone", func(w *world) {
			w.gate(0, 0, time.Minute)
			w.gate(1, 0, time.Minute)
			w.probe(ownOrigin, "refused", "refused")
			w.probe(passiveOrigin, "refused", "refused")
		}, None},
	})
}

// A target that failed counts once something has succeeded since its open time.
func TestHalfOpenIsNotAvailableUntilSomethingSucceeded(t *testing.T) {
	checkReach(t, []reachCase{
		{"half-open is not available", func(w *world) { w.halfOpen() }, PassiveOnly},
		{"half-open, probed before its time was over", func(w *world) {
			w.eject(0, 0)
			w.probe(ownOrigin, "")
			w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()) + time.Second)
		}, PassiveOnly},
		{"half-open, probed since", func(w *world) { w.halfOpen(); w.probe(ownOrigin, "") }, OwnAvailable},
		{"half-open, served since", func(w *world) { w.halfOpen(); w.call("a", worked) }, OwnAvailable},
		{"half-open where nobody probes", func(w *world) { w.reg.SetProbed(nil); w.halfOpen() }, OwnAvailable},
		{"open, although it answers probes", func(w *world) { w.eject(0, 0); w.probe(ownOrigin, "") }, PassiveOnly},
		{"half-open for the only client", func(w *world) {
			for range 5 {
				w.call("alone", broke)
			}
			w.sleep(time.Minute)
		}, PassiveOnly},
		{"half-open for the only client, probed since", func(w *world) {
			for range 5 {
				w.call("alone", broke)
			}
			w.sleep(time.Minute)
			w.probe(ownOrigin, "")
		}, OwnAvailable},
	})
}

// What was lost of late is believed less.
func TestAnEndpointThatFlapsMustBeReachedForAWhile(t *testing.T) {
	checkReach(t, []reachCase{
		{"one is enough soon after a return", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "")
			w.sleep(time.Minute)
			w.probe(ownOrigin, "refused")
		}, PassiveOnly},
		{"what flaps must be reached for a while", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "", "refused", "")
			w.sleep(steadyFor - time.Second)
			w.probe(ownOrigin, "")
		}, PassiveOnly},
		{"what flapped and was reached throughout", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "", "refused", "")
			w.sleep(steadyFor)
			w.probe(ownOrigin, "")
		}, OwnAvailable},
		{"a failure begins the wait anew", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "", "refused", "")
			w.sleep(steadyFor - time.Second)
			w.probe(ownOrigin, "refused", "")
			w.sleep(steadyFor - time.Second)
			w.probe(ownOrigin, "")
		}, PassiveOnly},
		{"five calm minutes after a return forgive", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "")
			w.sleep(flapsWithin + time.Second)
			w.probe(ownOrigin, "refused")
		}, OwnAvailable},
	})
}

// A probe changes what health says and nothing else: the next request goes where
// it would have gone, and every machine stands as it stood.
func TestAProbeChangesNoPickAndNoMachine(t *testing.T) {
	w := newWorld(t, 1, 1).passive(1).probed()
	w.probe(ownOrigin, "refused", "refused", "refused")
	if got := w.call("a", worked).Backend; got != "t0-0" {
		t.Errorf("a request went to %s: probes must not move it", got)
	}
	w.halfOpen()
	w.gate(1, 0, time.Minute)
	before := w.reg.Status(w.now)
	w.probe(ownOrigin, "")
	w.probe(passiveOrigin, "")
	for i, after := range w.reg.Status(w.now) {
		after.Reach, after.Unreachable, before[i].Reach, before[i].Unreachable = "", false, "", false
		if after != before[i] {
			t.Errorf("a probe changed the target: %+v, before %+v", after, before[i])
		}
	}
}

// What is known survives a new policy that still names the endpoint, and goes
// with one that does not.
func TestReachIsKeptOutsideTheSnapshots(t *testing.T) {
	w := newWorld(t, 1, 1).passive(1).probed()
	w.probe(ownOrigin, "refused", "refused")
	w.reg.SetProbed([]string{ownOrigin})
	if got := w.reg.Serves(w.now, w.request("")); got != PassiveOnly {
		t.Errorf("forgotten: %v", got)
	}
	w.reg.SetProbed([]string{passiveOrigin})
	w.probe(ownOrigin, "refused", "refused") // a late answer
	w.reg.SetProbed([]string{ownOrigin})
	if got := w.reg.Serves(w.now, w.request("")); got != OwnAvailable {
		t.Errorf("remembered: %v", got)
	}
}

// What a probe found, or a client that gave up, is nothing heard of the target.
func TestHeardTellsOfAnswersAndFailuresOnly(t *testing.T) {
	w := newWorld(t, 1)
	w.probed()
	key := policy.Key{Origin: ownOrigin, Deployment: "d"}
	w.probe(ownOrigin, "")
	for _, kind := range []Kind{Canceled, OutOfTime, LocalFault} {
		w.call("a", Outcome{Kind: kind, Sent: true})
	}
	if last := w.reg.Heard(key); !last.IsZero() {
		t.Errorf("heard at %v, though nothing was answered", last)
	}
	for _, kind := range []Kind{Success, Throttled, Rejected, ServerError, Retired} {
		w.sleep(time.Minute)
		w.told(0, 0, Outcome{Kind: kind, Sent: true}, "b")
		if last := w.reg.Heard(key); !last.Equal(w.now) {
			t.Errorf("kind %d is nothing heard: %v", kind, last)
		}
	}
}

// The state is shown with its reason.
func TestStatusAndExplainSayWhatProbesKnow(t *testing.T) {
	for _, c := range []struct {
		want  string
		setup func(w *world)
	}{
		{"", func(w *world) { w.reg.SetProbed(nil) }},
		{"idle, not probed yet", func(*world) {}},
		{"idle, probed 4 s ago", func(w *world) { w.probe(ownOrigin, ""); w.sleep(4 * time.Second) }},
		{"", func(w *world) { w.probe(ownOrigin, ""); w.call("a", worked) }},
		{"idle, probed 0 s ago, not confirmed yet: connection refused", func(w *world) { w.probe(ownOrigin, "connection refused") }},
		{"unreachable, last probe 3 s ago: connect timed out", func(w *world) {
			w.probe(ownOrigin, "connect timed out", "connect timed out")
			w.sleep(3 * time.Second)
		}},
		{"flaps, reached for 4 s of the 30 s that it takes to count", func(w *world) {
			w.probe(ownOrigin, "refused", "refused", "", "refused", "")
			w.sleep(4 * time.Second)
		}},
		{"half-open, not proven yet", func(w *world) { w.halfOpen() }},
		{"half-open, probed 2 s ago", func(w *world) { w.halfOpen(); w.probe(ownOrigin, ""); w.sleep(2 * time.Second) }},
	} {
		w := newWorld(t, 1).probed()
		c.setup(w)
		if got := w.reg.Status(w.now)[0].Reach; got != c.want {
			t.Errorf("status says %q, want %q", got, c.want)
		}
		if got := w.reg.Explain(w.now, w.request("a"))[0].Reason; !strings.HasSuffix(got, c.want) {
			t.Errorf("explain says %q, want %q", got, c.want)
		}
	}
}
