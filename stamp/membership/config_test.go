package membership

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

func someAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7946)
}

func TestNewRefusesAFaultyConfiguration(t *testing.T) {
	good := Config{Boundary: "eu", Region: "swedencentral", Name: "gw-1", Listen: "127.0.0.1:0"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *Config){
		"boundary":        func(c *Config) { c.Boundary = "" },
		"region":          func(c *Config) { c.Region = "a/b" },
		"name":            func(c *Config) { c.Name = "has space" },
		"listen":          func(c *Config) { c.Listen = "localhost" },
		"join[0]":         func(c *Config) { c.Join = []string{"no-port"} },
		"join[1]":         func(c *Config) { c.Join = []string{"dns+a:1", "b:0"} },
		"seeds":           func(c *Config) { c.Join = make([]string, 100) },
		"keyFile":         func(c *Config) { c.Listen = "" },
		"read the key":    func(c *Config) { c.KeyFile = t.TempDir() + "/none" },
		"channel \"A":     func(c *Config) { c.Channels = []ChannelVersions{{"A", []uint64{1}}} },
		"versions = []":   func(c *Config) { c.Channels = []ChannelVersions{{"a", nil}} },
		"versions = [2 1": func(c *Config) { c.Channels = []ChannelVersions{{"a", []uint64{2, 1}}} },
		"twice":           func(c *Config) { c.Channels = []ChannelVersions{{"a", []uint64{1}}, {"a", []uint64{1}}} },
		"9 channels":      func(c *Config) { c.Channels = make([]ChannelVersions, 9) },
		"gossip: keyFile": func(c *Config) { c.Listen = "10.0.0.1:7946" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
	reg := prometheus.NewRegistry()
	good.Registerer = reg
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	ours := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("fd00::5"), netip.MustParseAddr("20.1.2.3")}
	for _, c := range []struct {
		name, listen, advertise string
		ours                    []netip.Addr
		want                    string // address, or a part of the error
		warns                   bool
	}{
		{"as given", "0.0.0.0:7946", "10.1.0.5:7000", ours, "10.1.0.5:7000", false},
		{"the port of listen", "0.0.0.0:7946", "10.1.0.5", ours, "10.1.0.5:7946", false},
		{"translated", "0.0.0.0:7946", "52.0.0.1:7946", ours, "52.0.0.1:7946", true},
		{"loopback", "0.0.0.0:7946", "127.0.0.1:7946", ours, "127.0.0.1:7946", true},
		{"unspecified", "0.0.0.0:7946", "0.0.0.0:7946", ours, "no address that peers could reach", false},
		{"unspecified, IPv6", "0.0.0.0:7946", "[::]:7946", ours, "no address that peers could reach", false},
		{"multicast", "0.0.0.0:7946", "224.0.0.1:1", ours, "one machine", false},
		{"a name", "0.0.0.0:7946", "gw.internal:7946", ours, "want address", false},
		{"found", "0.0.0.0:7946", "", ours, "10.1.0.5:7946", false},
		{"found, IPv6 as well", "[::]:7946", "", ours, "10.1.0.5:7946", true},
		{"that of listen", "10.1.0.5:7946", "", ours, "10.1.0.5:7946", false},
		{"nothing private", "0.0.0.0:7946", "", ours[3:], "advertise is missing", false},
	} {
		got, warning, err := advertised(netip.MustParseAddrPort(c.listen), c.advertise, c.ours)
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) || (warning != "") != c.warns {
			t.Errorf("%s: %s, warning %q", c.name, text, warning)
		}
	}
	if list, err := machineAddrs(); err != nil || len(list) == 0 {
		t.Errorf("this machine's addresses: %v, %v", list, err)
	}
}

// The ring holds exactly the file's keys, in its order, from any state; and who
// reads it meanwhile never sees it without a key that both states have.
func TestInstallKeys(t *testing.T) {
	pool := make([][]byte, 6)
	for i := range pool {
		pool[i] = make([]byte, keyBytes)
		_, _ = rand.Read(pool[i])
	}
	rng := mathrand.New(mathrand.NewPCG(5, 6))
	draw := func() [][]byte {
		mathrandShuffle(rng, pool)
		return slices.Clone(pool[:1+rng.IntN(len(pool))])
	}
	first := draw()
	ring, err := memberlist.NewKeyring(first, first[0])
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // the race detector watches
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, k := range ring.GetKeys() {
				_ = k[0]
			}
		}
	})
	for range 500 {
		want := draw()
		if err := install(ring, want); err != nil {
			t.Fatal(err)
		}
		if got := ring.GetKeys(); !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%d keys, want %d in the same order", len(got), len(want))
		}
	}
	close(stop)
	wg.Wait()
}

func mathrandShuffle(rng *mathrand.Rand, pool [][]byte) {
	rng.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
}

func TestParseKeys(t *testing.T) {
	line := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(n)}, 32)) + "\n" }
	if keys, err := parseKeys([]byte("# primary\r\n\n" + line(1) + "  " + line(2))); err != nil || len(keys) != 2 || keys[0][0] != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	var many strings.Builder
	for i := range maxKeys + 1 {
		many.WriteString(line(i))
	}
	for name, text := range map[string]string{
		"empty": "", "comments only": "# x\n", "16 bytes": base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"twice": line(1) + line(1), "too many": many.String(), "not base64": strings.Repeat("!", 44),
	} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type fakeResolver map[string][]netip.Addr

func (f fakeResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := f[host]; ok {
		return a, nil
	}
	return nil, fmt.Errorf("no such host")
}

func TestSeedsAreResolvedAndBounded(t *testing.T) {
	big := make([]netip.Addr, 1000)
	for i := range big {
		big[i] = someAddr(i + 1).Addr()
	}
	r := fakeResolver{"gw.internal": {netip.MustParseAddr("::ffff:10.0.0.9")}, "big.internal": big}
	seeds, err := parseSeeds([]string{"dns+gw.internal:7946", "10.0.0.1:1", "dns+big.internal:2", "gone.internal:3"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, maxSeedAddrs, -1} {
		got, err := seeds[i].resolve(t.Context(), r)
		if (err != nil) != (want < 0) || err == nil && len(got) != want {
			t.Errorf("%s: %d addresses, %v", seeds[i].text, len(got), err)
		}
		if i == 0 && got[0].String() != "10.0.0.9:7946" {
			t.Errorf("%s", got[0])
		}
	}
}

func TestCandidatesLeaveOutMembersAndOurselves(t *testing.T) {
	known := []netip.AddrPort{someAddr(1), someAddr(2), someAddr(3), someAddr(3), someAddr(4), netip.MustParseAddrPort("0.0.0.0:1"), netip.MustParseAddrPort("224.0.0.1:5")}
	got := candidates(known, []Member{{Addr: someAddr(2)}}, func(a netip.AddrPort) bool { return a == someAddr(1) }, 10, func([]netip.AddrPort) {})
	if !slices.Equal(got, []netip.AddrPort{someAddr(3), someAddr(4)}) {
		t.Errorf("%v", got)
	}
	if got = candidates(known, nil, func(netip.AddrPort) bool { return false }, 2, func([]netip.AddrPort) {}); len(got) != 2 {
		t.Errorf("%v, want 2", got)
	}
}

func TestPeersAreRememberedWithinBounds(t *testing.T) {
	path := t.TempDir() + "/peers.json"
	now := time.Now()
	p := newPeers(path)
	for i := range 1000 {
		p.saw(someAddr(i+1), now.Add(time.Duration(i)*time.Second))
	}
	now = now.Add(1000 * time.Second)
	if err := p.save(now); err != nil {
		t.Fatal(err)
	}
	again := newPeers(path)
	if err := again.load(now); err != nil {
		t.Fatal(err)
	}
	got := again.addrs(nil, "", now)
	if len(got) != maxPeers || slices.Contains(got, someAddr(1)) || !slices.Contains(got, someAddr(1000)) {
		t.Errorf("%d remembered, want the latest %d", len(got), maxPeers)
	}
	if got = again.addrs(nil, "", now.Add(peerMemory+time.Hour)); len(got) != 0 {
		t.Errorf("%d still remembered", len(got))
	}
	for _, text := range []string{"", "{}", "[]", `{"version":2}`, `{"version":1,"peers":[{"addr":"x"}]}`, `{"version":1,"more":1}`, strings.Repeat(" ", maxPeersFile+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		broken := newPeers(path)
		if err := broken.load(now); err == nil || len(broken.seen) != 0 {
			t.Errorf("%.20q: %v, %d remembered", text, err, len(broken.seen))
		}
		broken.saw(someAddr(1), now)
		if err := broken.save(now); err != nil {
			t.Errorf("%.20q: not replaced: %v", text, err)
		}
	}
	if err := newPeers(t.TempDir() + "/none").load(now); err != nil {
		t.Error(err)
	}
}

func TestMetaFitsAndNamesAreSplit(t *testing.T) {
	cfg := Config{Boundary: "b", Region: "r", Name: "gw-1", Version: strings.Repeat("v", 500)}
	for i := range maxChannels {
		cfg.Channels = append(cfg.Channels, ChannelVersions{fmt.Sprint(i, strings.Repeat("c", maxChannelName-1)), []uint64{120, 121, 122, 123, 124, 125, 126, 127}})
	}
	if err := validChannels(cfg.Channels); err != nil {
		t.Fatal(err)
	}
	id, err := newIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id.meta.boundary, id.meta.region = strings.Repeat("b", 64), strings.Repeat("r", 64)
	shown := id.meta.encode()
	if n := len(shown); n > memberlist.MetaMaxSize || n != 474 {
		t.Errorf("%d bytes, want 474 and at most %d", n, memberlist.MetaMaxSize)
	}
	if m, err := decodeMeta(shown); err != nil || !reflect.DeepEqual(m, id.meta) {
		t.Errorf("read as %+v, %v", m, err)
	}
	gateway, boot, ok := splitName(id.name())
	if !ok || gateway != "gw-1" || boot != id.boot {
		t.Errorf("%q %q %v", gateway, boot, ok)
	}
	for _, bad := range []string{"", "gw", "gw-", "gw-12345", "-0123456789abcdef", strings.Repeat("x", 200) + "-0123456789abcdef"} {
		if _, _, ok := splitName(bad); ok {
			t.Errorf("%q split", bad)
		}
	}
	if maxLabel > memberlist.LabelMaxSize {
		t.Error("a label may be too long")
	}
}

func TestMembersAreBounded(t *testing.T) {
	m, err := New(Config{Boundary: "eu", Region: "r", Name: "gw-1", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	d := delegate{m}
	for i := range MaxMembers + 5 {
		f := NewForger(Config{Boundary: "eu", Region: "r", Name: fmt.Sprint("x-", i)})
		n := &memberlist.Node{Name: f.Name(), Meta: f.Meta(), Addr: someAddr(i).Addr().AsSlice(), Port: 1}
		if d.NotifyAlive(n) == nil {
			d.NotifyJoin(n)
		}
	}
	if n := len(m.Members()); n != MaxMembers || m.Status().Dropped["members_full"] != 5 {
		t.Errorf("%d members, %v", n, m.Status().Dropped)
	}
}

func TestLibraryLogIsCountedAndBounded(t *testing.T) {
	var out bytes.Buffer
	d := new(drops)
	l := &libraryLog{to: &out, drops: d}
	for range 100 {
		for _, line := range []string{
			"[ERR] memberlist: discarding packet with unacceptable label \"x\": from=1.2.3.4:5\n",
			"[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=1.2.3.4:5\n",
			"[ERR] memberlist: failed to receive: encryption is configured but remote state is not encrypted from=1.2.3.4:5\n",
			"[ERR] memberlist: msg type (99) not supported from=1.2.3.4:5\n",
			"[INFO] memberlist: Suspect gw-1 has failed, no acks received\n",
		} {
			if _, err := l.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d[dropLabel].Load() != 100 || d[dropKey].Load() != 200 || d[dropLibrary].Load() != 100 {
		t.Errorf("%v", d.byName())
	}
	if n := strings.Count(out.String(), "\n"); n != logLines {
		t.Errorf("%d lines, want %d", n, logLines)
	}
}
