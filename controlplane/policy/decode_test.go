package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

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

// What two people write differently and mean alike has one digest.
func TestDigestIsOfWhatIsSaid(t *testing.T) {
	a := mustDecode(t, []byte("boundary: eu # ours\nresidency: {countries: [SE, NO]}\nstamps:\n  - {region: swedencentral, fallback: []}\n"))
	b := mustDecode(t, []byte("stamps:\n- region: \"swedencentral\"\nresidency:\n    countries:\n    - SE\n    - 'NO'\nboundary: 'eu'\n"))
	c := mustDecode(t, []byte("boundary: eu\nresidency: {countries: [NO, SE]}\nstamps: [{region: swedencentral}]\n"))
	if Digest(mustCanonical(t, a)) != Digest(mustCanonical(t, b)) {
		t.Errorf("differ:\n%s\n%s", mustCanonical(t, a), mustCanonical(t, b))
	}
	if Digest(mustCanonical(t, a)) == Digest(mustCanonical(t, c)) {
		t.Error("another order of countries has the same digest")
	}
}

// Signatures are over these bytes: a change here makes every signature that was
// ever given worthless, so it must be one that somebody meant.
func TestCanonicalFormNeverChanges(t *testing.T) {
	source, err := os.ReadFile("testdata/valid/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	canonical := mustCanonical(t, mustDecode(t, source))
	golden := "testdata/canonical/everything.yaml"
	if updating() {
		if err := os.WriteFile(golden, canonical, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != string(canonical) {
		t.Errorf("the canonical form changed:\n%s", canonical)
	}
	if Digest([]byte("")) != hashOfNothing {
		t.Error("Digest is not SHA-256 in hex")
	}
}

func TestCanonicalRefusesWhatHasNoForm(t *testing.T) {
	if _, err := Canonical(nil); err == nil {
		t.Error("no document")
	}
	if _, err := Canonical(&Document{Boundary: "\xff"}); err == nil {
		t.Error("text that is not UTF-8")
	}
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
	if !reflect.DeepEqual(doc, mustDecode(t, mustCanonical(t, doc))) {
		t.Error("the canonical form takes them for something else")
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
	out, err := yaml.Marshal(doc.Routes[0].Timeouts)
	if err != nil {
		t.Fatal(err)
	}
	var back Timeouts
	if err := yaml.Unmarshal(out, &back); err != nil || back != doc.Routes[0].Timeouts {
		t.Errorf("%s: %+v, %v", out, back, err)
	}
	for _, bad := range []string{"a: 1\nconnect: 5", "a: 1\nconnect: [5s]", "a: 1\nconnect: soon"} {
		if err := yaml.Unmarshal([]byte(bad), &back); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "30s") {
			t.Errorf("%q: %v, want the line and an example", bad, err)
		}
	}
}

func TestSecretsAreKnownByTheirForm(t *testing.T) {
	secrets := []string{
		"0123456789abcdef0123456789abcdef",
		"sk-proj-AbCdEf0123456789AbCdEf",
		"sg_eu_0123456789abcdefghijABCDEFGHIJ0123456789xyz",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
		"Bearer abcdefghijklmnop", "Basic dXNlcjpwYXNzd29yZA==",
		"-----BEGIN PRIVATE KEY-----", "x;AccountKey=abc123abc123", "https://x/?sig=abcdefgh",
		strings.Repeat("aB3", 28), // 84 characters, as Azure's newer keys
		"4Ihx0eTjz6RuYkpT1oZ8CqWv2NsLm9Ab3DfGhJkPrQs=",
	}
	plain := []string{
		"", "gpt-4o", "2024-11-20", "gpt-4o-2024-11-20-Standard-SwedenCentral-Payroll-1", "swedencentral", "meta-llama/Llama-3.3-70B-Instruct",
		"11111111-1111-1111-1111-111111111111", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
		"https://cognitiveservices.azure.com/.default", "/run/secrets/stampgate/eu/swedencentral-payg-1-key",
		"https://a-very-long-resource-name-of-some-department-in-se1.openai.azure.com",
		"2C26B46B68FFC68FF99B453C1D30413413422D706483BFA0F98A5E886266E7AE", "ASWC_PTU_KEY_OF_THE_FIRST_INSTANCE",
	}
	for _, s := range secrets {
		if !looksSecret(s) {
			t.Errorf("%q passes", s)
		}
		if strings.Contains(quote(s), s) {
			t.Errorf("%q is shown", s)
		}
	}
	for _, s := range plain {
		if looksSecret(s) {
			t.Errorf("%q is taken for a secret", s)
		}
	}
	for _, name := range []string{"apiKey", "api_key", "API-KEY", "password", "clientSecret", "token", "connectionString", "key"} {
		if !secretField(name) {
			t.Errorf("field %s passes", name)
		}
	}
	for _, name := range []string{"apiKeyFile", "apiKeyEnv", "keys", "sha256", "tokensPerMinute", "credential"} {
		if secretField(name) {
			t.Errorf("field %s is refused", name)
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

// Decode never panics; what it accepts is the same after its canonical form;
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
		canonical := mustCanonical(t, doc)
		again, err := Decode(canonical)
		if err != nil {
			t.Fatalf("%v\n%s", err, canonical)
		}
		if !reflect.DeepEqual(doc, again) {
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
