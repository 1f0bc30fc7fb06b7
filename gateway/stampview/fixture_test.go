package stampview

import (
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
)

// firstReport is what testdata/report-1.bin says, in the first format of all. The
// files in testdata are never written again: a format that changes gets new ones.
func firstReport() Report {
	return Report{PolicySerial: 42, Health: "warn", Draining: true, Targets: []targets.Report{
		{Key: keyOf("https://swc-ptu.openai.azure.com", "gpt-5.4"), Gate: 20 * time.Second, InFlight: 7},
		{Key: keyOf("https://swc-ptu.openai.azure.com", "gpt-5.4-mini"), Breaker: breaker.Open, BreakerFor: 1500 * time.Millisecond},
		{Key: keyOf("https://swc-std.openai.azure.com", "gpt-5.4"), Breaker: breaker.HalfOpen, FirstByte: 812345 * time.Microsecond, SuccessAge: time.Minute},
	}}
}

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Reports of the first format, and of one that will have more fields, are read; and
// what this build writes, a build of the first format reads: it is the same bytes.
func TestReportsOfOtherBuilds(t *testing.T) {
	want := firstReport()
	for _, name := range []string{"report-1.bin", "report-1-newer.bin"} {
		if got, err := Decode(1, fixture(t, name)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got := want.Encode(); string(got) != string(fixture(t, "report-1.bin")) {
		t.Errorf("the same report is written as\n%x: keep the file, add another for the new format, and show that old builds read it", got)
	}
}

func TestDigestsOfOtherBuilds(t *testing.T) {
	want := []targets.Report{
		{Key: keyOf("https://swc-ptu.openai.azure.com", "gpt-5.4"), Gate: 20 * time.Second},
		{Key: keyOf("https://swc-std.openai.azure.com", "gpt-5.4"), Gate: 1500 * time.Millisecond, Breaker: breaker.Open},
	}
	for _, name := range []string{"digest-0.json", "digest-1.json", "digest-2-newer.json"} {
		if got, err := decodeDigest(fixture(t, name)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	got, err := encodeDigest("gw-1", &targets.Cautions{InFlight: 12, Targets: want})
	if err != nil || string(got)+"\n" != string(fixture(t, "digest-1.json")) {
		t.Errorf("the same digest is written as\n%s, %v", got, err)
	}
}
