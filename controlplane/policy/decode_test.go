package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// normal returns the document as Decode would: empty lists are absent.
func normal(doc *Document) *Document {
	c := *doc
	for i := range c.Stamps {
		if len(c.Stamps[i].Fallback) == 0 {
			c.Stamps[i].Fallback = nil
		}
	}
	if len(c.Residency.Countries) == 0 {
		c.Residency.Countries = nil
	}
	return &c
}

func difference(a, b *Document) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return fmt.Sprintf("was %+v\nis  %+v", a, b)
}

// What two people write differently and mean alike is equal.
func TestEqualIsWhatSaysTheSame(t *testing.T) {
	a := mustDecode(t, []byte("boundary: eu # ours\nresidency: {countries: [SE, NO]}\nstamps:\n  - {region: swedencentral, fallback: []}\n"))
	b := mustDecode(t, []byte("format: 1\nstamps:\n- region: \"swedencentral\"\nresidency:\n    countries:\n    - SE\n    - 'NO'\nboundary: 'eu'\n"))
	c := mustDecode(t, []byte("boundary: eu\nresidency: {countries: [NO, SE]}\nstamps: [{region: swedencentral}]\n"))
	if !Equal(a, b) {
		t.Errorf("differ:\n%+v\n%+v", a, b)
	}
	if Equal(a, c) {
		t.Error("another order of countries is equal")
	}
	if b.Format != 1 {
		t.Error("Equal changed a document")
	}
}

// What an older program says of a newer document: the format alone, since what
// else it finds may be what the newer format has.
func TestADocumentOfANewerFormatIsRefusedByItsNumber(t *testing.T) {
	for text, want := range map[string]string{
		"format: 2\nboundary: eu\nnovelties: {all: true}\n": "format: 2 is not known",
		"format: -1\n":                "format: -1 is not known",
		"format: two\nboundary: eu\n": "format: is not a whole number",
	} {
		_, err := Decode([]byte(text))
		if e, ok := errors.AsType[*Error](err); !ok || len(e.Faults) != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A rule that came after documents were in force refuses what is to be published,
// and only warns those who follow what is in force: a new gateway starts with the
// policy that the one before it served. Where data may go, nothing is put off.
func TestALaterRuleKeepsNoGatewayFromItsPolicy(t *testing.T) {
	good := string(readValid(t, "eu.yaml"))
	for name, c := range map[string]struct {
		from, to string
		path     string
		follows  bool // it compiles where nobody publishes
	}{
		"an early head that is too late":      {"routes:\n  - name", "routes:\n  - earlyHead: 10m\n    name", "routes[0].earlyHead", true},
		"a deployment of Azure's whole world": {"sku: Standard", "sku: GlobalStandard", "sku", false},
	} {
		source := strings.Replace(good, c.from, c.to, 1)
		if source == good {
			t.Fatalf("%s: the document does not hold %q", name, c.from)
		}
		v, doc, err := Judge([]byte(source), Options{})
		if err != nil || v.Valid || !strings.Contains(v.Faults[0].Path, c.path) {
			t.Errorf("%s: published, %+v, %v", name, v, err)
			continue
		}
		faults, warnings := Validate(doc, Options{})
		if _, err := Compile(doc, Options{}); (err == nil) != c.follows || (len(faults) == 0) != c.follows {
			t.Errorf("%s: to a follower %v, %v", name, err, faults)
		}
		if c.follows && !slices.ContainsFunc(warnings, func(f Fault) bool { return f == v.Faults[0] }) {
			t.Errorf("%s: a follower is not warned: %v", name, warnings)
		}
	}
}

func TestNoDocumentIsNoPolicy(t *testing.T) {
	if _, err := Compile(nil, Options{}); err == nil {
		t.Error("compiled no document")
	}
}

// Scalars mean what was written: NO is Norway, a version is not a day.
func TestTextIsTakenAsWritten(t *testing.T) {
	doc := mustDecode(t, []byte("residency: {countries: [NO, SE]}\nroutes: [{name: on, model: 1.10, version: 2024-11-20}]\n"))
	r := doc.Routes[0]
	if doc.Residency.Countries[0] != "NO" || r.Name != "on" || r.Model != "1.10" || r.Version != "2024-11-20" {
		t.Errorf("%+v", doc)
	}
	if !Equal(doc, mustDecode(t, mustEncode(t, doc))) {
		t.Error("written anew they are something else")
	}
}

func TestDurationsAndTimes(t *testing.T) {
	doc := mustDecode(t, []byte("routes: [{timeouts: {connect: 1m30s, idle: 0s, total: 250ms}}]\nclients: [{keys: [{notAfter: 2027-01-01}, {notAfter: 2027-01-01T02:00:00+02:00}]}]\n"))
	if got := doc.Routes[0].Timeouts; got.Connect != Duration(90*time.Second) || got.Total != Duration(250*time.Millisecond) || got.Idle != 0 {
		t.Errorf("%+v", got)
	}
	day := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, k := range doc.Clients[0].Keys {
		if k.NotAfter != day {
			t.Errorf("key %d: %v", i, k.NotAfter)
		}
	}
}

// What Decode refuses as a secret is refused by Validate too, for documents
// that were not made by Decode, and never shown.
func TestSecretsInADocumentMadeByHand(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	doc := mustDecode(t, readValid(t, "eu.yaml"))
	doc.Boundary, doc.Backends[0].Name, doc.Routes[0].Model, doc.Clients[0].Name = secret, secret, secret, secret
	doc.Backends[0].Credential = Credential{APIKeyEnv: secret}
	doc.Backends[1].Credential = Credential{APIKeyFile: secret}
	doc.Clients[0].Keys[0].SHA256 = secret
	doc.Clients[0].Routes[0] = secret
	doc.Stamps[0].Region, doc.Stamps[1].Fallback[0] = secret, secret
	doc.Backends[1].Deployments[0].SKU, doc.Backends[1].Endpoint = secret, "https://a.example?key="+secret
	_, err := Compile(doc, Options{})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("shown, or not refused: %v", err)
	}
}

func readValid(t testing.TB, name string) []byte {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata/valid", name))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// Decode never panics; what it accepts is the same when it is written anew;
// what compiles has no target outside; what is refused says so on whole lines.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/valid/*.yaml", "testdata/invalid/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(source)
		}
	}
	f.Add([]byte("{boundary: \"\\xff\\u2028\", clients: [{keys: [{notAfter: 9990-12-31T23:59:59-12:00}]}]}"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		doc, err := Decode(source)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Faults) == 0 || doc != nil {
				t.Fatalf("%v, %v", doc, err)
			}
			for _, fault := range e.Faults {
				if strings.ContainsAny(fault.String(), "\n\r") {
					t.Errorf("%q is not one line", fault)
				}
			}
			return
		}
		text := mustEncode(t, doc)
		again, err := Decode(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !Equal(doc, again) {
			t.Errorf("was %+v\nis  %+v", doc, again)
		}
		s, err := Compile(doc, Options{Serial: 1, Local: &geo.Residency{Boundary: doc.Boundary, Countries: doc.Residency.Countries}})
		if err != nil {
			return
		}
		if err := checkInside(doc, s); err != nil {
			t.Error(err)
		}
	})
}
