package targets

import (
	"fmt"
	"testing"
	"time"
)

// A throttled backend answers in 10 ms and so looks idle: without a gate every
// balancer prefers it (P2C: 66.7 % of first attempts with three targets).
func TestThrottledTargetIsLeftAlone(t *testing.T) {
	for _, n := range []int{3, 6, 12} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			s := newSim(1, tiersOf(n))
			s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
				if i == 0 {
					return refuses()
				}
				return s.service()
			}
			s.run(10*time.Minute, map[string]float64{"alice": 15, "bob": 15})
			share := float64(s.firstOn[0]) / float64(s.firsts)
			perRequest := float64(s.attempts) / float64(s.requests)
			t.Logf("first attempts on the throttled one %.2f %%, attempts per request %.4f", 100*share, perRequest)
			if share > 0.005 || perRequest > 1.005 {
				t.Errorf("want at most 0.5 %% and 1.005")
			}
			if s.failed["alice"]+s.failed["bob"] != 0 {
				t.Errorf("failed: %v", s.failed)
			}
		})
	}
}

func TestNothingIsMultipliedWhenAllIsThrottled(t *testing.T) {
	for _, n := range []int{3, 6} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			s := newSim(2, tiersOf(n))
			s.answer = func(int, time.Time, string) (time.Duration, Outcome) { return refuses() }
			s.run(10*time.Minute, map[string]float64{"alice": 15, "bob": 15})
			x := float64(s.attempts) / float64(s.requests)
			t.Logf("attempts per request %.4f", x)
			if x > 0.02 {
				t.Error("want at most 0.02")
			}
			if s.verdicts[false] != 0 {
				t.Errorf("%d requests were told something else than 429", s.verdicts[false])
			}
		})
	}
}

// Ten virtual minutes in which everything fails. The share of the budget allows
// 1.1; its reserve 10 + 600 more, 3 % of 18,000 requests, were it not that the
// breakers open and attempts on what they keep out may not use the reserve.
func TestNothingIsMultipliedWhenAllFails(t *testing.T) {
	for name, answer := range map[string]func(int, time.Time, string) (time.Duration, Outcome){
		"500": func(int, time.Time, string) (time.Duration, Outcome) { return breaks() },
		"refused": func(int, time.Time, string) (time.Duration, Outcome) {
			return time.Millisecond, Outcome{Kind: ConnectFailed}
		},
		"silence": func(int, time.Time, string) (time.Duration, Outcome) {
			return time.Hour, Outcome{Kind: FirstByteTimeout, Sent: true}
		},
		"identity": func(int, time.Time, string) (time.Duration, Outcome) {
			return 5 * time.Millisecond, Outcome{Kind: IdentityRefused}
		},
	} {
		counts := []int{3}
		if name == "500" || name == "refused" {
			counts = []int{1, 3, 12}
		}
		for _, n := range counts {
			t.Run(fmt.Sprintf("%s/N=%d", name, n), func(t *testing.T) {
				s := newSim(3, tiersOf(n))
				s.answer = answer
				s.run(10*time.Minute, map[string]float64{"alice": 10, "bob": 10, "carol": 10})
				x := float64(s.attempts) / float64(s.requests)
				t.Logf("attempts per request %.4f (requests %d, attempts %d, first attempts %d)", x, s.requests, s.attempts, s.firsts)
				if x > 1.1 {
					t.Error("want at most 1.1")
				}
			})
		}
	}
}

// One client's requests make every backend answer 500, and one of the three
// refuses connections. The other clients notice nothing.
func TestPoisonClientHurtsNobodyElse(t *testing.T) {
	for _, rate := range []float64{1, 10, 100} {
		t.Run(fmt.Sprintf("%.0f a second", rate), func(t *testing.T) {
			s := newSim(4, tiersOf(3))
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
			t.Logf("served %v, failed %v, attempts per request %.3f", s.served, s.failed, float64(s.attempts)/float64(s.requests))
			if s.failed["alice"]+s.failed["bob"] != 0 {
				t.Error("honest requests failed")
			}
		})
	}
}

// Requests are served at a target in whichever region; a switch is a change of
// the region that serves most of a second's requests.
func TestTargetThatFlipsEverySecondDoesNotMakeTheRouteFlap(t *testing.T) {
	for _, kind := range []Kind{ConnectFailed, ServerError} {
		tiers := tiersOf(1, 1)
		tiers[1].Passive = true
		s := newSim(5, tiers)
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
	s := newSim(6, tiersOf(1, 2))
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

func TestSlowTargetGetsLess(t *testing.T) {
	s := newSim(7, tiersOf(6))
	sum := time.Duration(0)
	s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
		took, o := s.service()
		if i == 0 {
			took, o.FirstByte = 5*took, 5*o.FirstByte
		}
		sum += took
		return took, o
	}
	s.run(10*time.Minute, map[string]float64{"alice": 30})
	share := float64(s.firstOn[0]) / float64(s.firsts)
	t.Logf("share of the target five times slower %.1f %%, mean %.2f s", 100*share, (sum / time.Duration(s.attempts)).Seconds())
	if share > 0.10 { // an even share would be 16.7 %
		t.Errorf("share %.3f, want at most 0.10", share)
	}
}

// Two of three targets are faulty in whatever way: nobody notices but by time.
func TestOneSoundTargetServesAll(t *testing.T) {
	for name, fault := range map[string]func() (time.Duration, Outcome){
		"refused":  func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: ConnectFailed} },
		"500":      breaks,
		"429":      refuses,
		"silence":  func() (time.Duration, Outcome) { return time.Hour, Outcome{Kind: FirstByteTimeout, Sent: true} },
		"identity": func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: IdentityRefused} },
		"missing":  func() (time.Duration, Outcome) { return time.Millisecond, Outcome{Kind: DeploymentMissing} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(8, tiersOf(3))
			s.answer = func(i int, _ time.Time, _ string) (time.Duration, Outcome) {
				if i < 2 {
					return fault()
				}
				return s.service()
			}
			s.run(10*time.Minute, map[string]float64{"alice": 1, "bob": 1})
			t.Logf("served %v, failed %v, faulty first attempts %d of %d, attempts per request %.4f", s.served, s.failed,
				s.firstOn[0]+s.firstOn[1], s.firsts, float64(s.attempts)/float64(s.requests))
			if n := s.failed["alice"] + s.failed["bob"]; n != 0 {
				t.Errorf("%d of %d requests failed", n, s.requests)
			}
		})
	}
}
