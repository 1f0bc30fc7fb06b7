package membership_test

import (
	"crypto/rand"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// An adversary is a member that has the cluster's key and sends what it likes.
type adversary struct {
	*membertest.Puppet
	forger membership.Forger
}

func newAdversary(t *testing.T, net *membertest.Network, name string, secret []byte, label string) *adversary {
	t.Helper()
	f := membership.NewForger(membertest.Config(66))
	if name == "" {
		name = f.Name()
	}
	return &adversary{membertest.StartPuppet(t, net.Next(), name, label, secret, f.Meta()), f}
}

func (a *adversary) join(at netip.AddrPort) {
	a.Join(at)
	time.Sleep(2 * time.Second)
}

// send reaches one gateway by stream.
func (a *adversary) send(t *testing.T, to *membertest.Gateway, b []byte) {
	t.Helper()
	if err := a.Send(to, b); err != nil {
		t.Logf("send: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
}

// A member with the key, the label and a name of its own can add its own
// reports. All else that it tries is dropped and counted, and changes nothing
// of what the others sent.
func TestAMemberCannotSendForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 23)
		path := t.TempDir() + "/keys"
		secret, line := key()
		write(t, path, line)
		stamp := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) { c.KeyFile = path })
		whole(t, stamp)
		stamp[1].Broadcast(gated(time.Hour))
		time.Sleep(time.Second)
		old := membership.OwnMessage(stamp[1].Membership, membertest.Channel)
		stamp[1].Broadcast(gated(2 * time.Hour))
		time.Sleep(6 * time.Second)
		bad := newAdversary(t, net, "", secret, stamp[0].Label())
		bad.join(stamp[0].Net.Addr())
		if len(stamp[0].Members()) != 4 {
			t.Fatalf("%d members, want the adversary among 4", len(stamp[0].Members()))
		}
		self, victim := stamp[0].Self().Name, stamp[1].Self().Name
		named := func(member string, seq uint64) membership.Claim {
			return membership.Claim{Member: member, Channel: membertest.Channel, Version: 1, Seq: seq, Payload: gated(3 * time.Hour)}
		}
		ghost := membership.NewForger(membertest.Config(77))
		forged := bad.forger.Message(named(victim, 1<<40))
		for _, c := range []struct {
			what   string
			attack func()
			reason string
		}{
			{"garbage", func() { bad.send(t, stamp[0], []byte("garbage")) }, "malformed"},
			{"an empty message", func() { bad.send(t, stamp[0], []byte{1}) }, "malformed"},
			{"a megabyte", func() { bad.send(t, stamp[0], append([]byte{1}, make([]byte, 1<<20)...)) }, "oversize"},
			{"another's name", func() { bad.send(t, stamp[0], forged) }, "forged"},
			{"our own name", func() { bad.send(t, stamp[0], bad.forger.Message(named(self, 1<<40))) }, "own_name"},
			{"a name of nobody", func() { bad.send(t, stamp[0], ghost.Message(named(ghost.Name(), 1))) }, "unknown_member"},
			{"an exchange of 5 MB", func() { bad.exchange(stamp[0], make([]byte, 5<<20)) }, "oversize"},
			{"an exchange of garbage", func() { bad.exchange(stamp[0], []byte("garbage")) }, "malformed"},
			{"an exchange of another cluster", func() { bad.exchange(stamp[0], bad.forger.State("gw/us/eastus2", forged)) }, "foreign"},
			{"a forged message in an exchange", func() { bad.exchange(stamp[0], bad.forger.State(stamp[0].Label(), forged)) }, "forged"},
		} {
			before := stamp[0].Status().Dropped[c.reason]
			c.attack()
			if after := stamp[0].Status().Dropped[c.reason]; after <= before {
				t.Errorf("%s: %q not counted; %v", c.what, c.reason, stamp[0].Status().Dropped)
			}
		}
		bad.send(t, stamp[0], old) // a replay is merely old
		if !stamp[0].Has(stamp[1], gated(2*time.Hour)) {
			t.Error("the victim's message is no longer the one that it made")
		}
		if n := len(received(stamp[0])); n != 1 {
			t.Errorf("%d messages held, want 1", n)
		}
		// What it sends in its own name counts: it may have seen something. On a
		// channel that its metadata does not show nothing is taken.
		bad.send(t, stamp[0], bad.forger.Message(named(bad.forger.Name(), 1)))
		hidden := named(bad.forger.Name(), 1)
		hidden.Channel = "hidden"
		bad.send(t, stamp[0], bad.forger.Message(hidden))
		if n := stamp[0].Status().Dropped["unknown_channel"]; n == 0 {
			t.Error("a message on a hidden channel is not counted")
		}
		if n := len(received(stamp[0])); n != 2 {
			t.Errorf("%d messages held, want 2", n)
		}
		if !stamp[0].Sees(stamp) && len(stamp[0].Members()) != 4 {
			t.Error("membership was disturbed")
		}
	})
}

// exchange makes a full exchange with one gateway.
func (a *adversary) exchange(with *membertest.Gateway, state []byte) {
	a.Exchange(with.Net.Addr(), state)
	time.Sleep(2 * time.Second)
}

// A node whose name is not its key's, or that shows no metadata of ours, does
// not become a member whatever else it knows.
func TestANameMustBeItsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 24)
		path := t.TempDir() + "/keys"
		secret, line := key()
		write(t, path, line)
		stamp := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) { c.KeyFile = path })
		whole(t, stamp)
		for _, name := range []string{"gw-1", stamp[1].Self().Name, "gw-9-0123456789abcdef"} {
			before := maps.Clone(stamp[0].Status().Dropped)
			bad := newAdversary(t, net, name, secret, stamp[0].Label())
			bad.join(stamp[0].Net.Addr())
			time.Sleep(20 * time.Second)
			if !membertest.AllSee(stamp) {
				t.Fatalf("%q disturbed the stamp", name)
			}
			if after := stamp[0].Status().Dropped; after["refused_member"] <= before["refused_member"] {
				t.Errorf("%q: not counted: %v", name, after)
			}
			bad.Stop()
		}
	})
}

// Of what a member shows and sends nothing becomes text of a log, at whatever level,
// whether it is taken in or not.
func TestNoBytesOfAMemberAreLogged(t *testing.T) {
	const canary = "canary-7f3a"
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 26)
		logs := new(safeBuffer)
		stamp := membertest.StartStamp(t, net, 2, func(_ int, c *membership.Config) { c.Logger = zerolog.New(logs) })
		whole(t, stamp)
		cfg := membertest.Config(66)
		cfg.Version = canary
		cfg.Channels = append(cfg.Channels, membership.ChannelVersions{Name: canary, Versions: []uint64{1}})
		f := membership.NewForger(cfg)
		bad := &adversary{membertest.StartPuppet(t, net.Next(), f.Name(), stamp[0].Label(), nil, f.Meta()), f}
		bad.join(stamp[0].Net.Addr())
		good := membership.Claim{Member: f.Name(), Channel: membertest.Channel, Version: 1, Seq: 1, Payload: canary}
		for _, message := range [][]byte{
			f.Message(good), []byte(canary), append([]byte{1}, canary...),
			f.Message(membership.Claim{Member: canary, Channel: canary, Seq: 1, Payload: canary}),
			f.Message(membership.Claim{Member: f.Name(), Channel: canary, Seq: 1, Payload: canary}),
		} {
			bad.send(t, stamp[0], message)
		}
		bad.exchange(stamp[0], []byte(canary))
		bad.exchange(stamp[0], f.State(canary, f.Message(good)))
		cfg.Boundary = canary // is refused
		foreign := membership.NewForger(cfg)
		membertest.StartPuppet(t, net.Next(), foreign.Name(), stamp[0].Label(), nil, foreign.Meta()).Join(stamp[0].Net.Addr())
		time.Sleep(2 * time.Second)
		if len(received(stamp[0])) != 1 || stamp[0].Status().Dropped["foreign"] < 2 || stamp[0].Status().Dropped["malformed"] < 3 {
			t.Fatalf("the test does not reach what it is for: %v", stamp[0].Status().Dropped)
		}
		bad.Stop()
		time.Sleep(20 * time.Second)
		if text := logs.String(); strings.Contains(text, canary) || !strings.Contains(text, f.Name()) {
			t.Errorf("logged:\n%s", text)
		}
	})
}

// Bytes from a stranger to the port are dropped and counted, and flood no log.
func TestGarbageOnThePortIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 25)
		logs := new(safeBuffer)
		path := t.TempDir() + "/keys"
		_, line := key()
		write(t, path, line)
		stamp := membertest.StartStamp(t, net, 2, func(_ int, c *membership.Config) {
			c.KeyFile = path
			c.Logger = zerolog.New(logs)
		})
		whole(t, stamp)
		stranger := net.Next()
		to := stamp[0].Net.Addr().String()
		label := "\xf4\x13" + stamp[0].Label()
		for i := range 500 {
			for _, prefix := range []string{"", label, "\xf4\xff", "\x0c"} {
				b := make([]byte, 1+i%700)
				_, _ = rand.Read(b)
				_, _ = stranger.WriteTo(append([]byte(prefix), b...), to)
			}
			if i%50 == 0 {
				if c, err := stranger.DialTimeout(to, time.Second); err == nil {
					_ = c.SetDeadline(time.Now().Add(time.Second))
					_, _ = c.Write([]byte(label + "GET /metrics HTTP/1.1\r\n\r\n"))
					_ = c.Close()
				}
			}
		}
		time.Sleep(5 * time.Second)
		if !membertest.AllSee(stamp) {
			t.Error("garbage disturbed the stamp")
		}
		drops := stamp[0].Status().Dropped
		if drops["label"]+drops["key"]+drops["library"] < 1000 || drops["log_lines"] == 0 {
			t.Errorf("2,000 packets of garbage, counted %v", drops)
		}
		if n := strings.Count(logs.String(), "\n"); n > 150 {
			t.Errorf("%d lines logged", n)
		}
	})
}
