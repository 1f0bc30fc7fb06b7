package signing

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

var update = flag.Bool("update", false, "write the messages into testdata")

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

func policyClaim() PolicyClaim {
	return PolicyClaim{
		Format: PolicyFormat, Boundary: "eu", Serial: 7, Digest: "abc", Author: "ann", Message: "add france",
		Time: time.Unix(1, 5), Publication: "p1", Publisher: "v1.2.3",
	}
}

func orderClaim() OrderClaim {
	return OrderClaim{
		Format: OrderFormat, ID: "drain-backend-x", Boundary: "eu", Kind: "backend", Name: "x", Action: "drain",
		Reason: "repair", Author: "ann", Created: time.Unix(1, 5), Expires: time.Unix(2, 0),
	}
}

func TestASignatureHoldsForWhatWasSignedAlone(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	v := newVerifier(t, key)
	claim := policyClaim()
	sig := SignPolicy(key, claim)
	if err := v.VerifyPolicy(claim, sig); err != nil {
		t.Error(err)
	}
	bad := bytes.Clone(sig)
	bad[10] ^= 1
	for what, sig := range map[string][]byte{
		"a changed signature": bad, "a short signature": sig[:63], "no signature": nil,
		"a stranger's signature": SignPolicy(stranger, claim),
	} {
		if e, ok := errors.AsType[*SignatureError](v.VerifyPolicy(claim, sig)); !ok || !strings.Contains(e.Error(), "policy 7") {
			t.Errorf("%s: error %v", what, e)
		}
	}
}

// Every field of a claim is signed: one that is changed, and one from which a
// byte moved to its neighbour, does not verify. A field that is added without
// being signed fails here.
func TestEveryFieldIsSigned(t *testing.T) {
	key := newKey(t)
	v := newVerifier(t, key)
	t.Run("policy", func(t *testing.T) {
		sig := SignPolicy(key, policyClaim())
		everyField(t, policyClaim(), func(c PolicyClaim) error { return v.VerifyPolicy(c, sig) })
	})
	t.Run("order", func(t *testing.T) {
		sig := SignOrder(key, orderClaim())
		everyField(t, orderClaim(), func(c OrderClaim) error { return v.VerifyOrder(c, sig) })
	})
}

func everyField[C any](t *testing.T, good C, verify func(C) error) {
	t.Helper()
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[C]()
	var texts []int // fields that are text
	for i := range typ.NumField() {
		changed := good
		switch f := reflect.ValueOf(&changed).Elem().Field(i); f.Kind() {
		case reflect.String:
			texts = append(texts, i)
			f.SetString(f.String() + "x")
		case reflect.Int:
			f.SetInt(f.Int() + 1)
		case reflect.Uint64:
			f.SetUint(f.Uint() + 1)
		default:
			at, ok := reflect.TypeAssert[time.Time](f)
			if !ok {
				t.Fatalf("%s: a field of a kind that this test does not know", typ.Field(i).Name)
			}
			f.Set(reflect.ValueOf(at.Add(1)))
		}
		if verify(changed) == nil {
			t.Errorf("%s can be changed", typ.Field(i).Name)
		}
	}
	for n := range len(texts) - 1 {
		moved := good
		v := reflect.ValueOf(&moved).Elem()
		from, to := v.Field(texts[n]), v.Field(texts[n+1])
		text := from.String()
		from.SetString(text[:len(text)-1])
		to.SetString(text[len(text)-1:] + to.String())
		if verify(moved) == nil {
			t.Errorf("a byte can move from %s to %s", typ.Field(texts[n]).Name, typ.Field(texts[n+1]).Name)
		}
	}
}

// A format that is not known is refused by its number, whoever signed it.
func TestAnUnknownFormatIsRefused(t *testing.T) {
	key := newKey(t)
	v := newVerifier(t, key)
	for _, format := range []int{0, 2, -1} {
		p, o := policyClaim(), orderClaim()
		p.Format, o.Format = format, format
		for what, err := range map[string]error{
			"policy": v.VerifyPolicy(p, SignPolicy(key, p)), "order": v.VerifyOrder(o, SignOrder(key, o)),
		} {
			e, ok := errors.AsType[*FormatError](err)
			if !ok || e.Format != format || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "upgrade") {
				t.Errorf("%s of format %d: %v", what, format, err)
			}
		}
	}
}

// What is signed for fixed fields: a change here makes every
// signature that was ever given worthless, and needs a new format number.
func TestTheSignedMessagesNeverChange(t *testing.T) {
	for name, m := range map[string][]byte{"policy": policyClaim().message(), "order": orderClaim().message()} {
		golden := "testdata/" + name + "-message.hex"
		got := hex.Dump(m)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(want) != got {
			t.Errorf("the message of a %s changed (-update writes it, with a new format number): %v\n%s", name, err, got)
		}
	}
}

func TestSeveralKeysAreTrustedDuringARotation(t *testing.T) {
	old, next := newKey(t), newKey(t)
	v := newVerifier(t, old, next)
	for _, key := range []PrivateKey{old, next} {
		if err := v.VerifyPolicy(policyClaim(), SignPolicy(key, policyClaim())); err != nil {
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
	sig := SignOrder(key, orderClaim())
	elsewhere := orderClaim()
	elsewhere.Created = elsewhere.Created.In(time.FixedZone("x", 3600))
	if err := v.VerifyOrder(elsewhere, sig); err != nil {
		t.Errorf("in another time zone: %v", err)
	}
	if v.VerifyPolicy(policyClaim(), sig) == nil {
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
	f.Add("eu", uint64(7), "abc", SignPolicy(newKey(f), policyClaim()))
	f.Add("", uint64(0), "", []byte{})
	f.Fuzz(func(t *testing.T, boundary string, serial uint64, digest string, signature []byte) {
		claim := PolicyClaim{Format: PolicyFormat, Boundary: geo.Boundary(boundary), Serial: serial, Digest: digest}
		if v.VerifyPolicy(claim, signature) == nil {
			t.Error("a signature passes that the key did not make")
		}
	})
}
