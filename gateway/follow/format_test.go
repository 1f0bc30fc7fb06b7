package follow_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/geo"
)

var update = flag.Bool("update", false, "write the files of testdata/v1 anew; never after the release that wrote them")

// What a newer control plane publishes and this gateway does not know is refused
// whole: part of it could be wider than meant. The last good policy stays, now and
// after a restart without etcd, and the reason says what to upgrade to.
func TestWhatOnlyANewerVersionKnowsIsRefusedAndSaysSo(t *testing.T) {
	p := newPublisher(t)
	published := func(version, source string) store.Envelope {
		e := p.envelope("eu", 6, source)
		e.Publisher = version
		e.Sign(p.key)
		return e
	}
	newer := published("v9.9.9", document)
	newer.Format = signing.PolicyFormat + 1
	for name, tt := range map[string]struct {
		env  store.Envelope
		want []string
	}{
		"a new field":               {published("v9.9.9", document+"novelty: {everywhere: true}\n"), []string{"v9.9.9", "novelty: is an unknown field", "upgraded"}},
		"a new value":               {published("v9.9.9", document+"onModelMismatch: ponder\n"), []string{"v9.9.9", "onModelMismatch", "upgraded"}},
		"a new format of documents": {published("v9.9.9", document+"format: 2\n"), []string{"v9.9.9", "format: 2 is not known", "upgraded"}},
		"a new format of envelopes": {newer, []string{"v9.9.9", "format 2", "upgrade"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFollower(p, dir)
			f.Policy(p.envelope("eu", 5, document))
			f.Policy(tt.env)
			s := f.State()
			if s.AppliedSerial != 5 || s.RefusedSerial != 6 || f.Snapshot().Serial() != 5 {
				t.Errorf("in force is %d, refused %d", s.AppliedSerial, s.RefusedSerial)
			}
			for _, want := range tt.want {
				if !strings.Contains(s.RefusedReason, want) {
					t.Errorf("the reason is %q, want %q in it", s.RefusedReason, want)
				}
			}
			again := newFollower(p, dir)
			if err := again.Load(); err != nil || again.Snapshot().Serial() != 5 {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

// A version that would not publish a policy any more still follows it, from etcd and
// from disk: P3 holds across an upgrade.
func TestP3AStricterVersionStartsFromYesterdaysPolicy(t *testing.T) {
	odd := strings.Replace(document, "routes: [{", "routes: [{earlyHead: 10m, ", 1)
	if v, _, err := policy.Judge([]byte(odd), policy.Options{}); err != nil || v.Valid {
		t.Fatalf("the document would be published, so that this shows nothing: %+v, %v", v, err)
	}
	p, dir := newPublisher(t), t.TempDir()
	newFollower(p, dir).Policy(p.envelope("eu", 5, odd))
	f := newFollower(p, dir)
	if err := f.Load(); err != nil || f.Snapshot() == nil || !f.State().FromDisk {
		t.Errorf("it does not start: %v", err)
	}
}

// A cache of another format is not guessed at.
func TestACacheOfAnotherFormatIsNotUsed(t *testing.T) {
	p, dir := newPublisher(t), t.TempDir()
	newFollower(p, dir).Policy(p.envelope("eu", 5, document))
	path := filepath.Join(dir, "policy.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"format":1`, `"format":2`, 1)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFollower(p, dir)
	err = f.Load()
	if e, ok := errors.AsType[*signing.FormatError](err); !ok || e.Format != 2 || f.Snapshot() != nil {
		t.Errorf("Load = %v", err)
	}
}

// Every release starts from what an earlier one left in cacheDir: testdata/v1 was
// written by the first, with a policy that uses every field and one with all that
// is unwise, and is never changed. If a new rule of validation fails here, make it
// one that holds for what is to be published alone (policy's check.later).
func TestTheCacheOfTheFirstReleaseIsRead(t *testing.T) {
	for _, name := range []string{"everything", "unwise"} {
		t.Run(name, func(t *testing.T) {
			fixture := filepath.Join("testdata", "v1", name)
			if *update {
				writeFixture(t, fixture, name)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(fixture)); err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(filepath.Join(fixture, "trusted-key"))
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := signing.ParsePublicKey(strings.TrimSpace(string(key)))
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := signing.NewVerifier([]signing.PublicKey{trusted})
			if err != nil {
				t.Fatal(err)
			}
			cfg := follow.Config{Local: residencyOf(t, dir), Verifier: verifier, CacheDir: dir, Log: zerolog.Nop()}
			f := follow.New(cfg)
			if err := f.Load(); err != nil {
				t.Fatal(err)
			}
			s := f.State()
			if s.AppliedSerial != 7 || s.SeenSerial != 7 || len(s.Orders) != 1 || s.Orders[0].Name != "swc" || s.Unkept != "" {
				t.Errorf("state %+v", s)
			}
			forged := store.NewDrain(cfg.Local.Boundary, store.BackendOrder, "other", time.Hour)
			f.Orders([]store.Order{s.Orders[0], forged})
			if n := len(f.State().Orders); n != 1 {
				t.Errorf("%d orders in force, want the signed one", n)
			}
		})
	}
}

// residencyOf is what the cached policy needs of the gateway's own configuration.
func residencyOf(t *testing.T, dir string) geo.Residency {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Value store.Envelope }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	source, err := file.Value.Open(policy.MaxRawBytes)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := policy.Decode(source)
	if err != nil {
		t.Fatal(err)
	}
	return geo.Residency{
		Boundary: doc.Boundary, Countries: doc.Residency.Countries, Processing: doc.Residency.Processing,
		RegionalProcessing: doc.Residency.RegionalProcessing,
	}
}

// writeFixture has a follower leave a cache behind, as a gateway does.
func writeFixture(t *testing.T, fixture, name string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("../../controlplane/policy/testdata/valid", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, dir := newPublisher(t), t.TempDir()
	doc, err := policy.Decode(source)
	if err != nil {
		t.Fatal(err)
	}
	f := follow.New(follow.Config{
		Local: geo.Residency{
			Boundary: doc.Boundary, Countries: doc.Residency.Countries, Processing: doc.Residency.Processing,
			RegionalProcessing: doc.Residency.RegionalProcessing,
		},
		Verifier: p.verifier(), CacheDir: dir, Log: zerolog.Nop(),
	})
	e := p.envelope(doc.Boundary, 7, string(source))
	e.Author, e.Message, e.Time = "ann", "as released", time.Date(2026, 11, 25, 12, 0, 0, 5, time.UTC)
	e.Publication, e.Publisher = store.NewID(), "v1.0.0"
	e.Sign(p.key)
	f.Policy(e)
	o := store.NewDrain(doc.Boundary, store.BackendOrder, "swc", time.Hour)
	o.Expires = time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)
	o.Sign(p.key)
	f.Orders([]store.Order{o})
	if s := f.State(); s.AppliedSerial != 7 || len(s.Orders) != 1 {
		t.Fatalf("state %+v", s)
	}
	if err := os.MkdirAll(fixture, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"policy.json", "orders.json", "highest-serial"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(fixture, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(fixture, "trusted-key"), []byte(p.key.Public().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
