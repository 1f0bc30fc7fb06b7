package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/geo"
)

func testTime() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func mustKey(t testing.TB, boundary geo.Boundary) string {
	t.Helper()
	key, err := NewKey(boundary)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// snapshot compiles a policy of boundary eu with two clients; the second one's
// key ends at testTime.
func snapshot(t testing.TB, first, second string) *policy.Snapshot {
	t.Helper()
	sum := func(key string) string {
		s := sha256.Sum256([]byte(key))
		return hex.EncodeToString(s[:])
	}
	doc, err := policy.Decode(fmt.Appendf(nil, `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - name: swc
    region: swedencentral
    endpoint: https://swc.openai.azure.com
    credential: {managedIdentity: {}}
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: Standard}]
routes: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20"}]
clients:
  - {name: first, keys: [{sha256: %s}], routes: [gpt-4o]}
  - {name: second, keys: [{sha256: %s, notAfter: %s}], routes: [gpt-4o]}
`, sum(first), sum(second), testTime().Format(time.RFC3339)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func header(pairs ...string) message.Header {
	var h message.Header
	for i := 0; i < len(pairs); i += 2 {
		h = h.Add(http.CanonicalHeaderKey(pairs[i]), pairs[i+1])
	}
	return h
}

// authenticate is what a gateway of boundary eu does without tokens.
func authenticate(h message.Header, s *policy.Snapshot, now time.Time) (policy.Caller, error) {
	return Authenticator{Own: "eu"}.Authenticate(context.Background(), h, s, now)
}

// Rows 3, 6 and 8 of the table of hostile input, and the plain cases.
func TestAuthenticate(t *testing.T) {
	first, second, unknown, foreign := mustKey(t, "eu"), mustKey(t, "eu"), mustKey(t, "eu"), mustKey(t, "us")
	s := snapshot(t, first, second)
	sum := sha256.Sum256([]byte(first))
	hash := hex.EncodeToString(sum[:])
	tests := []struct {
		why  string
		h    message.Header
		want string // a client's name
		kind Kind
	}{
		{"a key as api-key", header("api-key", first), "first", 0},
		{"a key as bearer", header("Authorization", "Bearer "+first), "first", 0},
		{"the scheme's case does not matter", header("Authorization", "bEARER "+first), "first", 0},
		{"the same key twice over, as some SDKs send it", header("api-key", first, "Authorization", "Bearer "+first), "first", 0},
		{"the other client", header("api-key", second), "second", 0},

		{"nothing", header(), "", Missing},
		{"other headers are not looked at", header("X-Api-Key", first, "Api_key", first, "X-User", "first", "Cookie", "api-key="+first, "Host", first), "", Missing},

		{"unknown", header("api-key", unknown), "", Bad},
		{"empty", header("api-key", ""), "", Bad},
		{"an empty bearer", header("Authorization", "Bearer "), "", Bad},
		{"no scheme", header("Authorization", first), "", Bad},
		{"another scheme", header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("a:"+first))), "", Bad},
		{"two spaces", header("Authorization", "Bearer  "+first), "", Bad},
		{"cut by one", header("api-key", first[:len(first)-1]), "", Bad},
		{"longer by one", header("api-key", first+"a"), "", Bad},
		{"one letter's case", header("api-key", swapCase(first)), "", Bad},
		{"SQL", header("Authorization", "Bearer ' OR 1=1 --"), "", Bad},
		{"SQL behind a key", header("api-key", first+"' OR '1'='1"), "", Bad},
		{"LDAP", header("api-key", "*)(uid=*))(|(uid=*"), "", Bad},
		{"10 kB", header("api-key", strings.Repeat("A", 10<<10)), "", Bad},
		{"1 MB", header("Authorization", "Bearer "+strings.Repeat("A", 1<<20)), "", Bad},
		{"binary", header("api-key", "\x00\xff\xfe\x80"), "", Bad},
		{"the stored hash", header("api-key", hash), "", Bad},
		{"the stored hash as bearer", header("Authorization", "Bearer "+hash), "", Bad},
		{"the stored hash in the form of a key", header("api-key", "sg_eu_"+hash[:43]), "", Bad},

		{"a good key and another scheme", header("api-key", first, "Authorization", "Basic eDp5"), "", Ambiguous},
		{"a bad key and a good bearer", header("api-key", unknown, "Authorization", "Bearer "+first), "", Ambiguous},
		{"a good key and a bad bearer", header("api-key", first, "Authorization", "Bearer "+unknown), "", Ambiguous},
		{"two clients' keys", header("api-key", first, "Authorization", "Bearer "+second), "", Ambiguous},
		{"two lines of one header", header("api-key", first, "api-key", first), "", Ambiguous},
		{"two bearers", header("Authorization", "Bearer "+first, "Authorization", "Bearer "+second), "", Ambiguous},
		{"an empty key and a good bearer", header("api-key", "", "Authorization", "Bearer "+first), "", Ambiguous},
		{"a token without a verifier", header("Authorization", "Bearer aaa.bbb.ccc"), "", Bad},

		{"a key of another boundary", header("api-key", foreign), "", WrongBoundary},
		{"a bearer of another boundary", header("Authorization", "Bearer "+foreign), "", WrongBoundary},
		{"a foreign key and a good one", header("api-key", foreign, "Authorization", "Bearer "+first), "", Ambiguous},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			p, err := authenticate(tt.h, s, testTime().Add(-time.Nanosecond))
			if tt.kind == 0 {
				if err != nil || p.Principal == nil || p.Name != tt.want {
					t.Fatalf("got %v, %v", p, err)
				}
				return
			}
			wantKind(t, p, err, tt.kind)
		})
	}
}

func swapCase(key string) string {
	for i := len(key) - 1; ; i-- {
		if c := key[i]; c|0x20 >= 'a' {
			return key[:i] + string(c^0x20) + key[i+1:]
		}
	}
}

func wantKind(t testing.TB, p policy.Caller, err error, kind Kind) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if p.Principal != nil || !ok || e.Kind != kind {
		t.Fatalf("got %v, %v, want kind %d", p, err, kind)
	}
}

func TestAKeyEndsAtItsNotAfter(t *testing.T) {
	second := mustKey(t, "eu")
	s := snapshot(t, mustKey(t, "eu"), second)
	p, err := authenticate(header("api-key", second), s, testTime())
	wantKind(t, p, err, Bad)
}

// Missing and bad read the same; two credentials are told as such; and no text repeats what was
// presented.
func TestRefusalsTellNothing(t *testing.T) {
	if (&Error{Kind: Missing}).Error() != (&Error{Kind: Bad}).Error() {
		t.Error("a missing and a bad credential can be told apart")
	}
	if text := (&Error{Kind: Ambiguous}).Error(); !strings.Contains(text, "two different credentials") {
		t.Errorf("two credentials are refused with %q, which does not say so", text)
	}
	first, foreign := mustKey(t, "eu"), mustKey(t, "us")
	s := snapshot(t, first, mustKey(t, "eu"))
	for _, h := range []message.Header{header("api-key", foreign), header("api-key", first+"x"), header("Authorization", "Basic canary")} {
		_, err := authenticate(h, s, testTime())
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		for _, f := range h {
			if len(f.Value) > 5 && strings.Contains(text, f.Value[5:]) {
				t.Errorf("%s repeats the credential", text)
			}
		}
	}
}

// A caller stays who it is under a later policy only if its own key, or its own
// application, still admits it there.
func TestACallerStandsByItsOwnProof(t *testing.T) {
	first, second := mustKey(t, "eu"), mustKey(t, "eu")
	before := testTime().Add(-time.Hour)
	a, err := authenticate(header("api-key", second), snapshot(t, first, second), before)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		s    *policy.Snapshot
		now  time.Time
		want bool
	}{
		"the same policy again":       {snapshot(t, first, second), before, true},
		"its key was replaced":        {snapshot(t, first, mustKey(t, "eu")), before, false},
		"its key is another client's": {snapshot(t, second, first), before, false},
		"its key's time has passed":   {snapshot(t, first, second), testTime(), false},
	} {
		if _, got := tt.s.Admits(a, tt.now); got != tt.want {
			t.Errorf("%s: admitted %v", name, got)
		}
	}
	if _, ok := snapshot(t, first, second).Admits(policy.Caller{}, before); ok {
		t.Error("nobody is admitted")
	}
}

func TestForeignKeysNeedNoPolicy(t *testing.T) {
	p, err := authenticate(header("api-key", mustKey(t, "us")), nil, testTime())
	wantKind(t, p, err, WrongBoundary)
	p, err = authenticate(header("api-key", mustKey(t, "eu")), nil, testTime())
	wantKind(t, p, err, Bad)
}

// verifier knows one token.
type verifier struct {
	good  string
	asked []string
}

func (v *verifier) Verify(_ context.Context, token string, s *policy.Snapshot, _ time.Time) (policy.Caller, error) {
	v.asked = append(v.asked, token)
	if token != v.good {
		return policy.Caller{}, nil // worse than an error: neither
	}
	for p := range s.Principals() {
		return policy.Caller{Principal: p}, nil
	}
	return policy.Caller{}, errors.New("no client")
}

func TestTokensGoToTheVerifier(t *testing.T) {
	s := snapshot(t, mustKey(t, "eu"), mustKey(t, "eu"))
	v := &verifier{good: "aaa.bbb.ccc"}
	a := Authenticator{Own: "eu", Tokens: v}
	p, err := a.Authenticate(t.Context(), header("Authorization", "Bearer aaa.bbb.ccc"), s, testTime())
	if err != nil || p.Name != "first" {
		t.Fatalf("got %v, %v", p, err)
	}
	// Tokens of the same beginning are different tokens.
	p, err = a.Authenticate(t.Context(), header("Authorization", "Bearer aaa.bbb.ccd"), s, testTime())
	wantKind(t, p, err, Bad)
	asked := len(v.asked)
	for _, h := range []message.Header{
		header("api-key", "aaa.bbb.ccc"),                      // a token is not a key
		header("Authorization", "Bearer aaa.bbb"),             // two parts
		header("Authorization", "Bearer aaa.bbb.ccc.ddd.eee"), // encrypted
		header("Authorization", "Bearer aaa..ccc"),
		header("Authorization", "Bearer a\x00a.bbb.ccc"),
		header("Authorization", "Bearer aaa.bbb.ccc=="),
		header("Authorization", "Bearer "+strings.Repeat("a", maxToken)+".b.c"),
	} {
		p, err := a.Authenticate(t.Context(), h, s, testTime())
		wantKind(t, p, err, Bad)
	}
	p, err = a.Authenticate(t.Context(), header("Authorization", "Bearer aaa.bbb.ccc", "api-key", "x"), s, testTime())
	wantKind(t, p, err, Ambiguous)
	if len(v.asked) != asked {
		t.Errorf("the verifier was asked about %q", v.asked[asked:])
	}
}

func TestKeysNameTheirBoundary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		boundary := geo.Boundary(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?`).Draw(rt, "boundary"))
		key, err := NewKey(boundary)
		if err != nil {
			rt.Fatal(err)
		}
		if got, ok := ParseKey(key); !ok || got != boundary {
			rt.Fatalf("%q parses as %q, %v", key, got, ok)
		}
		again, _ := NewKey(boundary)
		if again == key {
			rt.Fatal("two keys are the same")
		}
	})
	for _, bad := range []geo.Boundary{"", "EU", "e u", "e_u", "-eu", "eu-", "e/u", geo.Boundary(strings.Repeat("e", 64))} {
		if key, err := NewKey(bad); err == nil {
			t.Errorf("made %q", key)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("sg_eu_" + strings.Repeat("a", 43))
	f.Add("sg__" + strings.Repeat("a", 43))
	f.Add("sg_eu" + strings.Repeat("_", 44))
	f.Fuzz(func(t *testing.T, key string) {
		boundary, ok := ParseKey(key)
		if !ok {
			if boundary != "" {
				t.Fatalf("%q: %q without ok", key, boundary)
			}
			return
		}
		prefix := "sg_" + string(boundary) + "_"
		if !strings.HasPrefix(key, prefix) || len(key) != len(prefix)+43 || strings.ContainsAny(string(boundary), "_ABC\x00 ") {
			t.Fatalf("%q parses as %q", key, boundary)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	key := mustKey(b, "eu")
	s := snapshot(b, key, mustKey(b, "eu"))
	h, now := header("api-key", key), testTime()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := authenticate(h, s, now); err != nil {
			b.Fatal(err)
		}
	}
}
