package membership

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	someNode = "gw-1"
	someBoot = "0123456789abcdef"
)

func drawReport(t *rapid.T) Report {
	target := rapid.Custom(func(t *rapid.T) TargetReport {
		duration := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(-int64(time.Hour), int64(48*time.Hour)).Draw(t, name))
		}
		return TargetReport{
			Origin:           rapid.SampledFrom([]string{"https://a.example", "https://b.example", "https://c.example", ""}).Draw(t, "origin"),
			Deployment:       rapid.StringN(0, 20, 300).Draw(t, "deployment"),
			GateRemaining:    rapid.SampledFrom([]time.Duration{0, 1, time.Second, duration("gate")}).Draw(t, "gate"),
			Breaker:          Breaker(rapid.IntRange(0, 4).Draw(t, "breaker")),
			BreakerRemaining: rapid.SampledFrom([]time.Duration{0, duration("breaker")}).Draw(t, "breaker for"),
			InFlight:         rapid.SampledFrom([]uint32{0, 1, 1<<32 - 1}).Draw(t, "in flight"),
			FirstByteEWMA:    rapid.SampledFrom([]time.Duration{0, 1, duration("first byte")}).Draw(t, "first byte"),
			LastSuccessAge:   rapid.SampledFrom([]time.Duration{0, 1, duration("success")}).Draw(t, "success"),
		}
	})
	return Report{
		Node: someNode, Boot: someBoot, Seq: rapid.Uint64().Draw(t, "seq"), PolicySerial: rapid.Uint64().Draw(t, "serial"),
		Health: rapid.StringN(0, 40, 60).Draw(t, "health"), Draining: rapid.Bool().Draw(t, "draining"),
		Targets: rapid.SliceOfN(target, 0, 30).Draw(t, "targets"),
	}
}

// What is normalised travels unchanged, and nothing comes out that would not be
// written in the same way.
func TestAReportTravelsUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, _ := drawReport(t).normalise()
		b, err := encodeReport(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeReport(b)
		if err != nil {
			t.Fatalf("%v\n%+v", err, r)
		}
		if len(r.Targets) == 0 {
			r.Targets = nil
		}
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("sent %+v\ngot  %+v", r, got)
		}
	})
}

func TestNormaliseRoundsUpAndKeepsTheCautious(t *testing.T) {
	r := Report{}
	for i := range 2 * MaxTargets {
		tr := TargetReport{Origin: fmt.Sprintf("https://h-%04d.example", i), Deployment: "d", InFlight: 1}
		if i%4 == 3 {
			tr.GateRemaining = time.Nanosecond
		}
		r.Targets = append(r.Targets, tr)
	}
	r.Targets = append(r.Targets, TargetReport{Origin: "https://idle.example", Deployment: "d"})
	got, cut := r.normalise()
	if len(got.Targets) != MaxTargets || cut != MaxTargets {
		t.Fatalf("%d kept, %d cut", len(got.Targets), cut)
	}
	gates := 0
	for _, tr := range got.Targets {
		if tr.GateRemaining == time.Millisecond {
			gates++
		}
	}
	if gates != MaxTargets/2 {
		t.Errorf("%d of %d gates kept, each rounded up to 1 ms", gates, MaxTargets/2)
	}
	long := Report{}
	for i := range MaxTargets {
		long.Targets = append(long.Targets, TargetReport{Origin: fmt.Sprintf("https://%03d%s", i, strings.Repeat("x", 400)), Deployment: "d", InFlight: 1})
	}
	got, cut = long.normalise()
	got.Node, got.Boot = strings.Repeat("n", maxName), someBoot
	if b, err := encodeReport(got); err != nil || cut == 0 {
		t.Errorf("a long report: %d bytes, %d cut, %v", len(b), cut, err)
	}
}

func TestDecodeRefusesWhatIsNotCanonical(t *testing.T) {
	r, _ := Report{Node: someNode, Boot: someBoot, Seq: 300, Targets: []TargetReport{
		{Origin: "https://a", Deployment: "d", InFlight: 1}, {Origin: "https://a", Deployment: "e", InFlight: 1},
	}}.normalise()
	good, err := encodeReport(r)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, b ...byte) []byte {
		return append(append(bytes.Clone(good[:at]), b...), good[at+len(b):]...)
	}
	seq := 1 + 1 + len(someNode) + bootBytes
	tail := len(good)
	for name, b := range map[string][]byte{
		"nothing":                     nil,
		"another version":             change(0, 2),
		"a byte more":                 append(bytes.Clone(good), 0),
		"a byte less":                 good[:tail-1],
		"a number in a longer form":   append(append(bytes.Clone(good[:seq]), 0xac, 0x82, 0x00), good[seq+2:]...),
		"a zero that is written out":  change(tail-1, 0),
		"a field that we do not know": change(tail-2, 1<<6),
		"no field at all":             change(tail-2, 0),
		"an unknown flag":             change(seq+2+1+1, 2),
		"more targets than bytes":     change(seq+2+1+1+1, 100),
		"targets out of order":        change(tail-3, 'd'),
	} {
		if _, err := decodeReport(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := decodeReport(good); err != nil {
		t.Error(err)
	}
}

func TestDecodeOfALyingCountAllocatesLittle(t *testing.T) {
	b := append([]byte{reportVersion, 1, 'n'}, make([]byte, bootBytes)...)
	b = append(b, 1, 1, 0, 0, 0xff, 0x03) // 511 targets, and nothing follows
	if n := testing.AllocsPerRun(100, func() { _, _ = decodeReport(b) }); n > 8 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeReport(f *testing.F) {
	for _, r := range []Report{
		{Node: someNode, Boot: someBoot, Seq: 1},
		{Node: "x", Boot: someBoot, Seq: 1 << 60, PolicySerial: 9, Health: "warn", Draining: true, Targets: []TargetReport{
			{Origin: "https://a", Deployment: "d", GateRemaining: time.Second, Breaker: BreakerOpen, BreakerRemaining: time.Minute},
			{Origin: "https://a", Deployment: "e", InFlight: 3, FirstByteEWMA: time.Second, LastSuccessAge: time.Millisecond},
			{Origin: "https://b", InFlight: 7},
		}},
	} {
		b, err := encodeReport(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReport(b)
		if err != nil {
			return
		}
		again, err := encodeReport(r)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x\nencodes to\n%x, %v", b, again, err)
		}
		n, cut := r.normalise()
		if cut != 0 || len(n.Targets) != len(r.Targets) {
			t.Fatalf("normalise changes what was accepted: %+v", r)
		}
	})
}

func FuzzHear(f *testing.F) {
	tab, forged := heardTable(f)
	for _, b := range forged {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := len(tab.view().Peers)
		_, _ = tab.hear(b, time.Now())
		splitState(b, tab.label, func(e []byte) { _, _ = tab.hear(e, time.Now()) })
		if len(tab.view().Peers) > before+1 {
			t.Fatal("more peers than members")
		}
		if m, err := decodeMeta(b); err == nil && !bytes.Equal(m.encode(), b) {
			t.Fatalf("metadata %x is not what it encodes to", b)
		}
		if _, err := decodePeers(b); err == nil && len(b) < 2 {
			t.Fatal("peers out of nothing")
		}
		if keys, err := parseKeys(b); err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Fatal("no keys, or too many")
		}
	})
}

// heardTable has one peer, and some of what that peer could send.
func heardTable(tb testing.TB) (*table, [][]byte) {
	tb.Helper()
	cfg := Config{Boundary: "eu", Region: "swedencentral", Name: "gw-1"}
	id, err := newIdentity(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Name = "gw-2"
	peer := NewForger(cfg)
	tab := newTable(id, "gw/eu/swedencentral", new(drops))
	tab.join(id.name(), id.meta, someAddr(1))
	tab.join(peer.Name(), peer.id.meta, someAddr(2))
	r := Report{Node: "gw-2", Boot: peer.id.boot, Seq: 1}
	good := peer.Message(r)[1:]
	return tab, [][]byte{good, good[:70], peer.State(tab.label, peer.Message(r)), peer.Meta(), []byte(`{"version":1,"peers":[{"addr":"10.0.0.1:7946","seen":"2026-01-01T00:00:00Z"}]}`)}
}

// Only what peers should act on goes out at once.
func TestNews(t *testing.T) {
	start := time.Now()
	target := TargetReport{Origin: "https://a", Deployment: "d", GateRemaining: time.Minute, InFlight: 3}
	before := spoken{Report{PolicySerial: 7, Health: "pass", Targets: []TargetReport{target}}, start}
	for name, c := range map[string]struct {
		after time.Duration
		do    func(r *Report)
		want  news
	}{
		"nothing":                   {0, func(*Report) {}, nothingNew},
		"a gate that runs down":     {20 * time.Second, func(r *Report) { r.Targets[0].GateRemaining -= 20 * time.Second }, nothingNew},
		"a gate that ran out":       {2 * time.Minute, func(r *Report) { r.Targets[0].GateRemaining = 0 }, nothingNew},
		"a gate that grew":          {20 * time.Second, func(*Report) {}, newVerdict},
		"a gate that was lifted":    {20 * time.Second, func(r *Report) { r.Targets = nil }, newVerdict},
		"a new gate":                {0, func(r *Report) { r.Targets = append(r.Targets, TargetReport{Origin: "b", GateRemaining: time.Second}) }, newVerdict},
		"a breaker":                 {0, func(r *Report) { r.Targets[0].Breaker = BreakerOpen }, newVerdict},
		"draining":                  {0, func(r *Report) { r.Draining = true }, newVerdict},
		"health":                    {0, func(r *Report) { r.Health = "fail" }, newVerdict},
		"another policy":            {0, func(r *Report) { r.PolicySerial++ }, newVerdict},
		"load":                      {0, func(r *Report) { r.Targets[0].InFlight++ }, newLoad},
		"a first byte":              {0, func(r *Report) { r.Targets[0].FirstByteEWMA++ }, newLoad},
		"a success that gets older": {0, func(r *Report) { r.Targets[0].LastSuccessAge++ }, nothingNew},
	} {
		r := before.Report
		r.Targets = append([]TargetReport(nil), r.Targets...)
		c.do(&r)
		if got := newsIn(before, spoken{r, start.Add(c.after)}); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// The merge law, on the table that runs: gossip repeats, reorders and loses
// messages, and a faulty gateway may sign two reports with one sequence. Whoever
// has received the same set of messages, in whatever order, how often and over
// how many exchanges, holds the same.
func TestMergeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	var forgers []Forger
	var all []received
	for g := range 3 {
		f := NewForger(Config{Boundary: "eu", Region: "swedencentral", Name: fmt.Sprint("gw-", g)})
		forgers = append(forgers, f)
		for i := range 6 {
			m := f.Message(Report{Node: f.id.gateway, Boot: f.id.boot, Seq: uint64(1 + i/2), PolicySerial: uint64(i)})[1:]
			for age := range 2 { // copies that have waited on the way
				m = append(binary.BigEndian.AppendUint32(nil, uint32(age*1000)), m[4:]...)
				all = append(all, received{m, start.Add(time.Duration(rng.IntN(3)) * time.Second)})
			}
		}
	}
	fresh := func(sets ...[]received) (*table, map[string]held) {
		tab := newTable(identity{gateway: "me", boot: someBoot}, "gw/eu/swedencentral", new(drops))
		for _, f := range forgers {
			tab.join(f.Name(), f.id.meta, someAddr(1))
		}
		for _, set := range sets {
			for _, r := range set {
				tab.hear(r.message, r.at)
			}
		}
		return tab, holds(tab)
	}
	draw := func() (set []received) {
		for range rng.IntN(8) {
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

// held is what a table has of a member.
type held struct {
	Seq, Serial uint64
	At          time.Time
}

func holds(t *table) map[string]held {
	out := make(map[string]held)
	for _, p := range t.view().Peers {
		out[p.Member.Name] = held{p.Report.Seq, p.Report.PolicySerial, p.At}
	}
	return out
}

func exchange(t *testing.T, from, to *table, now time.Time) {
	if why, ok := splitState(from.state(now), to.label, func(e []byte) { to.hear(e, now) }); !ok {
		t.Fatalf("exchange refused: %v", why)
	}
}

func shuffled(rng *rand.Rand, set []received) []received {
	rng.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
	return set
}

func BenchmarkHearKnown(b *testing.B) {
	tab, messages := heardTable(b)
	now := time.Now()
	tab.hear(messages[0], now)
	b.ReportAllocs()
	for b.Loop() {
		tab.hear(messages[0], now)
	}
}

func BenchmarkHearNew(b *testing.B) {
	cfg := Config{Boundary: "eu", Region: "swedencentral", Name: "gw-3"}
	f := NewForger(cfg)
	tab, _ := heardTable(b)
	r := Report{Node: "gw-3", Boot: f.id.boot, Seq: 1}
	for i := range 20 {
		r.Targets = append(r.Targets, TargetReport{Origin: fmt.Sprintf("https://b%02d.openai.azure.com", i), Deployment: "gpt-4o", InFlight: 9, FirstByteEWMA: time.Second})
	}
	m := f.Message(r)[1:]
	b.Logf("a report of 20 targets takes %d bytes", len(m))
	b.ReportAllocs()
	for b.Loop() {
		tab.join(f.Name(), f.id.meta, someAddr(3))
		if _, ok := tab.hear(m, time.Now()); !ok {
			b.Fatal("not taken")
		}
		tab.leave(f.Name())
	}
}
