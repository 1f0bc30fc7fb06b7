package membership_test

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// thisBuild is what a gateway of this build has.
func thisBuild(_ int, c *membership.Config) {
	c.Channels = []membership.ChannelVersions{{Name: "targets", Versions: []uint64{1}}}
}

// laterBuild is what one of a later build will have.
func laterBuild(_ int, c *membership.Config) {
	c.Channels = []membership.ChannelVersions{{Name: "targets", Versions: []uint64{1, 2}}, {Name: "limits", Versions: []uint64{1}}}
}

// from returns what a gateway has from a member on a channel.
func from(g *membertest.Gateway, channel, member string) (membership.Message, bool) {
	list := g.Channel(channel).Messages()
	i := slices.IndexFunc(list, func(m membership.Message) bool { return m.Member.Name == member })
	if i < 0 {
		return membership.Message{}, false
	}
	return list[i], true
}

// A rolling upgrade: members of this build, of the first one and of a later one are
// one stamp, receive from each other what they understand, and pass on what they do
// not. The bytes of the others are fixed, so this holds for every build to come.
func TestARollingUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 30)
		stamp := membertest.StartStamp(t, net, 3, thisBuild)
		whole(t, stamp)
		first, newer := membertest.OtherBuild(t, "first"), membertest.OtherBuild(t, "newer")
		old := first.Start(t, net.Next(), stamp[0])
		newer.Start(t, net.Next(), stamp[1])
		cfg := membertest.Config(9, stamp[2].Net.Addr())
		laterBuild(9, &cfg)
		later := membertest.Start(t, net.Next(), cfg)
		all := append(slices.Clone(stamp), later)
		membertest.Await(t, 20*time.Second, "all see all six", func() bool {
			return !slices.ContainsFunc(all, func(g *membertest.Gateway) bool { return len(g.Members()) != 6 })
		})
		for _, g := range all {
			for _, b := range []membertest.Build{first, newer} {
				membertest.Await(t, 20*time.Second, g.Self().Gateway+" has the report of "+b.Name, func() bool {
					m, ok := from(g, "targets", b.Name)
					return ok && m.Version == 1 && bytes.HasSuffix(b.Messages["targets"], m.Payload)
				})
			}
		}
		// This build does not have the channel, but lets two later ones meet.
		membertest.Await(t, 40*time.Second, "limits are passed on", func() bool {
			m, ok := from(later, "limits", newer.Name)
			return ok && string(m.Payload) == "limits of a later build"
		})
		if v := later.Channel("targets").Version(); v != 1 {
			t.Errorf("the later build broadcasts version %d, which this one does not read", v)
		}
		payload := []byte("what this build broadcasts")
		stamp[0].Channel("targets").Broadcast(1, payload, membership.Urgent)
		membertest.Await(t, 5*time.Second, "the first build receives it", func() bool {
			return slices.ContainsFunc(old.Received(), func(b []byte) bool { return bytes.HasSuffix(b, payload) })
		})
		<-time.After(2 * time.Minute)
		for _, g := range all {
			s := g.Status()
			if len(s.Members) != 6 || s.Dropped["refused_member"]+s.Dropped["malformed"]+s.Dropped["forged"]+s.Dropped["foreign"] != 0 {
				t.Errorf("%s: %d members, dropped %v", s.Self.Gateway, len(s.Members), s.Dropped)
			}
		}
	})
}

// What this build shows and signs is what the first one did, byte for byte, so that
// the first one reads it. Should this fail, a format has changed: keep the files, and
// show that builds of the first format can still read what is written now.
func TestThisBuildWritesTheFirstFormat(t *testing.T) {
	first := membertest.OtherBuild(t, "first")
	f := firstForger()
	if f.Name() != first.Name || !bytes.Equal(f.Meta(), first.Meta) {
		t.Errorf("%s shows\n%x, want\n%x", f.Name(), f.Meta(), first.Meta)
	}
	payload, err := os.ReadFile("../../gateway/stampview/testdata/report-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	got := f.Message(membership.Claim{Member: f.Name(), Channel: "targets", Version: 1, Seq: 7, Payload: string(payload)})
	if !bytes.Equal(got, first.Messages["targets"]) {
		t.Errorf("sends\n%x, want\n%x", got, first.Messages["targets"])
	}
}

func firstForger() membership.Forger {
	cfg := membertest.Config(0)
	cfg.Name, cfg.Version = "gw-first", "v1.0.0"
	thisBuild(0, &cfg)
	return membership.FixedForger(cfg, 1)
}
