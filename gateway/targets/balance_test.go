package targets

import (
	"fmt"
	"testing"
	"time"
)

type answer = func(target int, now time.Time, client string) (time.Duration, Outcome)

// ever is an answer whatever the target and the time.
func ever(f func() (time.Duration, Outcome)) answer {
	return func(int, time.Time, string) (time.Duration, Outcome) { return f() }
}

// overLaws runs a simulation for each law of answers.
func overLaws(t *testing.T, run func(t *testing.T, l law)) {
	t.Helper()
	for _, l := range laws() {
		t.Run(l.name, func(t *testing.T) { run(t, l) })
	}
}

// A throttled backend answers in 10 ms and so looks idle: without a gate every
// balancer prefers it (P2C: 66.7 % of first attempts with three targets).
func TestThrottledTargetIsLeftAlone(t *testing.T) {
	overLaws(t, func(t *testing.T, l law) {
		for _, n := range []int{3, 6, 12} {
			s := newSim(1, l, tiersOf(n))
			s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
				if i == 0 {
					return refuses()
				}
				return s.service()
			}
			s.run(10*time.Minute, map[string]float64{"alice": 15, "bob": 15})
			share := float64(s.firstOn[0]) / float64(s.firsts)
			perRequest := float64(s.attempts) / float64(s.requests)
			t.Logf("N=%d: first attempts on the throttled one %.2f %%, attempts per request %.4f", n, 100*share, perRequest)
			if share > 0.005 || perRequest > 1.005 {
				t.Errorf("N=%d: want at most 0.5 %% and 1.005", n)
			}
			if s.failed["alice"]+s.failed["bob"] != 0 {
				t.Errorf("N=%d: failed: %v", n, s.failed)
			}
		}
	})
}

func TestNothingIsMultipliedWhenAllIsThrottled(t *testing.T) {
	for _, n := range []int{3, 6} {
		s := newSim(2, laws()[0], tiersOf(n)) // nothing is answered: the law does not matter
		s.answer = ever(refuses)
		s.run(10*time.Minute, map[string]float64{"alice": 15, "bob": 15})
		x := float64(s.attempts) / float64(s.requests)
		t.Logf("N=%d: attempts per request %.4f", n, x)
		if x > 0.02 {
			t.Errorf("N=%d: want at most 0.02", n)
		}
		if s.verdicts[false] != 0 {
			t.Errorf("N=%d: %d requests were told something else than 429", n, s.verdicts[false])
		}
	}
}

// Ten virtual minutes in which everything fails. The share of the budget allows
// 1.1; its reserve 10 + 600 more, 3 % of 18,000 requests, were it not that the
// breakers open and attempts on what they keep out may not use the reserve.
func TestNothingIsMultipliedWhenAllFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
		counts []int
	}{
		{"500", ever(breaks), []int{1, 3, 12}},
		{"500 after a minute", ever(func() (time.Duration, Outcome) { return time.Minute, broke }), []int{3}},
		{"gave up", ever(func() (time.Duration, Outcome) { return time.Second, Outcome{Kind: GaveUp, Sent: true} }), []int{3}},
		{"the wrong place", ever(func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: Unfit} }), []int{3}},
		{"refused", ever(func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: ConnectFailed} }), []int{1, 3, 12}},
		{"silence", ever(func() (time.Duration, Outcome) { return time.Hour, Outcome{Kind: FirstByteTimeout, Sent: true} }), []int{3}},
		{"identity", ever(func() (time.Duration, Outcome) { return 5 * time.Millisecond, Outcome{Kind: IdentityRefused} }), []int{3}},
		{"forbidden", ever(func() (time.Duration, Outcome) { return 5 * time.Millisecond, Outcome{Kind: OperationForbidden} }), []int{3}},
		{"missing", ever(func() (time.Duration, Outcome) { return 5 * time.Millisecond, Outcome{Kind: DeploymentMissing} }), []int{3}},
		{"retired", ever(func() (time.Duration, Outcome) { return 5 * time.Millisecond, Outcome{Kind: Retired} }), []int{3}},
	} {
		for _, n := range c.counts {
			t.Run(fmt.Sprintf("%s/N=%d", c.name, n), func(t *testing.T) {
				s := newSim(3, laws()[0], tiersOf(n))
				s.answer = c.answer
				s.run(10*time.Minute, map[string]float64{"alice": 10, "bob": 10, "carol": 10})
				x := float64(s.attempts) / float64(s.requests)
				t.Logf("attempts per request %.4f, retries that failed %.2f %% (requests %d, attempts %d)",
					x, 100*float64(s.failedRetries)/float64(s.requests), s.requests, s.attempts)
				if x > 1.1 || float64(s.failedRetries) > 0.1*float64(s.requests) {
					t.Error("want at most 1.1 attempts per request, and 10 % of failed retries")
				}
			})
		}
	}
}

// One client's requests make every backend answer 500, and one of the three
// refuses connections. The other clients notice nothing.
func TestPoisonClientHurtsNobodyElse(t *testing.T) {
	overLaws(t, func(t *testing.T, l law) {
		for _, rate := range []float64{1, 10, 100} {
			s := newSim(4, l, tiersOf(3))
			s.answer = func(i int, _ time.Time, client string) (time.Duration, Outcome) {
				switch {
				case i == 0:
					return time.Millisecond, Outcome{Kind: ConnectFailed}
				case client == "poison":
					return breaks()
				}
				return s.service()
			}
			s.run(3*time.Minute, map[string]float64{"alice": 5, "bob": 5, "poison": rate})
			t.Logf("%.0f a second: served %v, failed %v, attempts per request %.3f", rate, s.served, s.failed, float64(s.attempts)/float64(s.requests))
			if s.failed["alice"]+s.failed["bob"] != 0 {
				t.Errorf("%.0f a second: honest requests failed", rate)
			}
		}
	})
}

// Whatever one client's requests make the backends say, the others are served as if
// it were not there, and by all targets.
func TestP7WhateverOneClientIsAnswered(t *testing.T) {
	for name, o := range map[string]Outcome{
		"a missing deployment": {Kind: DeploymentMissing},
		"a retired model":      {Kind: Retired},
		"refused credentials":  {Kind: IdentityRefused},
		"forbidden":            {Kind: OperationForbidden},
		"errors":               broke,
		"408":                  {Kind: GaveUp, Sent: true},
		"421":                  {Kind: Unfit},
		"rejections":           {Kind: Rejected, Sent: true},
	} {
		overLaws(t, func(t *testing.T, l law) {
			s := newSim(11, l, tiersOf(3))
			s.answer = func(i int, _ time.Time, client string) (time.Duration, Outcome) {
				if client == "poison" {
					return 5 * time.Millisecond, o
				}
				return s.service()
			}
			served := make([]int, 3)
			s.servedOn = func(i int, _ time.Time) { served[i]++ }
			s.run(3*time.Minute, map[string]float64{"alice": 5, "bob": 5, "poison": 20})
			if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
				t.Errorf("%s: %d honest requests failed", name, n)
			}
			for i, n := range served {
				if n < (served[0]+served[1]+served[2])/5 {
					t.Errorf("%s: target %d served %d of %v honest requests", name, i, n, served)
				}
			}
		})
	}
}

// A request that is larger than any target's quota is refused by each in turn. It
// gates its size for its client, and nothing for anybody else.
func TestP7RequestTooLargeGatesNobodyElse(t *testing.T) {
	for _, quota := range []int{0, 10_000} { // unknown, or declared
		tiers := tiersOf(6)
		for _, target := range tiers[0].Targets {
			target.TokensPerMinute = quota
		}
		s := newSim(12, laws()[0], tiers)
		s.tokens = map[string]int{"poison": 50_000, "alice": 500, "bob": 500}
		s.answer = func(i int, _ time.Time, client string) (time.Duration, Outcome) {
			if client == "poison" {
				return refuses()
			}
			return s.service()
		}
		s.run(10*time.Minute, map[string]float64{"alice": 5, "bob": 5, "poison": 1})
		t.Logf("quota %d: served %v, failed %v, attempts of the large ones %d", quota, s.served, s.failed, s.attempts-s.served["alice"]-s.served["bob"])
		if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
			t.Errorf("quota %d: %d requests of others were refused", quota, n)
		}
		if large := s.attempts - s.served["alice"] - s.served["bob"]; large > 600 {
			t.Errorf("quota %d: the large requests were tried %d times", quota, large)
		}
	}
}

// Requests are served at a target in whichever region; a switch is a change of
// the region that serves most of a second's requests.
func TestTargetThatFlipsEverySecondDoesNotMakeTheRouteFlap(t *testing.T) {
	for _, kind := range []Kind{ConnectFailed, ServerError} {
		tiers := tiersOf(1, 1)
		tiers[1].Passive = true
		s := newSim(5, laws()[0], tiers)
		begin := s.now
		s.answer = func(i int, now time.Time, _ string) (time.Duration, Outcome) {
			if i == 0 && int(now.Sub(begin).Seconds())%2 == 1 {
				return time.Millisecond, Outcome{Kind: kind, Sent: kind == ServerError}
			}
			return 100 * time.Millisecond, Outcome{Kind: Success, FirstByte: 50 * time.Millisecond, Sent: true}
		}
		var second [2]int
		switches, mode := 0, 0
		s.servedOn = func(i int, _ time.Time) { second[i]++ }
		s.every = time.Second
		s.inspect = func(time.Time) {
			now := mode
			if second[0] > second[1] {
				now = 0
			} else if second[1] > second[0] {
				now = 1
			}
			if now != mode {
				switches++
			}
			mode, second = now, [2]int{}
		}
		const minutes = 30
		s.run(minutes*time.Minute, map[string]float64{"alice": 10, "bob": 10})
		t.Logf("kind %d: %d switches in %d minutes, failed %v", kind, switches, minutes, s.failed)
		if switches > minutes {
			t.Errorf("kind %d: %d switches in %d minutes, want at most one a minute", kind, switches, minutes)
		}
		if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
			t.Errorf("kind %d: %d requests failed although the passive region could serve", kind, n)
		}
	}
}

// The own region throttles, then serves again: only the overflow spills, own
// capacity is used again the moment its gate ends, and for all a few seconds later.
func TestOverflowSpillsAndReturns(t *testing.T) {
	s := newSim(6, laws()[0], tiersOf(1, 2))
	begin := s.now
	window := func(now time.Time) bool { return now.Sub(begin) >= 60*time.Second && now.Sub(begin) < 70*time.Second }
	s.answer = func(i int, now time.Time, _ string) (time.Duration, Outcome) {
		if i == 0 && window(now) {
			return refuses()
		}
		return s.service()
	}
	var last, firstAfter time.Time
	s.servedOn = func(int, time.Time) {}
	old := s.answer
	s.answer = func(i int, now time.Time, c string) (time.Duration, Outcome) {
		if i != 0 {
			if !now.Before(begin.Add(59 * time.Second)) {
				last = now
			} else {
				t.Error("spilled although the first tier was open")
			}
		} else if now.Sub(begin) > 70*time.Second && firstAfter.IsZero() {
			firstAfter = now
		}
		return old(i, now, c)
	}
	s.run(3*time.Minute, map[string]float64{"alice": 15, "bob": 15})
	t.Logf("back on the first tier after %v, last spilled request at %v", firstAfter.Sub(begin), last.Sub(begin))
	if firstAfter.Sub(begin) > 82*time.Second { // 60 s and a bit + 20 s + at most 1 s of jitter
		t.Errorf("first tier used again after %v only", firstAfter.Sub(begin))
	}
	if last.After(firstAfter.Add(5 * time.Second)) {
		t.Error("requests spill five seconds after the gate has ended")
	}
	if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
		t.Errorf("%d requests failed", n)
	}
}

// The time to a stream's first byte says how fast a target is. A plain answer's
// time says what was asked: there, only the calls in flight move the share.
func TestSlowTargetGetsLess(t *testing.T) {
	overLaws(t, func(t *testing.T, l law) {
		s := newSim(7, l, tiersOf(6))
		s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
			took, o := s.service()
			if i == 0 {
				took, o.FirstByte = 5*took, min(5*o.FirstByte, 29*time.Second)
			}
			return took, o
		}
		s.run(10*time.Minute, map[string]float64{"alice": 30})
		share := float64(s.firstOn[0]) / float64(s.firsts)
		t.Logf("share of the target five times slower %.1f %%", 100*share)
		most := 0.10 // an even share would be 16.7 %
		if l.plain {
			most = 0.17
		}
		if share > most {
			t.Errorf("share %.3f, want at most %.2f", share, most)
		}
	})
}

// Two of three targets are faulty in whatever way: nobody notices but by time.
func TestOneSoundTargetServesAll(t *testing.T) {
	for name, fault := range map[string]func() (time.Duration, Outcome){
		"refused":   func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: ConnectFailed} },
		"500":       breaks,
		"429":       refuses,
		"silence":   func() (time.Duration, Outcome) { return time.Hour, Outcome{Kind: FirstByteTimeout, Sent: true} },
		"identity":  func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: IdentityRefused} },
		"forbidden": func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: OperationForbidden} },
		"missing":   func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: DeploymentMissing} },
		"retired":   func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: Retired} },
		"408":       func() (time.Duration, Outcome) { return time.Second, Outcome{Kind: GaveUp, Sent: true} },
		"421":       func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: Unfit} },
	} {
		overLaws(t, func(t *testing.T, l law) {
			if name == "silence" && l.plain {
				return // a plain answer has all its time: nobody can tell silence from thought
			}
			s := newSim(8, l, tiersOf(3))
			s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
				if i < 2 {
					return fault()
				}
				return s.service()
			}
			s.run(10*time.Minute, map[string]float64{"alice": 1, "bob": 1})
			t.Logf("%s: served %v, failed %v, faulty first attempts %d of %d, attempts per request %.4f", name, s.served, s.failed,
				s.firstOn[0]+s.firstOn[1], s.firsts, float64(s.attempts)/float64(s.requests))
			if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
				t.Errorf("%s: %d of %d requests failed", name, n, s.requests)
			}
		})
	}
}

// A fast refusal must never attract load: one target of three refuses each request
// at once, in whatever way, and no client ever sees more of it than its share.
func TestFastRefusalNeverAttractsLoad(t *testing.T) {
	for name, o := range map[string]Outcome{
		"410": {Kind: Retired}, "404": {Kind: DeploymentMissing}, "421": {Kind: Unfit}, "403": {Kind: OperationForbidden},
		"408": {Kind: GaveUp, Sent: true}, "500": broke,
		// What is the client's own fault is so at every target; but one that is set up
		// wrongly may call everything the client's fault.
		"400": {Kind: Rejected, Sent: true},
	} {
		overLaws(t, func(t *testing.T, l law) {
			s := newSim(13, l, tiersOf(3))
			s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
				if i == 0 {
					return time.Millisecond, o
				}
				return s.service()
			}
			s.run(5*time.Minute, map[string]float64{"alice": 5, "bob": 5})
			share := float64(s.firstOn[0]) / float64(s.firsts)
			t.Logf("%s at once: %.1f %% of first attempts", name, 100*share)
			if share > 0.36 || o.Kind != Rejected && share > 0.12 {
				t.Errorf("%s: the target that refuses got %.1f %% of first attempts", name, 100*share)
			}
		})
	}
}

// A target was ejected and is sound again at once. However long its answers take,
// within the route's limits, the first test readmits it.
func TestSlowButSoundTargetComesBack(t *testing.T) {
	for _, first := range []time.Duration{100 * time.Millisecond, 12 * time.Second, 29 * time.Second, 2 * time.Minute} {
		for _, others := range []int{0, 1} {
			l := law{plain: first > 30*time.Second, lasts: nil}
			s := newSim(14, l, tiersOf(1+others))
			begin := s.now
			s.answer = func(i int, now time.Time, _ string) (time.Duration, Outcome) {
				if i == 0 && now.Sub(begin) < 3*time.Second {
					return time.Millisecond, Outcome{Kind: ConnectFailed}
				}
				return first, Outcome{Kind: Success, FirstByte: first, Sent: true}
			}
			var back time.Duration
			s.servedOn = func(i int, now time.Time) {
				if i == 0 && back == 0 && now.Sub(begin) > 3*time.Second+first {
					back = now.Sub(begin)
				}
			}
			s.run(10*time.Minute, map[string]float64{"alice": 1, "bob": 1})
			t.Logf("answers of %v, %d other targets: first served again after %v; served %v, failed %v", first, others, back.Round(time.Second), s.served, s.failed)
			if back == 0 || back > 30*time.Second+2*first {
				t.Errorf("answers of %v, %d other targets: back after %v", first, others, back)
			}
			if others > 0 && s.failed["alice"]+s.failed["bob"] != 0 {
				t.Errorf("answers of %v: requests failed beside a sound target", first)
			}
		}
	}
}

// All targets of the own region fail with a burst in flight. The figures for slow
// answers of the passive region: those who must repeat wait for scouts, at most 30 s.
func TestP4BurstWhereAnswersAreSlow(t *testing.T) {
	for _, lasts := range []time.Duration{200 * time.Millisecond, 5 * time.Second, 2 * time.Minute} {
		for _, plain := range []bool{false, true} {
			for _, n := range []int{50, 200, 1000} {
				tiers := tiersOf(3, 3)
				tiers[1].Passive = true
				s := newSim(15, law{plain: plain}, tiers)
				s.look = min(max(s.look, lasts/20), lookAgain)
				begin := s.now
				s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
					if i < 3 {
						return max(0, begin.Add(time.Second).Sub(s.now)) + time.Millisecond, broke
					}
					first := lasts
					if !plain {
						first /= 10
					}
					return lasts, Outcome{Kind: Success, FirstByte: first, Sent: true}
				}
				for i := range n {
					s.after(time.Duration(i)*time.Second/time.Duration(n), func() { s.request(fmt.Sprint("c", i%10)) })
				}
				s.run(0, nil)
				served, failed := 0, 0
				for _, v := range s.served {
					served += v
				}
				for _, v := range s.failed {
					failed += v
				}
				kind := "streams"
				if plain {
					kind = "plain answers"
				}
				t.Logf("%s of %v, burst of %d: %d lost, attempts per request at the failing region %.3f", kind, lasts, n, failed,
					float64(s.attemptsOn[0]+s.attemptsOn[1]+s.attemptsOn[2])/float64(n))
				if lasts == 200*time.Millisecond && failed != 0 {
					t.Errorf("burst of %d: %d lost", n, failed)
				}
				if most := int(1.1*float64(n)) + 10 + 9; s.attemptsOn[0]+s.attemptsOn[1]+s.attemptsOn[2] > most {
					t.Errorf("burst of %d: the failing region got %v", n, s.attemptsOn[:3])
				}
				if served+failed != n {
					t.Errorf("%d and %d of %d", served, failed, n)
				}
			}
		}
	}
}

// Eighty clients wait for one gate and come back together, to the only target. What
// it lets through grows; nobody is turned away for that.
func TestReopenedGateRampsWhatItLetsThrough(t *testing.T) {
	s := newSim(16, law{plain: true}, tiersOf(1))
	begin := s.now
	atOnce, peak := 0, 0
	s.answer = func(int, time.Time, string) (time.Duration, Outcome) {
		if s.now.Sub(begin) < time.Second {
			return refuses()
		}
		atOnce++
		if s.now.Sub(begin) < 25*time.Second {
			peak = max(peak, atOnce)
		}
		s.after(time.Second, func() { atOnce-- })
		return time.Second, Outcome{Kind: Success, FirstByte: time.Second, Sent: true}
	}
	s.request("c0")
	var opened time.Duration
	for i := range 80 {
		s.after(22*time.Second+time.Duration(i)*time.Millisecond, func() {
			s.request(fmt.Sprint("c", i%10))
			opened = s.now.Sub(begin)
		})
	}
	s.run(0, nil)
	served := 0
	for _, n := range s.served {
		served += n
	}
	t.Logf("80 clients at %v after the refusal, within 80 ms: %d served, at most %d at once in the first three seconds", opened.Round(time.Second), served, peak)
	if served != 80 {
		t.Errorf("%d of 80 served", served)
	}
	if peak > 30 {
		t.Errorf("%d at once right after the gate has opened", peak)
	}
}
