package policy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
)

func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the messages into testdata/invalid/*.txt")
	os.Exit(m.Run())
}

// gatewayResidency is what the process says of itself in the documents whose
// name begins with local-.
func gatewayResidency() *geo.Residency {
	return &geo.Residency{
		Boundary: "eu", Countries: []geo.Country{"SE", "NL", "FR", "DE", "IE"},
		DataZones: map[string][]geo.Country{"EU": {"SE", "NL", "FR", "DE", "IT"}},
	}
}

// Every document in testdata/invalid is refused with exactly the messages
// beside it: each names path (or line) and remedy, and none repeats a secret.
func TestInvalidDocumentsAreRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d documents: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var opt Options
			if strings.HasPrefix(name, "local-") {
				opt.Local = gatewayResidency()
				opt.Local.RequirePrivateAddresses = name == "local-private-addresses"
			}
			faults := faultsOf(t, source, opt)
			got := render(faults)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if updating() {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("messages differ (-update writes them)\ngot:\n%s\nwant:\n%s", got, want)
			}
			for _, secret := range []string{"hunter2", "sk-proj", "0123456789", "weu-key-value"} {
				if strings.Contains(got, secret) {
					t.Errorf("a message repeats a secret: %s", got)
				}
			}
			for _, f := range faults {
				if f.Path == "" && f.Line == 0 && !strings.HasPrefix(name, "yaml-") {
					t.Errorf("%q names neither path nor line", f)
				}
				if strings.ContainsAny(f.String(), "\n\r\t") {
					t.Errorf("%q is not one line", f)
				}
			}
		})
	}
}

// faultsOf returns why the document is refused; it must be.
func faultsOf(t *testing.T, source []byte, opt Options) []Fault {
	t.Helper()
	doc, err := Decode(source)
	if err == nil {
		var s *Snapshot
		opt.Publishing = true
		if s, err = Compile(doc, opt); s != nil {
			t.Fatal("compiled")
		}
		faults, _ := Validate(doc, opt)
		if e, ok := errors.AsType[*Error](err); !ok || render(e.Faults) != render(faults) {
			t.Errorf("Compile and Validate differ:\n%v\n%v", err, faults)
		}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Faults) == 0 {
		t.Fatalf("error %v is not an *Error with faults", err)
	}
	if e.Error() != strings.TrimSuffix(render(e.Faults), "\n") {
		t.Errorf("the error says something else than its faults: %v", err)
	}
	return e.Faults
}

func render(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// A document that is too large is refused by its size, before it is parsed.
func TestLargeDocumentsAreRefusedBeforeParsing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 1_100_000) // some 2 MB in hex, and no compressor makes it less than 1 MiB
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for name, c := range map[string]struct {
		source []byte
		want   string
	}{
		"2 MB that do not compress":   {[]byte("# " + hex.EncodeToString(random) + "\nboundary: eu\n"), "after compression, more than 1048576"},
		"over 8 MiB that do compress": {[]byte(strings.Repeat("# filler\n", 1_000_000)), "has 9000000 bytes, more than 8388608"},
		"a tree of brackets":          {bytes.Repeat([]byte("["), 2_000_000), "more than 1048576 entries"},
		"a tree of small entries":     {bytes.Repeat([]byte("a,"), 2_000_000), "more than 1048576 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := faultsOf(t, c.source, Options{})
			if len(faults) != 1 || !strings.Contains(faults[0].Text, c.want) {
				t.Errorf("got %v, want %q", faults, c.want)
			}
		})
	}
	large := []byte(strings.Repeat("# a comment that compresses well\n", 100_000) + "boundary: eu\n") // 3 MB raw
	if _, err := Decode(large); err != nil {
		t.Errorf("3 MB that compress to little: %v", err)
	}
}

// An alias bomb costs nothing: aliases are refused, never expanded.
func TestAliasBombIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("boundary: &a0 [x]\n")
	for i := range 40 {
		fmt.Fprintf(&b, "f%d: &a%d [*a%d, *a%d, *a%d]\n", i, i+1, i, i, i)
	}
	if faults := faultsOf(t, []byte(b.String()), Options{}); len(faults) < 40 {
		t.Errorf("%d faults", len(faults))
	}
}

// A report has an end, however much is wrong.
func TestReportIsBounded(t *testing.T) {
	const reportEnds = 1000
	faults := faultsOf(t, []byte("boundary: eu\n"+manyUnknown(5000)), Options{})
	if len(faults) != reportEnds+1 || !strings.Contains(faults[reportEnds].Text, "there is more") {
		t.Errorf("%d faults, the last: %v", len(faults), faults[len(faults)-1])
	}
}

func manyUnknown(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "unknown%d: 1\n", i)
	}
	return b.String()
}
