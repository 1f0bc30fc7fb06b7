package membership_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
			stranger.Broadcast(gated(time.Hour))
			stamp[0].Broadcast(gated(time.Hour))
			time.Sleep(time.Minute)
			if i == 0 {
				whole(t, append(stamp, stranger))
				return
			}
			if !membertest.AllSee(stamp) || len(stranger.Members()) != 1 {
				t.Errorf("the stamp has %d members, the stranger sees %d", len(stamp[0].Members()), len(stranger.Members()))
			}
			if len(received(stranger)) != 0 || len(received(stamp[1])) != 1 {
				t.Error("messages crossed")
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
			g.Broadcast(gated(time.Duration(joins) * time.Hour))
			membertest.Await(t, 5*time.Second, "received", func() bool { return stamp[2].Has(g, gated(time.Duration(joins)*time.Hour)) })
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
