package membership

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/wire"
)

// someConfig is that of a gateway with two channels.
func someConfig(name string) Config {
	return Config{Boundary: "eu", Region: "swedencentral", Name: name, Listen: "127.0.0.1:0", Channels: []ChannelVersions{
		{Name: "one", Versions: []uint64{1}}, {Name: "two", Versions: []uint64{1, 2}},
	}}
}

// someTable has one peer, and some of what that peer could send.
func someTable(tb testing.TB) (*table, [][]byte) {
	tb.Helper()
	id, err := newIdentity(someConfig("gw-1"))
	if err != nil {
		tb.Fatal(err)
	}
	peer := NewForger(someConfig("gw-2"))
	tab := newTable(id, "gw/eu/swedencentral", new(drops))
	tab.join(id.name(), id.meta, someAddr(1))
	tab.join(peer.Name(), peer.id.meta, someAddr(2))
	m := peer.Message(Claim{peer.Name(), "one", 1, 1, "payload"})
	doubled := peer.id.meta
	doubled.channels = append(doubled.channels, doubled.channels...)
	return tab, [][]byte{m[1:], m[1:70], peer.State(tab.label, m), peer.Meta(), doubled.encode(), []byte(`{"version":1,"peers":[{"addr":"10.0.0.1:7946","seen":"2026-01-01T00:00:00Z"}]}`)}
}

func FuzzReceive(f *testing.F) {
	tab, seeds := someTable(f)
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		receive := func(e []byte) { tab.receive(e, time.Now()) }
		receive(b)
		splitState(b, tab.label, receive)
		if n := len(holds(tab)); n > 2 {
			t.Fatalf("%d messages of a peer with two channels", n)
		}
		if m, err := decodeMeta(b); err == nil {
			if again, err := decodeMeta(m.encode()); err != nil || !reflect.DeepEqual(m, again) {
				t.Fatalf("metadata %+v is read as %+v, %v", m, again, err)
			}
			if len(m.channels) > maxChannels || len(m.build) > maxMetaText {
				t.Fatalf("metadata out of bounds: %+v", m)
			}
			for i, c := range m.channels {
				if hasChannel(m.channels[:i], c.Name) {
					t.Fatalf("a channel twice: %+v", m)
				}
			}
		}
		if _, err := decodePeers(b); err == nil && len(b) < 2 {
			t.Fatal("peers out of nothing")
		}
		if keys, err := parseKeys(b); err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Fatal("no keys, or too many")
		}
	})
}

// The merge law, on the table that runs: gossip repeats, reorders and loses
// messages, and a faulty gateway may sign two messages with one sequence. Whoever
// has received the same set of messages, in whatever order, how often and over
// how many exchanges, holds the same.
func TestMergeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	var forgers []Forger
	var all []received
	for g := range 3 {
		f := NewForger(someConfig(fmt.Sprint("gw-", g)))
		forgers = append(forgers, f)
		for i := range 12 {
			m := f.Message(Claim{f.Name(), f.id.meta.channels[i%2].Name, 1, uint64(1 + i/4), fmt.Sprint(i / 2)})[1:]
			for age := range 2 { // copies that have waited on the way
				m = append(binary.BigEndian.AppendUint32(nil, uint32(age*1000)), m[4:]...)
				all = append(all, received{m, start.Add(time.Duration(rng.IntN(3)) * time.Second)})
			}
		}
	}
	fresh := func(sets ...[]received) (*table, map[key]held) {
		tab := newTable(identity{gateway: "me", boot: "0123456789abcdef"}, "gw/eu/swedencentral", new(drops))
		for _, f := range forgers {
			tab.join(f.Name(), f.id.meta, someAddr(1))
		}
		for _, set := range sets {
			for _, r := range set {
				tab.receive(r.message, r.at)
			}
		}
		return tab, holds(tab)
	}
	draw := func() (set []received) {
		for range rng.IntN(16) {
			set = append(set, all[rng.IntN(len(all))])
		}
		return set
	}
	for i := range 1000 {
		a, b, c := draw(), draw(), draw()
		tab, once := fresh(a)
		if _, twice := fresh(a, a); !reflect.DeepEqual(once, twice) {
			t.Fatalf("%d: not idempotent: %v, %v", i, once, twice)
		}
		_, ab := fresh(a, b)
		if _, ba := fresh(b, a); !reflect.DeepEqual(ab, ba) {
			t.Fatalf("%d: not commutative: %v, %v", i, ab, ba)
		}
		if _, mixed := fresh(shuffled(rng, slices.Concat(a, b))); !reflect.DeepEqual(ab, mixed) {
			t.Fatalf("%d: the order matters: %v, %v", i, ab, mixed)
		}
		// (a + b) + c = a + (b + c), the sums made by full exchanges.
		left, _ := fresh(a, b)
		right, _ := fresh(b, c)
		now := start.Add(time.Minute)
		third, _ := fresh(c)
		exchange(t, third, left, now)
		exchange(t, right, tab, now)
		if l, r := holds(left), holds(tab); !reflect.DeepEqual(l, r) {
			t.Fatalf("%d: not associative: %v, %v", i, l, r)
		}
		for _, f := range forgers {
			left.leave(f.Name())
		}
		if n := left.size(); n != 0 {
			t.Fatalf("%d: %d bytes held of members that have left", i, n)
		}
	}
}

// received is a message and when it came.
type received struct {
	message []byte
	at      time.Time
}

// held is what a table has of a member on a channel.
type held struct {
	Seq     uint64
	Payload string
	At      time.Time
}

func holds(t *table) map[key]held {
	out := make(map[key]held)
	for channel, list := range t.view().messages {
		for _, m := range list {
			out[key{m.Member.Name, channel}] = held{m.Seq, string(m.Payload), m.At}
		}
	}
	return out
}

func exchange(t *testing.T, from, to *table, now time.Time) {
	if why, ok := splitState(from.state(now), to.label, func(e []byte) { to.receive(e, now) }); !ok {
		t.Fatalf("exchange refused: %v", why)
	}
}

func shuffled(rng *rand.Rand, set []received) []received {
	rng.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
	return set
}

// A member that shows other channels than before loses the messages of those that
// it no longer shows: what it can make us hold stays bounded.
func TestAChannelThatIsNoLongerShownIsForgotten(t *testing.T) {
	tab, _ := someTable(t)
	f := NewForger(someConfig("gw-3"))
	tab.join(f.Name(), f.id.meta, someAddr(3))
	for _, channel := range []string{"one", "two"} {
		if _, ok := tab.receive(f.Message(Claim{f.Name(), channel, 1, 1, "x"})[1:], time.Now()); !ok {
			t.Fatalf("channel %s is not taken", channel)
		}
	}
	less := f.id.meta
	less.channels = less.channels[:1]
	tab.join(f.Name(), less, someAddr(3))
	if got := holds(tab); len(got) != 1 || tab.view().messages["one"] == nil {
		t.Errorf("holds %v", got)
	}
	if _, ok := tab.receive(f.Message(Claim{f.Name(), "two", 1, 2, "x"})[1:], time.Now()); ok || tab.drops[dropChannel].Load() != 1 {
		t.Error("a channel that is not shown is taken, or not counted")
	}
}

// The version to broadcast is the highest that all read which have the channel.
func TestTheVersionIsOneThatAllRead(t *testing.T) {
	m, err := New(someConfig("gw-1"))
	if err != nil {
		t.Fatal(err)
	}
	c := m.Channel("two")
	join := func(name string, list ...ChannelVersions) string {
		cfg := someConfig(name)
		cfg.Channels = list
		f := NewForger(cfg)
		m.table.join(f.Name(), f.id.meta, someAddr(9))
		return f.Name()
	}
	for _, s := range []struct {
		who  string
		join func() string
		want uint64
	}{
		{"alone", func() string { return "" }, 2},
		{"one without the channel", func() string { return join("a", ChannelVersions{"one", []uint64{1}}) }, 2},
		{"a newer one", func() string { return join("b", ChannelVersions{"two", []uint64{1, 2, 3}}) }, 2},
		{"an older one", func() string { return join("c", ChannelVersions{"two", []uint64{1}}) }, 1},
		{"one that reads none of ours", func() string { return join("d", ChannelVersions{"two", []uint64{9}}) }, 2},
	} {
		name := s.join()
		if got := c.Version(); got != s.want {
			t.Errorf("%s: version %d, want %d", s.who, got, s.want)
		}
		m.table.leave(name)
	}
}

// What is no message of ours is refused before its signature is looked at; a field
// that is not known is not a reason.
func TestDecodeBody(t *testing.T) {
	good := body{key{"gw-1-0123456789abcdef", "one"}, 1, 7, []byte("payload")}
	b := wire.AppendBytes(wire.AppendUint(good.encode(), 99, 1), 100, "of a later version")
	if got, err := decodeBody(b); err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"nothing":     nil,
		"cut short":   b[:len(b)-1],
		"no member":   body{key{"", "one"}, 1, 7, nil}.encode(),
		"no channel":  body{key{"gw", ""}, 1, 7, nil}.encode(),
		"no sequence": body{key{"gw", "one"}, 1, 0, nil}.encode(),
		"text":        []byte("GET / HTTP/1.1"),
	} {
		if _, err := decodeBody(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// An exchange never exceeds its bound: what was taken in fits, heads included, and
// beside it whatever we have to say ourselves.
func TestAFullTableFitsAnExchange(t *testing.T) {
	tab, _ := someTable(t)
	text := string(bytes.Repeat([]byte("x"), MaxPayloadBytes))
	for i := 0; tab.drops[dropOversize].Load() == 0; i++ {
		f := NewForger(someConfig(fmt.Sprint("big-", i)))
		tab.join(f.Name(), f.id.meta, someAddr(3))
		tab.receive(f.Message(Claim{f.Name(), "one", 1, 1, text})[1:], time.Now())
	}
	for i := range maxChannels {
		own := body{key{tab.id.name(), fmt.Sprint(i)}, 1, 1, []byte(text)}
		tab.keepOwn(tab.id.sign(tab.label, own, time.Now()))
	}
	b := tab.state(time.Now())
	count := 0
	if _, ok := splitState(b, tab.label, func([]byte) { count++ }); !ok || count != len(tab.entries) || count < 50 {
		t.Errorf("%d bytes with %d messages of %d", len(b), count, len(tab.entries))
	}
}

func BenchmarkReceiveKnown(b *testing.B) {
	tab, messages := someTable(b)
	now := time.Now()
	tab.receive(messages[0], now)
	b.ReportAllocs()
	for b.Loop() {
		tab.receive(messages[0], now)
	}
}

func BenchmarkReceiveNew(b *testing.B) {
	f := NewForger(someConfig("gw-3"))
	tab, _ := someTable(b)
	m := f.Message(Claim{f.Name(), "one", 1, 1, string(make([]byte, 900))})[1:]
	b.ReportAllocs()
	for b.Loop() {
		tab.join(f.Name(), f.id.meta, someAddr(3))
		if _, ok := tab.receive(m, time.Now()); !ok {
			b.Fatal("not taken")
		}
		tab.leave(f.Name())
	}
}
