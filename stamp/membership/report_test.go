package membership

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
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

// randomEntries draws from few names, sequences and contents, so that they meet.
func randomEntries(rng *rand.Rand, start time.Time) entries {
	e := make(entries)
	for range rng.IntN(6) {
		name := fmt.Sprintf("gw-%d-%d", rng.IntN(3), rng.IntN(2)) // node and boot
		seq := rng.Uint64N(3)
		e[name] = entry{
			Report{Node: name, Seq: seq},
			fmt.Appendf(nil, "%s %d %d", name, seq, rng.IntN(2)),
			start.Add(time.Duration(rng.IntN(3)) * time.Second),
		}
	}
	return e
}

// Gossip repeats, reorders and loses messages.
func TestMergeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	for i := range 10_000 {
		a, b, c := randomEntries(rng, start), randomEntries(rng, start), randomEntries(rng, start)
		if !reflect.DeepEqual(a.merge(a), a) {
			t.Fatalf("%d: not idempotent: %v", i, a)
		}
		if !reflect.DeepEqual(a.merge(b), b.merge(a)) {
			t.Fatalf("%d: not commutative: %v and %v", i, a, b)
		}
		if !reflect.DeepEqual(a.merge(b).merge(c), a.merge(b.merge(c))) {
			t.Fatalf("%d: not associative: %v, %v and %v", i, a, b, c)
		}
	}
}

// What a table holds after any order and repetition of messages is the merge of
// them all.
func TestATableHoldsTheMergeOfWhatItHears(t *testing.T) {
	tab, _ := heardTable(t)
	cfg := Config{Boundary: "eu", Region: "swedencentral", Name: "gw-3"}
	f := NewForger(cfg)
	var messages [][]byte
	for seq := range uint64(5) {
		messages = append(messages, f.Message(Report{Node: "gw-3", Boot: f.id.boot, Seq: seq + 1, PolicySerial: seq}))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		tab.join(f.Name(), f.id.meta, someAddr(3))
		newest := uint64(0)
		for range rng.IntN(12) {
			i := rng.IntN(len(messages))
			newest = max(newest, uint64(i)+1)
			tab.hear(messages[i][1:], time.Now())
		}
		tab.mu.Lock()
		got, bytes := tab.reports[f.Name()].report.Seq, tab.bytes
		tab.mu.Unlock()
		if got != newest {
			t.Fatalf("holds %d, want %d", got, newest)
		}
		tab.leave(f.Name())
		if newest > 0 && tab.size() >= bytes || tab.size() != 0 {
			t.Fatalf("%d bytes after the member left", tab.size())
		}
	}
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
