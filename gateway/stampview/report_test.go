package stampview

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/wire"
)

func keyOf(origin, deployment string) policy.Key {
	return policy.Key{Origin: origin, Deployment: deployment}
}

func drawReport(t *rapid.T) Report {
	target := rapid.Custom(func(t *rapid.T) targets.Report {
		duration := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(-int64(time.Hour), int64(48*time.Hour)).Draw(t, name))
		}
		return targets.Report{
			Key: keyOf(
				rapid.SampledFrom([]string{"https://a.example", "https://b.example", "https://c.example", ""}).Draw(t, "origin"),
				rapid.StringN(0, 20, 300).Draw(t, "deployment")),
			Gate:       rapid.SampledFrom([]time.Duration{0, 1, time.Second, duration("gate")}).Draw(t, "gate"),
			Breaker:    breaker.State(rapid.IntRange(0, 2).Draw(t, "breaker")),
			BreakerFor: rapid.SampledFrom([]time.Duration{0, duration("breaker")}).Draw(t, "breaker for"),
			InFlight:   rapid.SampledFrom([]int{0, 1, -1, 1<<31 - 1, 1 << 40}).Draw(t, "in flight"),
			FirstByte:  rapid.SampledFrom([]time.Duration{0, 1, duration("first byte")}).Draw(t, "first byte"),
			SuccessAge: rapid.SampledFrom([]time.Duration{0, 1, duration("success")}).Draw(t, "success"),
			Age:        rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "age"),
		}
	})
	return Report{
		PolicySerial: rapid.Uint64().Draw(t, "serial"),
		Health:       rapid.StringN(0, 40, 60).Draw(t, "health"), Draining: rapid.Bool().Draw(t, "draining"),
		Targets: rapid.SliceOfN(target, 0, 30).Draw(t, "targets"),
	}
}

// What is normalised travels unchanged.
func TestAReportTravelsUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, _ := drawReport(t).normalise()
		got, err := Decode(version1, r.Encode())
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
	for i := range 2 * maxTargets {
		tr := targets.Report{Key: keyOf(fmt.Sprintf("https://h-%04d.example", i), "d"), InFlight: 1}
		if i%4 == 3 {
			tr.Gate = time.Nanosecond
		}
		r.Targets = append(r.Targets, tr)
	}
	r.Targets = append(r.Targets, targets.Report{Key: keyOf("https://idle.example", "d")})
	got, cut := r.normalise()
	if len(got.Targets) != maxTargets || cut != maxTargets {
		t.Fatalf("%d kept, %d cut", len(got.Targets), cut)
	}
	gates := 0
	for _, tr := range got.Targets {
		if tr.Gate == time.Millisecond {
			gates++
		}
	}
	if gates != maxTargets/2 {
		t.Errorf("%d of %d gates kept, each rounded up to 1 ms", gates, maxTargets/2)
	}
	long := Report{Health: strings.Repeat("h", 100), PolicySerial: 1<<64 - 1, Draining: true}
	for i := range maxTargets {
		long.Targets = append(long.Targets, targets.Report{
			Key: keyOf(fmt.Sprintf("https://%03d%s", i, strings.Repeat("x", 400)), "d"), InFlight: 1 << 40,
			Gate: 48 * time.Hour, Breaker: breaker.Open, BreakerFor: 48 * time.Hour, FirstByte: 2 * time.Hour, SuccessAge: 48 * time.Hour,
		})
	}
	got, cut = long.normalise()
	if b := got.encode(); len(b) > membership.MaxPayloadBytes || cut == 0 {
		t.Errorf("a long report: %d bytes, %d cut", len(b), cut)
	}
}

func TestDecodeRefusesWhatNoGatewayReports(t *testing.T) {
	target := func(origin, deployment string) []byte {
		return wire.AppendUint(wire.AppendBytes(wire.AppendBytes(nil, 1, origin), 2, deployment), 6, 1)
	}
	list := func(all ...[]byte) (b []byte) {
		for _, one := range all {
			b = wire.AppendBytes(b, 4, one)
		}
		return b
	}
	var many [][]byte
	for i := range maxTargets + 1 {
		many = append(many, target(fmt.Sprintf("https://%04d", i), "d"))
	}
	for name, b := range map[string][]byte{
		"text":             []byte("GET / HTTP/1.1"),
		"no origin":        list(target("", "d")),
		"one target twice": list(target("https://a", "d"), target("", "d")),
		"out of order":     list(target("https://b", "d"), target("https://a", "d")),
		"a long origin":    list(target(strings.Repeat("o", maxOrigin+1), "d")),
		"a long name":      list(target("https://a", strings.Repeat("d", maxDeployment+1))),
		"a broken target":  list([]byte{0x08}),
		"too many targets": list(many...),
	} {
		if r, err := Decode(version1, b); err == nil {
			t.Errorf("%s: accepted as %d targets", name, len(r.Targets))
		}
	}
	if _, err := Decode(version1+1, nil); !errors.Is(err, errVersion) {
		t.Errorf("another version: %v", err)
	}
	r, err := Decode(version1, list(many[:maxTargets]...))
	if err != nil || len(r.Targets) != maxTargets {
		t.Errorf("%d targets, %v", len(r.Targets), err)
	}
}

// What a peer claims is cut to what can be: no number overflows, and a breaker that
// we do not know is taken for open.
func TestDecodeCutsToBounds(t *testing.T) {
	one := wire.AppendBytes(nil, 1, "https://a")
	for id := 3; id <= 8; id++ {
		one = wire.AppendUint(one, id, 1<<64-1)
	}
	r, err := Decode(version1, wire.AppendBytes(wire.AppendBytes(nil, 2, strings.Repeat("h", 1000)), 4, one))
	want := Report{Health: strings.Repeat("h", maxHealth), Targets: []targets.Report{{
		Key: keyOf("https://a", ""), Gate: maxWait, Breaker: breaker.Open, BreakerFor: maxWait,
		InFlight: maxInFlight, FirstByte: maxFirstByte, SuccessAge: maxWait,
	}}}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Report{}.Encode())
	f.Add(firstReport().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(version1, b)
		if err != nil {
			return
		}
		n, cut := r.normalise()
		again, err := Decode(version1, n.encode())
		if err != nil || cut > len(r.Targets) || len(n.Targets) != len(again.Targets) || again.Health != r.Health {
			t.Fatalf("%+v\nis read again as\n%+v, %v", n, again, err)
		}
	})
}

func FuzzDecodeDigest(f *testing.F) {
	f.Add([]byte(`{"targets":[{"origin":"https://a","gateMs":-1,"breaker":"open"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := decodeDigest(b)
		if len(all) > digestTargets {
			t.Fatalf("%d targets, %v", len(all), err)
		}
		for _, r := range all {
			if r.Gate < 0 || r.Gate > maxWait {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// Only what peers should act on goes out at once.
func TestUrgencyOfNews(t *testing.T) {
	const nothing, routine, urgent = "nothing", "routine", "urgent"
	start := time.Now()
	target := targets.Report{Key: keyOf("https://a", "d"), Gate: time.Minute, InFlight: 3}
	before := sent{Report{PolicySerial: 7, Health: "pass", Targets: []targets.Report{target}}, start}
	for name, c := range map[string]struct {
		after time.Duration
		do    func(r *Report)
		want  string
	}{
		"nothing":                {0, func(*Report) {}, nothing},
		"a gate that runs down":  {20 * time.Second, func(r *Report) { r.Targets[0].Gate -= 20 * time.Second }, nothing},
		"a gate that ran out":    {2 * time.Minute, func(r *Report) { r.Targets[0].Gate = 0 }, nothing},
		"a gate that grew":       {20 * time.Second, func(*Report) {}, urgent},
		"a gate that was lifted": {20 * time.Second, func(r *Report) { r.Targets = nil }, urgent},
		"a new gate": {0, func(r *Report) {
			r.Targets = append(r.Targets, targets.Report{Key: keyOf("https://b", ""), Gate: time.Second})
		}, urgent},
		"a new gate, earlier in order": {0, func(r *Report) {
			r.Targets = append([]targets.Report{{Key: keyOf("https://A", ""), Gate: time.Second}}, r.Targets...)
		}, urgent},
		"a breaker":      {0, func(r *Report) { r.Targets[0].Breaker = breaker.Open }, urgent},
		"draining":       {0, func(r *Report) { r.Draining = true }, urgent},
		"health":         {0, func(r *Report) { r.Health = "fail" }, urgent},
		"another policy": {0, func(r *Report) { r.PolicySerial++ }, urgent},
		"load":           {0, func(r *Report) { r.Targets[0].InFlight++ }, routine},
		"a first byte":   {0, func(r *Report) { r.Targets[0].FirstByte++ }, routine},
		"load of another target": {0, func(r *Report) {
			r.Targets = append(r.Targets, targets.Report{Key: keyOf("https://b", ""), InFlight: 1})
		}, routine},
		"a success that gets older": {0, func(r *Report) { r.Targets[0].SuccessAge++ }, nothing},
	} {
		r := before.Report
		r.Targets = append([]targets.Report(nil), r.Targets...)
		c.do(&r)
		next, got := sent{r, start.Add(c.after)}, nothing
		switch {
		case next.pressing(before):
			got = urgent
		case next.busier(before):
			got = routine
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
