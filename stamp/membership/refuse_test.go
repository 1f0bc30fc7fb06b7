package membership_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// key returns a key, and the line that a key file has for it.
func key() ([]byte, string) {
	k := make([]byte, 32)
	_, _ = rand.Read(k)
	return k, base64.StdEncoding.EncodeToString(k) + "\n"
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Label, key and metadata each keep a stranger out alone, and only one that has
// all three right gets in.
func TestEachGuardAloneKeepsAStrangerOut(t *testing.T) {
	for i := range 8 {
		badLabel, badKey, badMeta := i&1 != 0, i&2 != 0, i&4 != 0
		bubble(t, fmt.Sprintf("label wrong %v, key wrong %v, metadata wrong %v", badLabel, badKey, badMeta), func(t *testing.T) {
			net := membertest.NewNetwork(t, 20)
			dir := t.TempDir()
			_, right := key()
			_, wrong := key()
			write(t, dir+"/keys", right)
			write(t, dir+"/other", wrong)
			place := net.Next()
			// The stamp looks for the stranger as well: both directions are tried.
			stamp := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) {
				c.KeyFile = dir + "/keys"
				c.Join = append(c.Join, place.Addr().String())
			})
			whole(t, stamp)
			cfg := membertest.Config(9, membertest.Addrs(stamp)...)
			cfg.KeyFile = dir + "/keys"
			label := stamp[0].Label()
			if badKey {
				cfg.KeyFile = dir + "/other"
			}
			if badMeta {
				cfg.Boundary = "us"
			}
			if badLabel {
				label = "gw/us/eastus2"
			}
			stranger := membertest.Start(t, place, cfg, membership.WithLabel(label))
			stranger.Publish(gated(time.Hour))
			stamp[0].Publish(gated(time.Hour))
			time.Sleep(time.Minute)
			if i == 0 {
				whole(t, append(stamp, stranger))
				return
			}
			if !membertest.AllSee(stamp) || len(stranger.Members()) != 1 {
				t.Errorf("the stamp has %d members, the stranger sees %d", len(stamp[0].Members()), len(stranger.Members()))
			}
			if len(stranger.View().Peers) != 0 || len(stamp[1].View().Peers) != 1 {
				t.Error("reports crossed")
			}
			drops := stamp[1].Status().Dropped
			if drops["label"]+drops["key"]+drops["foreign"] == 0 {
				t.Errorf("nothing was counted: %v", drops)
			}
		})
	}
}

// A rotation in three phases, each reaching one gateway after the other. In each
// state in between, a gateway that has the file of either phase can join.
func TestKeysRotateWhileGatewaysJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 21)
		dir := t.TempDir()
		_, a := key()
		_, b := key()
		file := func(i int) string { return filepath.Join(dir, fmt.Sprint("keys-", i)) }
		for i := range 3 {
			write(t, file(i), a)
		}
		logs := new(safeBuffer)
		stamp := membertest.StartStamp(t, net, 3, func(i int, c *membership.Config) {
			c.KeyFile = file(i)
			c.Logger = zerolog.New(logs)
		})
		whole(t, stamp)
		joins := 0
		join := func(lines ...string) {
			joins++
			path := file(100 + joins)
			write(t, path, lines...)
			cfg := membertest.Config(100+joins, membertest.Addrs(stamp)...)
			cfg.KeyFile = path
			g := membertest.Start(t, net.Next(), cfg)
			all := append(stamp[:3:3], g)
			membertest.Await(t, 10*time.Second, fmt.Sprintf("join %d", joins), func() bool { return membertest.AllSee(all) })
			g.Publish(gated(time.Duration(joins) * time.Hour))
			membertest.Await(t, 5*time.Second, "heard", func() bool { _, ok := hears(stamp[2], g, time.Duration(joins)*time.Hour); return ok })
			g.Stop()
			membertest.Await(t, 10*time.Second, "left", func() bool { return membertest.AllSee(stamp) })
		}
		phases := [][]string{{a}, {a, b}, {b, a}, {b}}
		for p := 1; p < len(phases); p++ {
			for i := range 3 {
				write(t, file(i), phases[p]...)
				time.Sleep(6 * time.Second) // the file is looked at every 5 s
				join(phases[p-1]...)
				join(phases[p]...)
				if !membertest.AllSee(stamp) {
					t.Fatalf("phase %d: the stamp fell apart", p)
				}
			}
		}
		t.Logf("%d joins in all states of the rotation", joins)
		for _, g := range stamp {
			if s := g.Status(); s.Keys != 1 || s.KeyFault != "" {
				t.Errorf("%s has %d keys, fault %q", g.Self().Gateway, s.Keys, s.KeyFault)
			}
		}
		// The old key is gone for good.
		write(t, file(99), a)
		cfg := membertest.Config(99, membertest.Addrs(stamp)...)
		cfg.KeyFile = file(99)
		late := membertest.Start(t, net.Next(), cfg)
		time.Sleep(30 * time.Second)
		if len(late.Members()) != 1 || !membertest.AllSee(stamp) {
			t.Error("a gateway with the removed key is in")
		}
		for _, k := range []string{a, b} {
			if strings.Contains(logs.String(), strings.TrimSpace(k)) {
				t.Error("a key is in the log")
			}
		}
	})
}

func TestABrokenKeyFileKeepsTheOldKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 22)
		path := t.TempDir() + "/keys"
		_, a := key()
		_, b := key()
		write(t, path, a)
		stamp := membertest.StartStamp(t, net, 2, func(_ int, c *membership.Config) { c.KeyFile = path })
		whole(t, stamp)
		for _, text := range []string{"", "not a key\n", b[:20], b + b, b + "AAAA\n", strings.Repeat("x", 1<<17)} {
			write(t, path, text)
			time.Sleep(6 * time.Second)
			s := stamp[0].Status()
			if s.Keys != 1 || s.KeyFault == "" {
				t.Errorf("%.20q: %d keys, fault %q", text, s.Keys, s.KeyFault)
			}
			if len(text) > 10 && len(text) < 200 && strings.Contains(s.KeyFault, strings.TrimSpace(text)[:10]) {
				t.Errorf("the fault shows the key: %q", s.KeyFault)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if stamp[0].Status().KeyFault == "" {
			t.Error("a missing key file is not reported")
		}
		if !membertest.AllSee(stamp) {
			t.Error("the stamp fell apart")
		}
		write(t, path, a)
		time.Sleep(6 * time.Second)
		if s := stamp[0].Status(); s.KeyFault != "" {
			t.Errorf("still broken: %s", s.KeyFault)
		}
	})
}

// safeBuffer may be written and read at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// An adversary is a member that has the cluster's key and says what it likes.
type adversary struct {
	forger membership.Forger
	list   *memberlist.Memberlist
	mu     sync.Mutex
	state  []byte
}

func (a *adversary) NodeMeta(int) []byte             { return a.forger.Meta() }
func (a *adversary) NotifyMsg([]byte)                {}
func (a *adversary) GetBroadcasts(int, int) [][]byte { return nil }
func (a *adversary) MergeRemoteState([]byte, bool)   {}
func (a *adversary) LocalState(bool) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

func (a *adversary) setState(b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = b
}

func newAdversary(t *testing.T, net *membertest.Network, name string, secret []byte, label string) *adversary {
	t.Helper()
	a := &adversary{forger: membership.NewForger(membertest.Config(66))}
	conf := memberlist.DefaultLANConfig()
	conf.Name = name
	if name == "" {
		conf.Name = a.forger.Name()
	}
	conf.Label, conf.SecretKey, conf.Transport, conf.Delegate = label, secret, net.Next(), a
	conf.Logger = log.New(t.Output(), "adversary ", 0)
	conf.EnableCompression = true
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() })
	a.list = list
	return a
}

func (a *adversary) join(t *testing.T, at netip.AddrPort) {
	t.Helper()
	_, _ = a.list.Join([]string{at.String()})
	time.Sleep(2 * time.Second)
}

// send reaches one gateway by stream.
func (a *adversary) send(t *testing.T, to *membertest.Gateway, b []byte) {
	t.Helper()
	addr := to.Net.Addr()
	n := &memberlist.Node{Name: to.Self().Name, Addr: addr.Addr().AsSlice(), Port: addr.Port()}
	if err := a.list.SendReliable(n, b); err != nil {
		t.Logf("send: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
}

// A member with the key, the label and a name of its own can add its own
// reports. All else that it tries is dropped and counted, and changes nothing
// of what the others said.
func TestAMemberCannotSpeakForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := membertest.NewNetwork(t, 23)
		path := t.TempDir() + "/keys"
		secret, line := key()
		write(t, path, line)
		stamp := membertest.StartStamp(t, net, 3, func(_ int, c *membership.Config) { c.KeyFile = path })
		whole(t, stamp)
		stamp[1].Publish(gated(time.Hour))
		time.Sleep(time.Second)
		old := membership.OwnMessage(stamp[1].Membership)
		stamp[1].Publish(gated(2 * time.Hour))
		time.Sleep(6 * time.Second)
		bad := newAdversary(t, net, "", secret, stamp[0].Label())
		bad.join(t, stamp[0].Net.Addr())
		if len(stamp[0].Members()) != 4 {
			t.Fatalf("%d members, want the adversary among 4", len(stamp[0].Members()))
		}
		self, victim := stamp[0].Self(), stamp[1].Self()
		named := func(m membership.Member, seq uint64) membership.Report {
			r := gated(3 * time.Hour)
			r.Node, r.Boot, r.Seq = m.Gateway, m.Boot, seq
			return r
		}
		ghost := membership.NewForger(membertest.Config(77))
		ghostMember := membership.Member{Gateway: "gw-77", Boot: strings.TrimPrefix(ghost.Name(), "gw-77-")}
		forged := bad.forger.Message(named(victim, 1<<40))
		for _, c := range []struct {
			what   string
			attack func()
			reason string
		}{
			{"garbage", func() { bad.send(t, stamp[0], []byte("garbage")) }, "malformed"},
			{"an empty report", func() { bad.send(t, stamp[0], []byte{1}) }, "malformed"},
			{"a megabyte", func() { bad.send(t, stamp[0], append([]byte{1}, make([]byte, 1<<20)...)) }, "oversize"},
			{"another's name", func() { bad.send(t, stamp[0], forged) }, "forged"},
			{"our own name", func() { bad.send(t, stamp[0], bad.forger.Message(named(self, 1<<40))) }, "own_name"},
			{"a name of nobody", func() { bad.send(t, stamp[0], ghost.Message(named(ghostMember, 1))) }, "unknown_member"},
			{"an exchange of 5 MB", func() { bad.exchange(t, stamp[0], make([]byte, 5<<20)) }, "oversize"},
			{"an exchange of garbage", func() { bad.exchange(t, stamp[0], []byte("garbage")) }, "malformed"},
			{"an exchange of another cluster", func() { bad.exchange(t, stamp[0], bad.forger.State("gw/us/eastus2", forged)) }, "foreign"},
			{"a forged report in an exchange", func() { bad.exchange(t, stamp[0], bad.forger.State(stamp[0].Label(), forged)) }, "forged"},
		} {
			before := stamp[0].Status().Dropped[c.reason]
			c.attack()
			if after := stamp[0].Status().Dropped[c.reason]; after <= before {
				t.Errorf("%s: %q not counted; %v", c.what, c.reason, stamp[0].Status().Dropped)
			}
		}
		bad.send(t, stamp[0], old) // a replay is merely old
		if p, ok := hears(stamp[0], stamp[1], 2*time.Hour); !ok {
			t.Errorf("the victim's report is no longer the one that it made: %+v", p)
		}
		if n := len(stamp[0].View().Peers); n != 1 {
			t.Errorf("%d reports held, want 1", n)
		}
		// What it says of itself is heard: it may have seen something.
		mine := named(membership.Member{Gateway: "gw-66", Boot: strings.TrimPrefix(bad.forger.Name(), "gw-66-")}, 1)
		bad.send(t, stamp[0], bad.forger.Message(mine))
		if n := len(stamp[0].View().Peers); n != 2 {
			t.Errorf("%d reports held, want 2", n)
		}
		if !stamp[0].Sees(stamp) && len(stamp[0].Members()) != 4 {
			t.Error("membership was disturbed")
		}
	})
}

// exchange makes a full exchange with one gateway.
func (a *adversary) exchange(t *testing.T, with *membertest.Gateway, state []byte) {
	t.Helper()
	a.setState(state)
	a.join(t, with.Net.Addr())
	a.setState(nil)
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
			bad.join(t, stamp[0].Net.Addr())
			time.Sleep(20 * time.Second)
			if !membertest.AllSee(stamp) {
				t.Fatalf("%q disturbed the stamp", name)
			}
			if after := stamp[0].Status().Dropped; after["refused_member"] <= before["refused_member"] {
				t.Errorf("%q: not counted: %v", name, after)
			}
			_ = bad.list.Shutdown()
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
