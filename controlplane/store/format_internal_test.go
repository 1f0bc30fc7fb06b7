package store

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
)

var update = flag.Bool("update", false, "write the values of testdata/v1 anew; never after the release that wrote them")

// The values that the first release stored in etcd, with every field set.
// testdata/v1 holds them, and is never changed: each release reads them.
func stored() (Envelope, Order, Presence, []byte) {
	document := []byte("# Kept as it was written.\nboundary: eu\n")
	at := time.Date(2026, 11, 25, 12, 0, 0, 5, time.UTC)
	e, err := NewEnvelope("eu", 7, document)
	if err != nil {
		panic(err)
	}
	e.Author, e.Message, e.Time, e.Publication, e.Publisher = "ann", "why", at, "p1", "v1.0.0"
	o := NewDrain("eu", BackendOrder, "swc", time.Hour)
	o.Reason, o.Author, o.Created, o.Expires = "repair", "ann", at, at.Add(time.Hour)
	p := Presence{
		Format: PresenceFormat, Gateway: "gw-1", Region: "swedencentral", Version: "v1.0.0", AppliedSerial: 7, AppliedDigest: e.Digest,
		RefusedSerial: 8, RefusedReason: "signature", HighestSerial: 9, Unkept: "the disk is full", Health: "warn", Draining: true,
		Started: at, URL: "https://gw-1:8443", AdminURL: "https://gw-1:9443",
	}
	return e, o, p, document
}

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func trusted(t *testing.T) *signing.Verifier {
	t.Helper()
	key, err := signing.ParsePublicKey(strings.TrimSpace(string(fixture(t, "trusted-key"))))
	if err != nil {
		t.Fatal(err)
	}
	v, err := signing.NewVerifier([]signing.PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatTheFirstReleaseStoredIsRead(t *testing.T) {
	env, order, presence, document := stored()
	if *update {
		writeStored(t, env, order, presence)
	}
	trust := trusted(t)
	gotEnv, err := decodeEnvelope("k", fixture(t, "envelope.json"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := gotEnv.OpenVerified("eu", trust); err != nil || string(text) != string(document) {
		t.Errorf("the envelope opens to %q, %v", text, err)
	}
	gotOrder, err := decodeOrder("eu", keysOf("eu").order(order.ID), fixture(t, "order.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := gotOrder.Verify(trust); err != nil {
		t.Error(err)
	}
	var gotPresence Presence
	if err := json.Unmarshal(fixture(t, "presence.json"), &gotPresence); err != nil {
		t.Fatal(err)
	}
	env.Format, env.Signature, env.Document = gotEnv.Format, gotEnv.Signature, gotEnv.Document // made elsewhere, and checked above
	order.Format, order.Signature = gotOrder.Format, gotOrder.Signature
	if !reflect.DeepEqual(gotEnv, env) {
		t.Errorf("envelope %+v\nwant %+v", gotEnv, env)
	}
	if !reflect.DeepEqual(gotOrder, order) {
		t.Errorf("order %+v\nwant %+v", gotOrder, order)
	}
	if gotPresence != presence {
		t.Errorf("presence %+v\nwant %+v", gotPresence, presence)
	}
}

// Fields of a newer writer of the same format are ignored: they are not signed, so
// they can mean nothing that matters. Another format is not guessed at, whoever
// signed it, and of what was damaged it is told apart.
func TestUnknownFieldsAreIgnoredAndUnknownFormatsRefused(t *testing.T) {
	trust := trusted(t)
	orderKey := keysOf("eu").order("drain-backend-swc")
	with := func(name, from, to string) []byte {
		text := string(fixture(t, name))
		if !strings.Contains(text, from) {
			t.Fatalf("%s does not hold %s", name, from)
		}
		return []byte(strings.Replace(text, from, to, 1))
	}
	const format, more, next = `"format":1`, `"novelty":{"everywhere":true},"format":1`, `"format":2`
	if e, err := decodeEnvelope("k", with("envelope.json", format, more)); err != nil || e.Verify(trust) != nil {
		t.Errorf("an envelope with one more field: %v, %v", err, e.Verify(trust))
	}
	if o, err := decodeOrder("eu", orderKey, with("order.json", format, more)); err != nil || o.Verify(trust) != nil {
		t.Errorf("an order with one more field: %v, %v", err, o.Verify(trust))
	}
	e, err := decodeEnvelope("k", with("envelope.json", format, next))
	if f, ok := errors.AsType[*signing.FormatError](err); !ok || f.Format != 2 || e.Serial != 7 {
		t.Errorf("an envelope of another format: serial %d, %v", e.Serial, err)
	}
	_, err = decodeOrder("eu", orderKey, with("order.json", format, next))
	if f, ok := errors.AsType[*signing.FormatError](err); !ok || f.Format != 2 {
		t.Errorf("an order of another format: %v", err)
	}
}

// Every field of what is stored is signed, but for what the signature cannot cover:
// a new field that is not added to the claim fails here.
func TestEveryStoredFieldIsSigned(t *testing.T) {
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	v, err := signing.NewVerifier([]signing.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	env, order, _, _ := stored()
	env.Sign(key)
	order.Sign(key)
	changed(t, env, func(e Envelope) error { _, err := e.OpenVerified("eu", v); return err }, "Note")
	changed(t, order, func(o Order) error { return o.Verify(v) }, "")
}

// changed changes one field after the other and wants an error each time.
func changed[V any](t *testing.T, good V, verify func(V) error, unsigned string) {
	t.Helper()
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[V]()
	for i := range typ.NumField() {
		bad := good
		switch f := reflect.ValueOf(&bad).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Int:
			f.SetInt(f.Int() + 1)
		case reflect.Uint64:
			f.SetUint(f.Uint() + 1)
		case reflect.Slice:
			f.SetBytes(append([]byte{1}, f.Bytes()...))
		default:
			at, ok := reflect.TypeAssert[time.Time](f)
			if !ok {
				t.Fatalf("%s: a field of a kind that this test does not know", typ.Field(i).Name)
			}
			f.Set(reflect.ValueOf(at.Add(1)))
		}
		if err := verify(bad); (err == nil) != (typ.Field(i).Name == unsigned) {
			t.Errorf("%s changed: %v", typ.Field(i).Name, err)
		}
	}
}

func writeStored(t *testing.T, env Envelope, order Order, presence Presence) {
	t.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	env.Sign(key)
	order.Sign(key)
	dir := filepath.Join("testdata", "v1")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"envelope.json": env, "order.json": order, "presence.json": presence} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "trusted-key"), []byte(key.Public().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A document is stored as it was written, comments and all, under the digest of
// exactly these bytes: sha256sum of the file shows it.
func TestADocumentIsStoredAsItWasWritten(t *testing.T) {
	source, err := os.ReadFile("../policy/testdata/valid/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env, err := NewEnvelope("eu-1", 1, source)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := env.Open(policy.MaxRawBytes); err != nil || string(text) != string(source) || env.Digest != signing.Digest(source) {
		t.Errorf("it comes back changed: %v", err)
	}
}
