package policy

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// admission is a document whose clients come by keys with and without an end,
// and by tokens.
const admission = `boundary: eu
residency: {countries: [SE]}
debugHeaders: true
externalReferences: {hosts: [files.example.com]}
otherBoundaries: {us: https://us.example}
stamps: [{region: swedencentral}]
backends:
  - name: swc
    region: swedencentral
    endpoint: https://swc.openai.azure.com
    credential: {managedIdentity: {}}
    deployments: [{name: d, model: m, version: "1", sku: Standard}]
routes: [{name: r, model: m, version: "1"}]
clients:
  - name: payroll
    keys:
      - {sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae, notAfter: 2027-01-01T00:00:00Z}
      - {sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9, notAfter: 2026-07-01T00:00:00Z}
    routes: [r]
  - name: support
    keys: [{sha256: baa5a0964d3320fbc0c6a922140453c8513ea24ab8fd0577034804a967248096}]
    entra: [{tenant: abcdefab-1111-1111-1111-111111111111, application: 22222222-2222-2222-2222-222222222222}]
`

func snapshot(t *testing.T) *Snapshot {
	t.Helper()
	s, err := Compile(mustDecode(t, []byte(admission)), Options{Serial: 7})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestAKeyAdmitsUntilItsEndAndNotAtIt(t *testing.T) {
	s := snapshot(t)
	foo, bar, baz := sha256.Sum256([]byte("foo")), sha256.Sum256([]byte("bar")), sha256.Sum256([]byte("baz"))
	for name, c := range map[string]struct {
		key  [32]byte
		at   time.Time
		want string // "": nobody
	}{
		"before its end":        {foo, day(2026, 12, 31), "payroll"},
		"the last moment":       {foo, day(2027, 1, 1).Add(-1), "payroll"},
		"at its end":            {foo, day(2027, 1, 1), ""},
		"the other one's end":   {bar, day(2026, 12, 31), ""},
		"without an end":        {baz, day(9000, 1, 1), "support"},
		"a key of nobody":       {sha256.Sum256([]byte("qux")), day(2026, 1, 1), ""},
		"no key":                {[32]byte{}, day(2026, 1, 1), ""},
		"the other, in time":    {bar, day(2026, 6, 30), "payroll"},
		"a clock that is wrong": {foo, time.Time{}, "payroll"},
	} {
		p, ok := s.ClientByKey(c.key, c.at)
		if ok != (c.want != "") || ok && p.Name != c.want {
			t.Errorf("%s: %+v, %v, want %q", name, p, ok, c.want)
		}
	}
}

// A caller of an earlier snapshot stays admitted as long as the same proof
// belongs to the same client.
func TestACallerStaysAdmittedWhileItsProofIsItsOwn(t *testing.T) {
	s := snapshot(t)
	foo, baz := sha256.Sum256([]byte("foo")), sha256.Sum256([]byte("baz"))
	entra := EntraClient{Tenant: "ABCDEFAB-1111-1111-1111-111111111111", Application: "22222222-2222-2222-2222-222222222222"}
	before := &Principal{Name: "payroll"} // of an earlier snapshot: another pointer
	for name, c := range map[string]struct {
		caller Caller
		at     time.Time
		admit  bool
	}{
		"by its key":                {Caller{Principal: before, Key: foo}, day(2026, 5, 1), true},
		"its key has ended":         {Caller{Principal: before, Key: foo}, day(2027, 5, 1), false},
		"its key is another's now":  {Caller{Principal: before, Key: baz}, day(2026, 5, 1), false},
		"its key is gone":           {Caller{Principal: before, Key: sha256.Sum256([]byte("gone"))}, day(2026, 5, 1), false},
		"by a token, in capitals":   {Caller{Principal: &Principal{Name: "support"}, Entra: entra}, day(2026, 5, 1), true},
		"the token is of another":   {Caller{Principal: before, Entra: entra}, day(2026, 5, 1), false},
		"the application is gone":   {Caller{Principal: &Principal{Name: "support"}, Entra: EntraClient{Tenant: entra.Tenant}}, day(2026, 5, 1), false},
		"a token goes before a key": {Caller{Principal: before, Key: foo, Entra: entra}, day(2026, 5, 1), false},
		"nobody":                    {Caller{}, day(2026, 5, 1), false},
		"nobody with a key":         {Caller{Key: foo}, day(2026, 5, 1), false},
	} {
		p, ok := s.Admits(c.caller, c.at)
		if ok != c.admit || ok && p.Name != c.caller.Name {
			t.Errorf("%s: %+v, %v", name, p, ok)
		}
		if ok && p == c.caller.Principal {
			t.Errorf("%s: the client is not the one of this snapshot", name)
		}
	}
}

func TestTheNextExpiryIsTheSoonestThatIsStillAhead(t *testing.T) {
	s := snapshot(t)
	for after, want := range map[time.Time]time.Time{
		{}:                              day(2026, 7, 1),
		day(2026, 7, 1).Add(-1):         day(2026, 7, 1),
		day(2026, 7, 1):                 day(2027, 1, 1), // it has come
		day(2026, 12, 31):               day(2027, 1, 1),
		day(2027, 1, 1):                 {},
		day(2500, 1, 1):                 {},
		day(2026, 1, 1).Add(time.Hour):  day(2026, 7, 1),
		day(2027, 1, 1).Add(-time.Hour): day(2027, 1, 1),
	} {
		next, ok := s.NextExpiry(after)
		if !next.Equal(want) || ok == want.IsZero() {
			t.Errorf("after %v: %v, %v, want %v", after, next, ok, want)
		}
	}
}

// A law: no client changes its standing between one look and the next expiry
// that the snapshot names.
func TestNothingExpiresBeforeTheNextExpiry(t *testing.T) {
	s := snapshot(t)
	keys := [][32]byte{sha256.Sum256([]byte("foo")), sha256.Sum256([]byte("bar")), sha256.Sum256([]byte("baz"))}
	rapid.Check(t, func(t *rapid.T) {
		now := day(2026, 1, 1).Add(time.Duration(rapid.Int64Range(0, int64(800*24*time.Hour)).Draw(t, "now")))
		next, ok := s.NextExpiry(now)
		if !ok {
			next = day(2100, 1, 1)
		}
		between := now.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(now))-1).Draw(t, "later")))
		for _, key := range keys {
			_, then := s.ClientByKey(key, now)
			if _, later := s.ClientByKey(key, between); then != later {
				t.Fatalf("a key's standing changes between %v and %v, before %v", now, between, next)
			}
		}
		if !ok {
			return
		}
		changed := slices.ContainsFunc(keys, func(key [32]byte) bool {
			_, then := s.ClientByKey(key, now)
			_, at := s.ClientByKey(key, next)
			return then && !at
		})
		if !changed {
			t.Fatalf("nothing expires at %v", next)
		}
	})
}

func TestASnapshotAnswersWhatTheDocumentSays(t *testing.T) {
	s := snapshot(t)
	if s.Serial() != 7 || s.Boundary() != "eu" || !s.DebugHeaders() {
		t.Errorf("serial %d, boundary %s, debug headers %v", s.Serial(), s.Boundary(), s.DebugHeaders())
	}
	if address, ok := s.OtherBoundary("us"); !ok || address != "https://us.example" {
		t.Errorf("the other boundary: %q, %v", address, ok)
	}
	if address, ok := s.OtherBoundary("ch"); ok {
		t.Errorf("a boundary that nobody named: %q", address)
	}
	if s.References() == nil {
		t.Error("nothing is said of external references")
	}
	var names []string
	for p := range s.Principals() {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"payroll", "support"}) {
		t.Errorf("clients %v", names)
	}
	payroll, _ := s.ClientByKey(sha256.Sum256([]byte("foo")), day(2026, 1, 1))
	support, _ := s.ClientByEntra("abcdefab-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
	if !payroll.May("r") || payroll.May("R") || payroll.May("") || support.May("r") {
		t.Errorf("grants: payroll %v, support %v", payroll, support)
	}
	if _, ok := s.Route("nothing"); ok {
		t.Error("a route that nobody named")
	}
	if _, ok := s.Stamp("westeurope"); ok {
		t.Error("a stamp that nobody named")
	}
}
