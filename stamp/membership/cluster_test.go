package membership_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// Some tests are large; -short leaves them out and says so.
func large(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: a large stamp in virtual time")
	}
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// whole waits until a stamp is complete.
func whole(t *testing.T, stamp []*membertest.Gateway) {
	t.Helper()
	membertest.Await(t, time.Minute, "the stamp is complete", func() bool { return membertest.AllSee(stamp) })
}

// gated is a payload that tells of a gate.
func gated(remaining time.Duration) string { return "gated for " + remaining.String() }

// received is all that a gateway has from others on the test's channel.
func received(g *membertest.Gateway) []membership.Message {
	return g.Channel(membertest.Channel).Messages()
}

func TestGatewaysOfAStampFindEachOther(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6, 20} {
		bubble(t, fmt.Sprint(n), func(t *testing.T) {
			net := membertest.NewNetwork(t, 1)
			stamp := membertest.StartStamp(t, net, n, nil)
			took := membertest.Await(t, 10*time.Second, "all see all", func() bool { return membertest.AllSee(stamp) })
			t.Logf("%d gateways see each other after %v", n, took)
		})
	}
}

// An urgent payload reaches every peer: p99 ≤ 1 s, at any loss up to 30 %.
func TestAnUrgentPayloadReachesAllPeersWithinASecond(t *testing.T) {
	for _, n := range []int{2, 3, 5, 10, 20} {
		for _, loss := range []float64{0, 0.1, 0.3} {
			bubble(t, fmt.Sprintf("%d gateways, %.0f%% lost", n, loss*100), func(t *testing.T) {
				if n > 10 {
					large(t)
				}
				net := membertest.NewNetwork(t, uint64(n))
				stamp := membertest.StartStamp(t, net, n, nil)
				whole(t, stamp)
				net.SetLoss(loss)
				times := deliveryTimes(t, stamp, 150/n+12)
				p50, p99 := times[len(times)/2], times[len(times)*99/100]
				t.Logf("%d deliveries: p50 %v, p99 %v, max %v", len(times), p50, p99, times[len(times)-1])
				if p99 > time.Second {
					t.Errorf("p99 = %v, want at most 1 s", p99)
				}
			})
		}
	}
}

// deliveryTimes lets random gateways broadcast and returns how long each peer took
// to have it.
func deliveryTimes(t *testing.T, stamp []*membertest.Gateway, rounds int) []time.Duration {
	t.Helper()
	var times []time.Duration
	for i := range rounds {
		from := stamp[i%len(stamp)]
		remaining := time.Minute + time.Duration(i)*time.Second
		start := time.Now()
		from.Broadcast(gated(remaining))
		missing := slices.DeleteFunc(slices.Clone(stamp), func(g *membertest.Gateway) bool { return g == from })
		for len(missing) > 0 {
			// Finely at first, where most arrive.
			time.Sleep(max(time.Millisecond, time.Since(start).Truncate(time.Millisecond)/10))
			missing = slices.DeleteFunc(missing, func(g *membertest.Gateway) bool {
				ok := g.Has(from, gated(remaining))
				if ok {
					times = append(times, time.Since(start))
				}
				return ok
			})
			if time.Since(start) > 30*time.Second {
				t.Fatalf("%d of %d peers never received it", len(missing), len(stamp)-1)
			}
		}
		time.Sleep(150 * time.Millisecond)
	}
	slices.Sort(times)
	return times
}

// The time that a report waits on its way is part of its age: a gate ends at
// the same moment everywhere, but for the milliseconds on the wire.
func TestRemainingTimesHoldWhenReceivedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 3)
		stamp := membertest.StartStamp(t, net, 3, nil)
		whole(t, stamp)
		ends := time.Now().Add(10 * time.Minute)
		stamp[0].Broadcast(gated(10 * time.Minute))
		time.Sleep(3 * time.Minute)
		late := membertest.Start(t, net.Next(), membertest.Config(9, membertest.Addrs(stamp[1:2])...))
		membertest.Await(t, 10*time.Second, "the newcomer receives it", func() bool { return late.Has(stamp[0], gated(10*time.Minute)) })
		for _, g := range []*membertest.Gateway{stamp[1], stamp[2], late} {
			m, ok := g.Received(stamp[0])
			if !ok {
				t.Fatal("not received")
			}
			if off := m.At.Add(10 * time.Minute).Sub(ends); off < 0 || off > 50*time.Millisecond {
				t.Errorf("%s: the gate ends %v off", g.Self().Gateway, off)
			}
		}
	})
}

func TestACrashIsNoticed(t *testing.T) {
	for _, c := range []struct {
		n     int
		loss  float64
		fast  bool
		limit time.Duration
	}{
		{2, 0, false, 8 * time.Second},
		{3, 0.2, false, 10 * time.Second},
		{6, 0.2, false, 10 * time.Second},
		{20, 0, false, 12 * time.Second},
		{3, 0, true, 4 * time.Second},
		{6, 0.2, true, 6 * time.Second},
	} {
		bubble(t, fmt.Sprintf("%d gateways, %.0f%% lost, fast %v", c.n, c.loss*100, c.fast), func(t *testing.T) {
			net := membertest.NewNetwork(t, 4)
			stamp := membertest.StartStamp(t, net, c.n, func(_ int, cfg *membership.Config) { cfg.Fast = c.fast })
			whole(t, stamp)
			stamp[0].Broadcast(gated(time.Hour))
			time.Sleep(5 * time.Second)
			net.SetLoss(c.loss)
			stamp[0].Net.Crash()
			left := stamp[1:]
			took := membertest.Await(t, c.limit, "survivors know", func() bool { return membertest.AllSee(left) })
			t.Logf("noticed after %v", took)
			for _, g := range left {
				if g.Has(stamp[0], gated(time.Hour)) {
					t.Errorf("%s still holds what the dead one sent", g.Self().Gateway)
				}
			}
		})
	}
}

// A leave is known at once; nobody waits for a probe to fail.
func TestALeaveIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 5)
		stamp := membertest.StartStamp(t, net, 6, nil)
		whole(t, stamp)
		stamp[5].Stop()
		membertest.Await(t, 2*time.Second, "the others know", func() bool { return membertest.AllSee(stamp[:5]) })
	})
}

func TestNobodyIsTakenForDeadAtTwentyPercentLoss(t *testing.T) {
	for _, n := range []int{2, 3, 6, 20} {
		bubble(t, fmt.Sprint(n), func(t *testing.T) {
			if n > 6 {
				large(t)
			}
			net := membertest.NewNetwork(t, 6)
			net.SetDelay(time.Millisecond, 5*time.Millisecond)
			stamp := membertest.StartStamp(t, net, n, nil)
			whole(t, stamp)
			before := generations(stamp)
			net.SetLoss(0.2)
			time.Sleep(2 * time.Minute)
			// Nothing is published here, so a generation moves only if a member
			// goes or comes.
			if after := generations(stamp); !slices.Equal(before, after) {
				t.Errorf("membership moved: generations %v, then %v", before, after)
			}
		})
	}
}

func generations(stamp []*membertest.Gateway) []uint64 {
	var out []uint64
	for _, g := range stamp {
		out = append(out, g.View().Generation)
	}
	return out
}

// Without UDP the stamp limps on, and says so.
func TestBlockedUDPIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 11)
		stamp := membertest.StartStamp(t, net, 3, nil)
		whole(t, stamp)
		time.Sleep(time.Minute)
		for _, g := range stamp {
			if g.Status().UDPBlocked {
				t.Errorf("%s says that UDP is blocked", g.Self().Gateway)
			}
		}
		net.SetUDP(false)
		time.Sleep(time.Minute)
		for _, g := range stamp {
			if !g.Status().UDPBlocked {
				t.Errorf("%s does not say that UDP is blocked", g.Self().Gateway)
			}
		}
		if !membertest.AllSee(stamp) {
			t.Error("a member was taken for dead although TCP works")
		}
	})
}

// A gateway that knows that UDP is blocked does not send urgent payloads into the
// void: they were up to half a minute late, when the next exchange came.
func TestUrgentPayloadsGoByStreamWithoutUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 16)
		stamp := membertest.StartStamp(t, net, 5, nil)
		whole(t, stamp)
		net.SetUDP(false)
		time.Sleep(time.Minute)
		for i, g := range stamp {
			remaining := time.Hour + time.Duration(i)*time.Minute
			g.Broadcast(gated(remaining))
			took := membertest.Await(t, time.Second, "the payload is received", func() bool {
				return !slices.ContainsFunc(stamp, func(o *membertest.Gateway) bool {
					return o != g && !o.Has(g, gated(remaining))
				})
			})
			t.Logf("received after %v", took)
		}
	})
}

// A payload that no packet carries goes by stream, as fast; one that is beyond the
// bound goes nowhere.
func TestALargePayloadArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 12)
		stamp := membertest.StartStamp(t, net, 5, nil)
		whole(t, stamp)
		net.SetLoss(0.3)
		large := strings.Repeat("x", membership.MaxPayloadBytes)
		stamp[0].Broadcast(large)
		took := membertest.Await(t, time.Second, "all have it", func() bool {
			return !slices.ContainsFunc(stamp[1:], func(g *membertest.Gateway) bool { return !g.Has(stamp[0], large) })
		})
		t.Logf("%d bytes after %v", len(large), took)
		stamp[0].Broadcast(large + "x")
		time.Sleep(10 * time.Second)
		if n := stamp[0].Status().Dropped["oversize"]; n != 1 || !stamp[1].Has(stamp[0], large) {
			t.Errorf("%d payloads counted as too large, want 1", n)
		}
	})
}

// Two channels of one member carry their own payloads in their own order, and how
// soon each goes out is its own matter.
func TestChannelsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 17)
		stamp := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) {
			c.Channels = append(c.Channels, membership.ChannelVersions{Name: "other", Versions: []uint64{1, 2}})
		})
		whole(t, stamp)
		other := stamp[0].Channel("other")
		for i := range 5 {
			stamp[0].Broadcast(fmt.Sprint("urgent ", i))
			other.Broadcast(2, fmt.Append(nil, "routine ", i), membership.Routine)
			time.Sleep(400 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		for _, g := range stamp[1:] {
			m, ok := g.Received(stamp[0])
			if !ok || string(m.Payload) != "urgent 4" || m.Seq != 5 {
				t.Errorf("%q with sequence %d, want the fifth of five urgent ones", m.Payload, m.Seq)
			}
			list := g.Channel("other").Messages()
			if len(list) != 1 || string(list[0].Payload) != "routine 4" || list[0].Version != 2 || list[0].Seq < 2 || list[0].Seq > 4 {
				t.Errorf("%+v, want the last payload, of fewer messages than payloads", list)
			}
		}
	})
}

// Changed and View together miss nothing and name the newest.
func TestChangedWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 13)
		stamp := membertest.StartStamp(t, net, 2, nil)
		whole(t, stamp)
		time.Sleep(30 * time.Second)
		changed := stamp[1].Changed()
		v, before := stamp[1].View(), received(stamp[1])
		start := time.Now()
		stamp[0].Broadcast(gated(time.Minute))
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("not woken")
		}
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("woken after %v, want at once: what is urgent does not wait for a round of gossip", took)
		}
		if n := stamp[1].View(); n.Generation <= v.Generation || len(received(stamp[1])) != 1 || len(before) != 0 {
			t.Errorf("generation %d with %d messages after %d with %d", n.Generation, len(received(stamp[1])), v.Generation, len(before))
		}
	})
}

// Of each job one gateway is the owner, and only its jobs move when it goes.
func TestEachJobHasOneOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 14)
		stamp := membertest.StartStamp(t, net, 5, nil)
		whole(t, stamp)
		owner := func(gs []*membertest.Gateway, key string) int {
			found := -1
			for i, g := range gs {
				if g.Owner(key) {
					if found >= 0 {
						t.Fatalf("%s has two owners", key)
					}
					found = i
				}
			}
			if found < 0 {
				t.Fatalf("%s has no owner", key)
			}
			return found
		}
		var before []int
		share := make([]int, 5)
		for i := range 500 {
			o := owner(stamp, fmt.Sprint("job-", i))
			before = append(before, o)
			share[o]++
		}
		for i, n := range share {
			if n < 50 || n > 170 {
				t.Errorf("gateway %d owns %d of 500 jobs", i, n)
			}
		}
		stamp[4].Stop()
		membertest.Await(t, 5*time.Second, "gone", func() bool { return membertest.AllSee(stamp[:4]) })
		for i, was := range before {
			if now := owner(stamp[:4], fmt.Sprint("job-", i)); was != 4 && now != was {
				t.Fatalf("job %d moved from a living owner", i)
			}
		}
	})
}
