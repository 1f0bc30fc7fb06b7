package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

func newKey(t testing.TB) PrivateKey {
	t.Helper()
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newVerifier(t testing.TB, keys ...PrivateKey) *Verifier {
	t.Helper()
	var public []PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	v, err := NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASignatureHoldsForWhatWasSignedAlone(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	v := newVerifier(t, key)
	sig := Sign(key, "eu", 7, "abc")
	if err := v.Verify("eu", 7, "abc", sig); err != nil {
		t.Error(err)
	}
	bad := bytes.Clone(sig)
	bad[10] ^= 1
	for what, err := range map[string]error{
		"another boundary": v.Verify("us", 7, "abc", sig), "another serial": v.Verify("eu", 8, "abc", sig),
		"another digest": v.Verify("eu", 7, "abd", sig), "a changed signature": v.Verify("eu", 7, "abc", bad),
		"a short signature": v.Verify("eu", 7, "abc", sig[:63]), "no signature": v.Verify("eu", 7, "abc", nil),
		"a stranger's signature": v.Verify("eu", 7, "abc", Sign(stranger, "eu", 7, "abc")),
	} {
		if e, ok := errors.AsType[*SignatureError](err); !ok || !strings.Contains(e.Error(), "policy") {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

func TestSeveralKeysAreTrustedDuringARotation(t *testing.T) {
	old, next := newKey(t), newKey(t)
	v := newVerifier(t, old, next)
	for _, key := range []PrivateKey{old, next} {
		if err := v.Verify("eu", 1, "d", Sign(key, "eu", 1, "d")); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewVerifier(nil); err == nil {
		t.Error("a verifier that trusts nobody")
	}
	if _, err := NewVerifier([]PublicKey{{}}); err == nil {
		t.Error("a verifier that trusts the empty key")
	}
}

// Two different lists of fields never give the same message, also where their
// concatenation is the same.
func TestMessagesCannotBeConfused(t *testing.T) {
	fields := rapid.SliceOfN(rapid.StringN(0, 4, 6), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		if bytes.Equal(message(a...), message(b...)) != same {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func TestAnOrderIsNoPolicy(t *testing.T) {
	key := newKey(t)
	v := newVerifier(t, key)
	claim := OrderClaim{ID: "x", Boundary: "eu", Kind: "backend", Created: time.Unix(1, 5), Expires: time.Unix(2, 0)}
	sig := SignOrder(key, claim)
	if err := v.VerifyOrder(claim, sig); err != nil {
		t.Error(err)
	}
	claim.Created = claim.Created.In(time.FixedZone("x", 3600))
	if err := v.VerifyOrder(claim, sig); err != nil {
		t.Errorf("in another time zone: %v", err)
	}
	claim.Expires = claim.Expires.Add(1)
	if v.VerifyOrder(claim, sig) == nil {
		t.Error("an order that lasts a nanosecond longer verifies")
	}
	if v.Verify("eu", 1, "x", sig) == nil {
		t.Error("an order's signature passes for a policy's")
	}
}

func TestAPrivateKeyNeverPrints(t *testing.T) {
	key := newKey(t)
	type holder struct {
		Open   PrivateKey
		closed PrivateKey
	}
	h := holder{key, key}
	var log bytes.Buffer
	l := zerolog.New(&log)
	l.Info().Interface("key", key).Interface("holder", h).Str("as", fmt.Sprint(h)).Msg("x")
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString(log.String() + string(j))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c"} {
		text.WriteString(fmt.Sprintf(verb, key) + fmt.Sprintf(verb, h) + fmt.Sprintf(verb, []PrivateKey{key}))
	}
	seed := key.value()[:8]
	for _, form := range []string{"%d", "%x", "%X", "%v", "%#v", "%o"} {
		shown := strings.Trim(fmt.Sprintf(form, []byte(seed)), "[]")
		shown = strings.TrimSuffix(strings.TrimPrefix(shown, "[]byte{"), "}")
		if strings.Contains(text.String(), shown) {
			t.Errorf("the key shows as %s", form)
		}
	}
	_ = h.closed
}

func TestTheKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	keys := make([]PublicKey, 20)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := LoadOrCreateKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key.Public()
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == (PublicKey{}) {
			t.Fatal("processes that start at once do not agree on one key")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%d files are left, want the key alone: %v", len(left), err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKey(path); err == nil || !strings.Contains(err.Error(), "others may read it") {
			t.Errorf("mode %o: error %v", mode, err)
		}
	}
}

func TestAKeyFileThatIsNoneIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "rubbish": "rubbish", "other pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"no key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKey(path); err == nil {
			t.Errorf("%s was taken for a key", name)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%s was changed", name)
		}
	}
	if _, err := LoadOrCreateKey(dir); err == nil {
		t.Error("a directory was taken for a key")
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(newKey(f).Public().String())
	f.Add("ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add("ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=")
	f.Add("ed25519:\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePublicKey(s)
		if err != nil {
			if k != (PublicKey{}) {
				t.Error("a key beside an error")
			}
			return
		}
		if k.String() != s {
			t.Errorf("%q comes back as %q: one key has two spellings", s, k)
		}
		var again PublicKey
		if err := again.UnmarshalText([]byte(s)); err != nil || again != k {
			t.Errorf("UnmarshalText: %v", err)
		}
	})
}

func FuzzVerifyNeverPasses(f *testing.F) {
	key := newKey(f)
	v := newVerifier(f, key)
	f.Add("eu", uint64(1), "d", Sign(newKey(f), "eu", 1, "d"))
	f.Add("", uint64(0), "", []byte{})
	f.Fuzz(func(t *testing.T, boundary string, serial uint64, digest string, signature []byte) {
		if v.Verify(geo.Boundary(boundary), serial, digest, signature) == nil {
			t.Error("a signature passes that the key did not make")
		}
	})
}
