package targets

import (
	"strings"
	"testing"
	"time"
)

// A refused credential is first of all one that ran out: the target is only less
// attractive until a renewed one is refused as well, and out for all on two
// clients' evidence.
func TestIdentitySetsAsideOnceARenewedCredentialIsRefused(t *testing.T) {
	w := newWorld(t, 1, 1)
	refused := func(credential uint64) Outcome { return Outcome{Kind: IdentityRefused, Credential: credential} }
	w.told(0, 0, refused(7), "a", "b", "c", "d")
	if s := w.reg.Status(w.now)[0]; !s.Identity || !s.Suspect {
		t.Errorf("no alarm, or no suspicion: %+v", s)
	}
	w.told(0, 0, refused(7), "e") // still let through
	w.told(0, 0, refused(8), "a")
	if got := w.call("a", worked).Backend; got != "t1-0" {
		t.Errorf("the client whose renewed credential was refused is sent to %s", got)
	}
	w.told(0, 0, refused(8), "b")
	w.sleep(suspectFor - 1)
	if got := w.call("f", worked).Backend; got != "t1-0" {
		t.Errorf("two clients' refusals leave the target to a third: %s", got)
	}
	if s := w.reg.Status(w.now)[0]; s.Breaker != 0 {
		t.Error("a refused identity opened the breaker")
	}
	w.sleep(time.Minute)
	w.call("f", worked)
	if w.reg.Status(w.now)[0].Identity {
		t.Error("alarm although our credential was accepted")
	}
}

// 403 is about one operation: two clients without embeddings do not end chat.
func TestForbiddenOperationSetsAsideThePair(t *testing.T) {
	w := newWorld(t, 1, 1)
	ask := func(client, operation string) *Selection {
		req := w.request(client)
		req.Operation = operation
		return new(w.reg.Begin(req))
	}
	for _, client := range []string{"a", "b"} {
		ticket := w.next(ask(client, "embeddings"))
		if ticket.Target.Backend != "t0-0" {
			t.Fatalf("%s was kept away on another client's word", client)
		}
		ticket.Observe(w.now, Outcome{Kind: OperationForbidden})
	}
	if got := w.next(ask("c", "embeddings")).Target.Backend; got != "t1-0" {
		t.Errorf("embeddings of a third client went to %s", got)
	}
	w.sleep(suspectFor)
	ticket := w.next(ask("a", "chat"))
	if ticket.Target.Backend != "t0-0" {
		t.Error("chat is kept away, too")
	}
	ticket.Observe(w.now, worked)
	if s := w.reg.Status(w.now)[0]; !s.Forbidden || !s.Available {
		t.Errorf("status %+v", s)
	}
}

// A missing deployment comes back by a single test.
func TestMissingDeploymentComesBackByASingleTest(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.told(0, 0, Outcome{Kind: DeploymentMissing}, "a", "b")
	if got := w.call("c", worked).Backend; got != "t1-0" {
		t.Fatal("used though two clients were told that it is missing")
	}
	w.now = w.reg.base.Add(time.Duration(w.state(0, 0).outUntil.Load()))
	test, other := w.next(w.begin("c")), w.next(w.begin("d"))
	if !test.Probe || test.Target.Backend != "t0-0" || other.Target.Backend != "t1-0" {
		t.Fatalf("not one test: %s and %s", test.Target.Backend, other.Target.Backend)
	}
	test.Answered(w.now, time.Second)
	test.Observe(w.now, worked)
	if s := w.reg.Status(w.now)[0]; s.Missing {
		t.Error("a success does not clear it")
	}
	w.sleep(time.Minute) // the slow start is over
	for range 10 {
		w.call("e", worked)
	}
	w.told(0, 0, worked, "a", "b")
	if n := len(w.state(0, 0).exclusions); n != 0 {
		t.Errorf("%d exclusions are kept that have nothing to say", n)
	}
}

// 410 is the client's only if every target says so.
func TestRetiredOnlyIfEveryTargetSaysSo(t *testing.T) {
	w := newWorld(t, 2, 1)
	s := w.begin("a")
	for i := range 3 {
		o := Outcome{Kind: Retired}
		if i == 2 {
			o = throttled(time.Minute)
		}
		w.next(s).Observe(w.now, o)
		if !s.MayRetry(w.now, o) {
			t.Fatal("no other target is asked")
		}
	}
	if _, ok := s.Next(w.now, w.rng); ok {
		t.Fatal("a fourth target of three")
	}
	if v := s.Verdict(w.now); v.AllRetired {
		t.Errorf("one target is merely throttled: %+v", v)
	}
	w = newWorld(t, 2, 1)
	s = w.begin("a")
	for range 3 {
		w.next(s).Observe(w.now, Outcome{Kind: Retired})
		s.MayRetry(w.now, Outcome{Kind: Retired})
	}
	s.Next(w.now, w.rng)
	if v := s.Verdict(w.now); !v.AllRetired {
		t.Errorf("every target says so: %+v", v)
	}
}

// A target that Azure has moved to another model is avoided while another is right.
func TestTargetThatAnswersAsAnotherModelIsAvoided(t *testing.T) {
	source := `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - {name: a, region: swedencentral, endpoint: "https://a.openai.azure.com", credential: {managedIdentity: {}}, deployments: [{name: d, model: gpt-5.4, version: "2026-03-05", sku: Standard}]}
  - {name: b, region: swedencentral, endpoint: "https://b.openai.azure.com", credential: {managedIdentity: {}}, deployments: [{name: d, model: gpt-5.4, version: "2026-03-05", sku: Standard}]}
routes: [{name: chat, model: gpt-5.4, version: "2026-03-05"}]
clients: [{name: p, keys: [{sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}], routes: [chat]}]
`
	for _, c := range []struct {
		name    string
		says    []string
		mode    string
		alarm   string
		avoided bool
	}{
		{"the route's", []string{"gpt-5.4", "gpt-5.4-2026-03-05", ""}, "", "", false},
		{"the same at another version", []string{"gpt-5.4-2026-09-01"}, "", "gpt-5.4-2026-09-01", true},
		{"the same, and only an alarm is wanted", []string{"gpt-5.4-2026-09-01"}, "alarm", "gpt-5.4-2026-09-01", false},
		// It may be another way of writing, as long as nothing has changed.
		{"a name nobody knows", []string{"gpt5"}, "", "gpt5", false},
		{"a name nobody knows in place of the right one", []string{"gpt-5.4", "gpt-5.6-sol"}, "", "gpt-5.6-sol", true},
		{"right again", []string{"gpt-5.4-2026-09-01", "gpt-5.4"}, "", "", false},
		{"a name that is an attack", []string{"<script>" + strings.Repeat("x", 99)}, "", unreadable, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := source
			if c.mode != "" {
				text += "onModelMismatch: " + c.mode + "\n"
			}
			snapshot := compile(t, text)
			r := New("")
			r.Advance(snapshot)
			route, _ := snapshot.Route("chat")
			stamp, _ := snapshot.Stamp("swedencentral")
			w := &world{t: t, reg: r, route: route, stamp: stamp, now: time.Now(), rng: newWorld(t, 1).rng, tiers: route.Tiers(here)}
			for _, model := range c.says {
				w.told(0, 0, Outcome{Kind: Success, FirstByte: time.Second, Sent: true, Model: model}, "a")
			}
			s := r.Status(w.now)[0]
			if s.OtherModel != c.alarm || s.Avoided != c.avoided {
				t.Errorf("status says %q, avoided %t; want %q, %t", s.OtherModel, s.Avoided, c.alarm, c.avoided)
			}
			n := w.count(100)
			if got := n["a"] == 0; got != c.avoided {
				t.Errorf("served by %v", n)
			}
			// With nothing else left it serves.
			w.gate(0, 1, time.Minute)
			if got := w.call("a", worked).Backend; got != "a" {
				t.Errorf("refused to serve: %s", got)
			}
			again := compile(t, text)
			r.Advance(again)
			if s := r.Status(w.now)[0]; s.OtherModel != "" {
				t.Errorf("a new policy has learned nothing yet, but %q", s.OtherModel)
			}
		})
	}
}

// An avoided target is tested by one request after a minute, then ever more seldom,
// and is back with the first right answer.
func TestAvoidedTargetIsTestedAndComesBack(t *testing.T) {
	w := newWorld(t, 2)
	for _, target := range w.tiers[0].Targets {
		target.AvoidMismatch = true
	}
	st := w.state(0, 0)
	st.target.Store(w.tiers[0].Targets[0])
	st.served.Store(&served{target: w.tiers[0].Targets[0], model: "other", other: true, avoided: true, wait: firstAvoid, until: w.reg.since(w.now) + int64(firstAvoid)})
	there := func(d time.Duration, o Outcome) (n int) {
		for end := w.now.Add(d); w.now.Before(end); w.sleep(time.Second) {
			ticket := w.next(w.begin("a"))
			if ticket.Target == w.tiers[0].Targets[0] {
				n++
				ticket.Observe(w.now, o)
				continue
			}
			ticket.Observe(w.now, worked)
		}
		return n
	}
	if n := there(firstAvoid, worked); n != 0 {
		t.Errorf("asked %d times in the first minute", n)
	}
	if n := there(20*time.Second, Outcome{Kind: Canceled}); n != 1 {
		t.Errorf("tested by %d requests, want one", n)
	}
	st.served.Store(&served{target: w.tiers[0].Targets[0]}) // a test has found it right
	if n := there(100*time.Second, worked); n < 40 {
		t.Errorf("back with %d of 100 calls", n)
	}
}

// The last attempt leaves the tiers that failed the request.
func TestLastAttemptLeavesTheTier(t *testing.T) {
	w := newWorld(t, 6, 1).passive(1)
	s := w.begin("a")
	for i := range 3 {
		ticket := w.next(s)
		if want := i == 2; ticket.Passive != want {
			t.Fatalf("attempt %d: passive %t, want %t", i+1, ticket.Passive, want)
		}
		ticket.Observe(w.now, broke)
		if i < 2 && !s.MayRetry(w.now, broke) {
			t.Fatal("no retry")
		}
	}
}

// Without a token a request waits while a target without a sign of failure is left,
// goes on as soon as an answered retry gives one back, and fails at once when no
// such target is left.
func TestRequestWithoutATokenWaitsWhileThereIsHope(t *testing.T) {
	w := newWorld(t, 1, 40).passive(1)
	var waiting []*Selection
	var paid []*Ticket
	for range 11 { // the reserve has ten tokens
		s := w.begin("a")
		first, ok := s.take(0, 0, admission{})
		if !ok {
			t.Fatal("not admitted")
		}
		first.Observe(w.now, broke)
		w.state(0, 0).health.Reset()
		if !s.MayRetry(w.now, broke) {
			t.Fatal("no retry")
		}
		if ticket, ok := s.Next(w.now, w.rng); ok {
			paid = append(paid, &ticket)
		} else {
			waiting = append(waiting, s)
		}
	}
	if len(paid) != 10 || len(waiting) != 1 {
		t.Fatalf("%d retries paid, %d without a token", len(paid), len(waiting))
	}
	place, ok := waiting[0].Wait(w.now)
	if !ok {
		t.Fatal("it may not wait, though forty targets are well")
	}
	paid[0].Answered(w.now, time.Second)
	select {
	case <-place.Turn:
	default:
		t.Error("an answered retry does not wake it")
	}
	place.Done()
	if _, ok := waiting[0].Next(w.now, w.rng); !ok {
		t.Error("an answered retry does not give its token back")
	}
	s := w.begin("b")
	first, _ := s.take(0, 0, admission{})
	first.Observe(w.now, broke)
	s.MayRetry(w.now, broke)
	for i := range 40 {
		w.state(1, i).suspectUntil.Store(always)
	}
	if _, ok := s.Next(w.now, w.rng); ok {
		t.Fatal("a retry without a token")
	}
	if _, ok := s.Wait(w.now); ok {
		t.Error("it waits, though every target has just failed")
	}
	if v := s.Verdict(w.now); !v.Unpaid {
		t.Errorf("verdict %+v", v)
	}
}

func TestNobodyWaitsForever(t *testing.T) {
	for deadline, most := range map[time.Duration]time.Duration{0: mostWait, 9 * time.Second: 3 * time.Second, time.Hour: mostWait} {
		w := newWorld(t, 1, 1)
		for range 10 {
			w.reg.plan(w.route, here).budget.Withdraw(w.now)
		}
		req := w.request("a")
		if deadline > 0 {
			req.Deadline = w.now.Add(deadline)
		}
		s := w.reg.Begin(req)
		w.next(&s).Observe(w.now, broke)
		s.MayRetry(w.now, broke)
		begin := w.now
		for {
			w.reg.plan(w.route, here).budget.Withdraw(w.now) // somebody else is always quicker
			if _, ok := s.Next(w.now, w.rng); ok {
				t.Fatal("it was not to have a token")
			}
			place, ok := s.Wait(w.now)
			if !ok {
				break
			}
			place.Done()
			w.sleep(place.After)
		}
		if got := w.now.Sub(begin); got != most {
			t.Errorf("with %v left it waits for %v, want %v", deadline, got, most)
		}
	}
}
