package membership_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// memberlist alone never heals a partition of 25 s or more.
func TestAPartitionHealsWithin25Seconds(t *testing.T) {
	for _, c := range []struct {
		n    int
		lost time.Duration
	}{
		{6, 10 * time.Second},
		{6, 25 * time.Second},
		{6, 40 * time.Second},
		{6, 90 * time.Second},
		{6, 10 * time.Minute},
		{20, time.Minute},
		{2, 24 * time.Hour}, // two gateways alone do little, so a day is cheap
	} {
		bubble(t, fmt.Sprintf("%d gateways, %v", c.n, c.lost), func(t *testing.T) {
			if c.n > 6 || c.lost > time.Hour {
				large(t)
			}
			net := membertest.NewNetwork(t, 7)
			stamp := membertest.StartStamp(t, net, c.n, nil)
			whole(t, stamp)
			addrs := membertest.Addrs(stamp)
			net.Partition(addrs[:c.n/2])
			time.Sleep(c.lost)
			if c.lost >= time.Minute && len(stamp[0].Members()) != c.n/2 {
				t.Errorf("%d members on one side, want %d", len(stamp[0].Members()), c.n/2)
			}
			stamp[0].Broadcast(gated(20 * time.Hour))
			net.Heal()
			took := membertest.Await(t, 25*time.Second, "healed", func() bool { return membertest.AllSee(stamp) })
			across := membertest.Await(t, 10*time.Second, "received across", func() bool {
				return stamp[c.n-1].Has(stamp[0], gated(20*time.Hour))
			})
			t.Logf("healed after %v, news across %v later", took, across)
		})
	}
}

// Three groups, the seeds all in one of them: the remembered peers heal it.
func TestAPartitionWithoutSeedsHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 8)
		stamp := membertest.StartStamp(t, net, 9, nil)
		whole(t, stamp)
		a := membertest.Addrs(stamp)
		net.Partition(a[:3], a[3:6], a[6:])
		time.Sleep(5 * time.Minute)
		net.Partition(a[:3], a[3:]) // the seeds stay away
		membertest.Await(t, 25*time.Second, "those without seeds find each other", func() bool { return membertest.AllSee(stamp[3:]) })
		net.Heal()
		membertest.Await(t, 25*time.Second, "healed", func() bool { return membertest.AllSee(stamp) })
	})
}

// A gateway that comes back at its old address with its old name is another
// boot: its new reports count although their numbers start again.
func TestARestartIsANewBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 9)
		stamp := membertest.StartStamp(t, net, 3, nil)
		whole(t, stamp)
		old := stamp[2]
		for i := range 20 {
			old.Broadcast(gated(time.Minute + time.Duration(i)*time.Second))
			time.Sleep(200 * time.Millisecond)
		}
		old.Crash()
		again := membertest.Start(t, net.At(old.Net.Addr()), membertest.Config(2, membertest.Addrs(stamp)...))
		if again.Self().Name == old.Self().Name || again.Self().Gateway != old.Self().Gateway {
			t.Fatalf("boots are %q and %q", old.Self().Name, again.Self().Name)
		}
		again.Broadcast(gated(5 * time.Hour))
		now := []*membertest.Gateway{stamp[0], stamp[1], again}
		membertest.Await(t, 15*time.Second, "the old boot is forgotten", func() bool { return membertest.AllSee(now) })
		for _, g := range stamp[:2] {
			if !g.Has(again, gated(5*time.Hour)) {
				t.Errorf("%s does not know the new boot's message", g.Self().Gateway)
			}
			if len(received(g)) != 1 {
				t.Errorf("%s holds %d messages, want 1", g.Self().Gateway, len(received(g)))
			}
		}
	})
}

// The address of a dead gateway is given to one of another boundary: the two
// stamps, each looking for its lost peer there, stay two.
func TestAnAddressUsedAgainDoesNotMergeStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 10)
		eu := membertest.StartStamp(t, net, 3, nil)
		us := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) { c.Boundary, c.Region = "us", "eastus2" })
		whole(t, eu)
		whole(t, us)
		place := eu[2].Net.Addr()
		eu[2].Crash()
		cfg := membertest.Config(9, membertest.Addrs(us)...)
		cfg.Boundary, cfg.Region = "us", "eastus2"
		us = append(us, membertest.Start(t, net.At(place), cfg))
		membertest.Await(t, 30*time.Second, "both are whole", func() bool { return membertest.AllSee(eu[:2]) && membertest.AllSee(us) })
		time.Sleep(3 * time.Minute)
		if !membertest.AllSee(eu[:2]) || !membertest.AllSee(us) {
			t.Error("the stamps have mixed")
		}
		if n := us[3].Status().Dropped["label"]; n == 0 {
			t.Error("nothing was refused by its label: nobody came looking")
		}
	})
}

// Remembered peers lead back into the stamp when no seed answers.
func TestARestartFindsTheStampWithoutSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 15)
		file := t.TempDir() + "/peers.json"
		stamp := membertest.StartStamp(t, net, 4, func(i int, cfg *membership.Config) {
			if i == 3 {
				cfg.PeersFile = file
			}
		})
		whole(t, stamp)
		place := stamp[3].Net.Addr()
		stamp[3].Stop()
		if s := stamp[3].Status(); s.Running || len(s.Members) != 0 || !stamp[3].Owner("a job") {
			t.Errorf("after leaving: %+v", s)
		}
		time.Sleep(time.Minute)
		cfg := membertest.Config(3, netip.MustParseAddrPort("10.9.9.9:7946"))
		cfg.PeersFile = file
		stamp[3] = membertest.Start(t, net.At(place), cfg)
		membertest.Await(t, 5*time.Second, "back", func() bool { return membertest.AllSee(stamp) })
	})
}
