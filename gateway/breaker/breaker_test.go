package breaker

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// Clients, by what would be the hashes of their names.
const (
	alice uint64 = 11
	bob   uint64 = 22
	carol uint64 = 33
)

func see(t *testing.T, b *Breaker, now time.Time, client uint64, e Evidence) {
	t.Helper()
	ticket, ok := b.Admit(now, client, 0)
	if !ok {
		t.Fatalf("client %d is not admitted", client)
	}
	b.Observe(now, ticket, e, 0)
}

func state(b *Breaker, now time.Time) State {
	s, _ := b.State(now)
	return s
}

func TestFiveConnectFailuresInARowOpenWhoeverSeesThem(t *testing.T) {
	b := New(Failures())
	for range 4 {
		see(t, &b, noon, alice, Hard)
	}
	see(t, &b, noon, bob, Good) // breaks the run
	for range 4 {
		see(t, &b, noon, alice, Hard)
	}
	if state(&b, noon) != Closed {
		t.Fatal("open after four")
	}
	see(t, &b, noon, alice, Hard)
	if state(&b, noon) != Open {
		t.Error("closed after five")
	}
}

func TestContentFailuresNeedTwoClients(t *testing.T) {
	b := New(Failures())
	for i := range 5 {
		see(t, &b, noon, []uint64{alice, bob}[i%2], Content)
	}
	if state(&b, noon) != Open {
		t.Error("five in a row by two clients leave it closed")
	}
}

func TestOneClientOpensOnlyItsOwn(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Content)
	}
	if _, ok := b.Admit(noon, alice, 0); ok {
		t.Error("the client itself is still let through")
	}
	if _, ok := b.Admit(noon, bob, 0); !ok {
		t.Error("another client is kept away")
	}
	if s, _, byClient := b.Effective(noon); s != Open || !byClient {
		t.Errorf("alone on the target, its breaker does not speak for it: %v", s)
	}
	see(t, &b, noon, bob, Good)
	if s, _, _ := b.Effective(noon); s != Closed {
		t.Error("it speaks for the target although another client is served")
	}
	if s, _, _ := b.Effective(noon.Add(window30)); s == Closed {
		t.Error("30 s after the other's last use it is alone again, but does not speak")
	}
}

// A poison client sends most of the traffic, and every request of it fails; an
// honest client meets a failure by chance now and then.
func TestPoisonClientDoesNotEjectATargetForOthers(t *testing.T) {
	b := New(Failures())
	now := noon
	for i := range 2000 {
		now = now.Add(20 * time.Millisecond)
		if ticket, ok := b.Admit(now, alice, 1); ok {
			b.Observe(now, ticket, Content, 0.5)
		}
		e := Good
		if i%50 == 49 { // 2 % of the honest ones
			e = Content
		}
		if i%4 == 0 || e == Content {
			see(t, &b, now, []uint64{bob, carol}[i/4%2], e)
		}
		if state(&b, now) != Closed {
			t.Fatalf("open after %d requests", i+1)
		}
	}
}

func TestHalfOfTenOpens(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails []Evidence // every second outcome; the others are good
		open  bool
	}{
		{"five connect failures of ten", []Evidence{Hard, Hard, Hard, Hard, Hard}, true},
		{"four of nine: too few", []Evidence{Hard, Hard, Hard, Hard}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(Failures())
			for _, e := range c.fails {
				see(t, &b, noon, bob, Good)
				see(t, &b, noon, alice, e)
			}
			if got := state(&b, noon) == Open; got != c.open {
				t.Errorf("open = %t, want %t", got, c.open)
			}
		})
	}
}

func TestHalfOfTenByContentNeedsTheOthersToAgree(t *testing.T) {
	b := New(Failures())
	for range 20 { // carol is content; alice fails each time, bob every second time
		see(t, &b, noon, carol, Good)
		if ticket, ok := b.Admit(noon, alice, 0); ok {
			b.Observe(noon, ticket, Content, 0)
		}
	}
	if state(&b, noon) != Closed {
		t.Fatal("one client's failures opened it")
	}
	b = New(Failures())
	for i := range 10 {
		see(t, &b, noon, []uint64{alice, bob}[i/2%2], []Evidence{Good, Content}[i%2])
	}
	if state(&b, noon) != Open {
		t.Error("two clients for both of which half fails leave it closed")
	}
}

func TestOutcomesOlderThanThirtySecondsAreForgotten(t *testing.T) {
	b := New(Failures())
	now := noon
	for range 8 {
		see(t, &b, now, bob, Good)
	}
	for range 4 {
		see(t, &b, now, alice, Hard)
		see(t, &b, now, bob, Good)
	}
	now = noon.Add(30 * time.Second)
	for range 4 { // of ten in the window now, were the old ones gone: 4 of 5
		see(t, &b, now, alice, Hard)
	}
	see(t, &b, now, bob, Good)
	if state(&b, now) != Closed {
		t.Error("opened on less than ten in the window")
	}
	if n := b.window.sum(now); n.total != 2*5 {
		t.Errorf("%d halves in the window, want those of 5 outcomes", n.total)
	}
}

func TestOpenForItsTimeToTheNanosecond(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	// The first time open is 5…15 s; a draw of 0 makes it 5.
	if _, ok := b.Admit(noon.Add(5*time.Second-1), bob, 0); ok {
		t.Error("admits one nanosecond early")
	}
	at := noon.Add(5 * time.Second)
	if state(&b, at) != HalfOpen {
		t.Errorf("state at 5 s: %v", state(&b, at))
	}
	probe, ok := b.Admit(at, bob, 0)
	if !ok || !probe.Probe() {
		t.Fatal("no probe at 5 s")
	}
	if _, ok := b.Admit(at, carol, 0); ok {
		t.Error("two probes at once")
	}
	b.Observe(at.Add(1), probe, Good, 0)
	if state(&b, at.Add(1)) != Closed {
		t.Error("a good probe leaves it open")
	}
}

func TestTimesOpenGrowWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(Failures())
		now := noon
		for range 5 {
			ticket, _ := b.Admit(now, alice, 0)
			b.Observe(now, ticket, Hard, rapid.Float64Range(0, 0.999).Draw(t, "draw"))
		}
		last := 5 * time.Second
		for range 20 {
			_, until := b.State(now)
			open := until.Sub(now)
			if open < 5*time.Second || open > min(3*last, 300*time.Second) {
				t.Fatalf("open for %v after %v", open, last)
			}
			last, now = open, until
			probe, ok := b.Admit(now, alice, 0)
			if !ok {
				t.Fatal("no probe when the time is over")
			}
			b.Observe(now, probe, Hard, rapid.Float64Range(0, 0.999).Draw(t, "draw"))
		}
	})
}

func TestSlowStart(t *testing.T) {
	b := New(Failures())
	if b.Share(noon) != 1 {
		t.Error("a target that never failed starts slowly")
	}
	at := reopenedAt(t, &b)
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{0, 0.1}, {10 * time.Second, 0.4}, {30*time.Second - 1, 1}, {30 * time.Second, 1}} {
		if got := b.Share(at.Add(c.after)); got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("share after %v: %v, want %v", c.after, got, c.want)
		}
	}
}

// reopenedAt opens a breaker at noon and readmits it.
func reopenedAt(t *testing.T, b *Breaker) time.Time {
	t.Helper()
	for range 5 {
		see(t, b, noon, alice, Hard)
	}
	at := noon.Add(5 * time.Second)
	see(t, b, at, bob, Good)
	return at
}

func TestTargetThatFailsSoonAfterReadmissionStaysOutAMinute(t *testing.T) {
	b := New(Failures())
	at := reopenedAt(t, &b)
	for range 5 {
		see(t, &b, at.Add(time.Second), alice, Hard)
	}
	if _, until := b.State(at); until.Sub(at.Add(time.Second)) != time.Minute {
		t.Errorf("open for %v, want 1m", until.Sub(at.Add(time.Second)))
	}
}

func TestLateResultsAreIgnored(t *testing.T) {
	b := New(Failures())
	var late []Ticket
	for range 10 {
		ticket, _ := b.Admit(noon, alice, 0)
		late = append(late, ticket)
	}
	at := reopenedAt(t, &b)
	for _, ticket := range late {
		b.Observe(at.Add(1), ticket, Hard, 0)
	}
	if state(&b, at.Add(1)) != Closed {
		t.Error("results from before it opened opened it again")
	}
	for range 5 {
		see(t, &b, at.Add(2*time.Minute), alice, Hard)
	}
	b.Observe(at.Add(2*time.Minute+1), late[0], Good, 0)
	if state(&b, at.Add(2*time.Minute+1)) != Open {
		t.Error("a late success closed it")
	}
}

func TestProbeIsOverWhenAGoodAnswerBegins(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	at := noon.Add(5 * time.Second)
	probe, _ := b.Admit(at, bob, 0)
	b.Answer(at.Add(1), &probe)
	if state(&b, at.Add(1)) != Closed {
		t.Fatal("not readmitted at the first byte")
	}
	b.Observe(at.Add(time.Minute), probe, Content, 0)
	if b.run != 2 {
		t.Error("the failure of the stream does not count in the new state")
	}
}

func TestProbeThatLearnsNothingLeavesItHalfOpen(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	at := noon.Add(5 * time.Second)
	see(t, &b, at, bob, None)
	if state(&b, at) != HalfOpen {
		t.Errorf("a probe whose client left: %v", state(&b, at))
	}
	see(t, &b, at, bob, Good)
	if state(&b, at) != Closed {
		t.Error("a success does not readmit")
	}
}

func TestProbeThatNeverComesBackKeepsNobodyAway(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	at := noon.Add(5 * time.Second)
	lost, _ := b.Admit(at, bob, 0)
	if b.Admits(at.Add(probeLease-1), carol) {
		t.Error("given up early")
	}
	if !b.Admits(at.Add(probeLease), carol) {
		t.Error("not given up")
	}
	see(t, &b, at.Add(probeLease), carol, Good)
	b.Observe(at.Add(probeLease+1), lost, Hard, 0)
	if state(&b, at.Add(probeLease+1)) != Closed {
		t.Error("the lost probe came back and counted")
	}
}

// Answers may take longer than any lease: whenever the success comes, it counts,
// though other tests have begun meanwhile.
func TestSlowProbeReadmits(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	at := noon.Add(5 * time.Second)
	slow, _ := b.Admit(at, bob, 0)
	if _, ok := b.Admit(at.Add(probeLease), carol, 0); !ok {
		t.Fatal("no second test after the lease")
	}
	b.Observe(at.Add(2*probeLease), slow, Good, 0)
	if state(&b, at.Add(2*probeLease)) != Closed {
		t.Error("an answer of two minutes does not readmit")
	}
}

func TestWeakFailuresCountHalf(t *testing.T) {
	b := New(Failures())
	for i := range 9 {
		see(t, &b, noon, []uint64{alice, bob}[i%2], Weak)
	}
	if state(&b, noon) != Closed {
		t.Error("open after four and a half failures")
	}
	see(t, &b, noon, bob, Weak)
	if state(&b, noon) != Open {
		t.Error("ten halves in a row by two clients leave it closed")
	}
	// Of the outcomes of half a minute, as many must be weak as there are.
	b = New(Failures())
	for i := range 40 {
		see(t, &b, noon, []uint64{alice, bob}[i/2%2], []Evidence{Good, Weak}[i%2])
	}
	if state(&b, noon) != Closed {
		t.Error("a quarter of failures opened it")
	}
}

// What says by itself that a target cannot serve keeps away at once the client
// that was told, everyone once a second client was told, and nobody any more
// after one success.
func TestExclusionNeedsTwoClients(t *testing.T) {
	for name, cfg := range map[string]Config{
		"identity": Identity(), "operation": Operation(), "deployment": Deployment(), "retirement": Retirement(),
	} {
		b := New(cfg)
		for range 20 {
			if ticket, ok := b.Admit(noon, alice, 3); ok {
				b.Observe(noon, ticket, Content, 0)
			}
		}
		if b.Admits(noon, alice) {
			t.Errorf("%s: the client that was told is let through", name)
		}
		if !b.Admits(noon, bob) {
			t.Fatalf("%s: one client alone took it away from another", name)
		}
		see(t, &b, noon, bob, Good)
		see(t, &b, noon, carol, Content)
		if !b.Admits(noon, bob) {
			t.Errorf("%s: a client was served between the two that were told, and it is out all the same", name)
		}
		see(t, &b, noon, bob, Content)
		if state(&b, noon) != Open || b.Admits(noon, 44) {
			t.Errorf("%s: two clients were told, and it is not out", name)
		}
		_, until := b.State(noon)
		if first := until.Sub(noon); first != cfg.Base {
			t.Errorf("%s: first out for %v, want %v", name, first, cfg.Base)
		}
		see(t, &b, until, 44, Good)
		if state(&b, until) != Closed {
			t.Errorf("%s: one success does not clear it", name)
		}
	}
}

// A poison client that takes every probe must not keep a sound target out for
// longer and longer; two clients whose probes fail do.
func TestOneClientsProbesDoNotLengthenTheWait(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, bob, Hard)
	}
	now := noon
	for range 4 {
		now = now.Add(5 * time.Second)
		probe, ok := b.Admit(now, alice, 0)
		if !ok {
			t.Fatal("the wait grew")
		}
		b.Observe(now, probe, Content, 0.9)
	}
	now = now.Add(5 * time.Second)
	probe, _ := b.Admit(now, carol, 0)
	b.Observe(now, probe, Content, 0.9)
	if _, until := b.State(now); until.Sub(now) <= 5*time.Second {
		t.Error("two clients' probes failed, and the wait did not grow")
	}
}

func TestForcedAttemptPassesAnOpenBreakerOneAtATime(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	_, until := b.State(noon)
	first, ok := b.Admit(noon, bob, 1)
	if !ok || !first.Forced() {
		t.Fatal("not let through")
	}
	if _, ok := b.Admit(noon, carol, 1); ok || !b.MustWait(noon, carol, 1) {
		t.Error("two at once")
	}
	b.Observe(noon.Add(1), first, Hard, 0.9)
	if _, now := b.State(noon); !now.Equal(until) {
		t.Error("its failure, which was to be expected, changed the time open")
	}
	second, ok := b.Admit(noon.Add(2), carol, 1)
	if !ok {
		t.Fatal("the next is not let through")
	}
	b.Observe(noon.Add(3), second, Good, 0)
	if state(&b, noon.Add(3)) != Closed {
		t.Error("its success does not readmit")
	}
}

func TestEvidenceThatIsTooOldIsForgotten(t *testing.T) {
	b := New(Failures())
	for range 5 {
		see(t, &b, noon, alice, Hard)
	}
	end := noon.Add(5*time.Second + staleAfter)
	if state(&b, end.Add(-1)) != HalfOpen || state(&b, end) != Closed {
		t.Error("not closed five minutes after its time was over")
	}
	ticket, ok := b.Admit(end, alice, 0)
	if !ok || ticket.Probe() || b.Share(end) != 0.1 {
		t.Errorf("not a slow start: admitted %t, probe %t, share %v", ok, ticket.Probe(), b.Share(end))
	}
}

func TestMemoryIsBoundedHoweverManyClients(t *testing.T) {
	b := New(Failures())
	for i := range uint64(10_000) {
		see(t, &b, noon.Add(time.Duration(i)), i+1, Good)
	}
	for range 5 {
		see(t, &b, noon.Add(time.Second), alice, Content)
	}
	for i := range uint64(maxClients - 1) { // newer ones do not push out an open circuit
		see(t, &b, noon.Add(2*time.Second), 1000+i, Good)
	}
	if b.Admits(noon.Add(2*time.Second), alice) {
		t.Error("the client that is kept away was forgotten")
	}
}

// Never more tests at a time than may be forced, whatever happens; an admitted ticket of
// an earlier epoch never changes the state.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(Failures())
		now := noon
		type out struct {
			ticket Ticket
			since  time.Time
		}
		const most = 3
		var held []out
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "pause")))
			name := rapid.Uint64Range(0, 20).Draw(t, "client")
			if rapid.Bool().Draw(t, "admit") {
				could := b.Admits(now, name)
				forced := 0
				if rapid.IntRange(0, 9).Draw(t, "force") == 0 {
					forced = most
				}
				ticket, ok := b.Admit(now, name, forced)
				if could && !ok {
					t.Fatal("Admits promised what Admit refused")
				}
				if ok {
					held = append(held, out{ticket, now})
				}
			} else if len(held) > 0 {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				epoch, before := b.whole.epoch, b.whole
				b.Observe(now, held[i].ticket, Evidence(rapid.IntRange(0, 4).Draw(t, "evidence")), 0.5)
				if held[i].ticket.epoch != epoch && b.whole != before {
					t.Fatal("a late result changed the state")
				}
				held = append(held[:i], held[i+1:]...)
			}
			probes := 0
			for _, h := range held {
				if h.ticket.probe && h.ticket.epoch == b.whole.epoch && now.Sub(h.since) < probeLease {
					probes++
				}
			}
			if probes > most {
				t.Fatalf("%d probes at once", probes)
			}
		}
	})
}
