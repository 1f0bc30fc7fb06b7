package targets

import "testing"

// With every target of the own region failing, a failure costs one retry and
// not two: the retry goes to a passive target that did not just fail.
func TestARetryPrefersAPassiveTargetToOneThatJustFailed(t *testing.T) {
	w := newWorld(t, 1, 1, 1).passive(2)
	for tier := range 2 {
		st := w.state(tier, 0)
		st.suspectUntil.Store(w.reg.since(w.now) + int64(suspectFor))
	}
	s := w.begin("a")
	first := w.next(s)
	if first.Passive {
		t.Fatal("the first attempt left the region though a target of it may serve")
	}
	first.Observe(w.now, broke)
	if !s.MayRetry(w.now, broke) {
		t.Fatal("no retry")
	}
	if second := w.next(s); !second.Passive {
		t.Error("the retry went to another target that just failed")
	}
}

// While one request finds out whether a target still fails, the others go where
// nothing failed, be it passive; with nothing else they still may use it.
func TestOneRequestFindsOutAboutASuspicion(t *testing.T) {
	w := newWorld(t, 1, 1).passive(1)
	w.call("a", broke)
	trial := w.next(w.begin("a"))
	if trial.Passive {
		t.Fatal("nobody finds out")
	}
	if other := w.next(w.begin("b")); !other.Passive {
		t.Error("a second request tries the target at the same time")
	}
	w.gate(1, 0, suspectFor)
	with := w.next(w.begin("b"))
	if with.Passive {
		t.Error("a gated target was taken")
	}
	with.Observe(w.now, Outcome{Kind: Canceled})
	w.now = w.now.Add(suspectFor)
	trial.Answered(w.now, suspectFor)
	if other := w.next(w.begin("b")); other.Passive {
		t.Error("not in use again after its answer has begun")
	}
	trial.Observe(w.now, worked)
	if n := w.state(0, 0).trials.Load(); n != 0 {
		t.Errorf("%d trials are still counted", n)
	}
}
