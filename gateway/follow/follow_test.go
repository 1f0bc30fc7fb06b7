package follow_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/geo"
)

const document = `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - name: a
    region: swedencentral
    endpoint: https://a.openai.azure.com
    credential: {apiKeyEnv: A_KEY}
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: Standard}]
routes: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20"}]
`

// publisher signs policies as a control plane does.
type publisher struct {
	t   *testing.T
	key signing.PrivateKey
}

func newPublisher(t *testing.T) publisher {
	t.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return publisher{t, key}
}

func (p publisher) verifier() *signing.Verifier {
	p.t.Helper()
	v, err := signing.NewVerifier([]signing.PublicKey{p.key.Public()})
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p publisher) envelope(boundary geo.Boundary, serial uint64, source string) store.Envelope {
	p.t.Helper()
	e, err := store.NewEnvelope(boundary, serial, []byte(source))
	if err != nil {
		p.t.Fatal(err)
	}
	e.Sign(p.key)
	return e
}

func newFollower(p publisher, dir string) *follow.Follower {
	return follow.New(follow.Config{
		Local:    geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "IE"}},
		Verifier: p.verifier(), CacheDir: dir, Log: zerolog.Nop(),
	})
}

// P2: a bad, stale or forged policy never widens anything, and the last good
// one stays in force.
func TestP2RefusesWhatMayNotBeFollowed(t *testing.T) {
	p, foreign := newPublisher(t), newPublisher(t)
	good := p.envelope("eu", 5, document)
	tampered := p.envelope("eu", 6, document)
	tampered.Document = p.envelope("eu", 6, strings.Replace(document, "a.openai", "b.openai", 1)).Document
	renumbered := p.envelope("eu", 6, document)
	renumbered.Serial = 7
	for _, tt := range []struct {
		name string
		env  store.Envelope
		want string // in the reason
	}{
		{"a document that is not the signed one", tampered, "digest"},
		{"a serial that is not the signed one", renumbered, "signature"},
		{"a key that is not trusted", foreign.envelope("eu", 6, document), "signature"},
		{"another boundary", p.envelope("us", 6, document), "boundary"},
		{"an older serial", p.envelope("eu", 4, document), "not above 5"},
		{"the same serial with other content", p.envelope("eu", 5, strings.Replace(document, "name: a", "name: b", 1)), "not above 5"},
		{"a document that does not compile", p.envelope("eu", 6, strings.Replace(document, "sku: Standard", "sku: GlobalStandard", 1)), "any region of the world"},
		{"a document that does not decode", p.envelope("eu", 6, "boundary: eu\nnonsense: 1\n"), "nonsense"},
		// Signed and inside its own countries, but beyond this gateway's.
		{"countries beyond the local ones", p.envelope("eu", 6, strings.Replace(document, "[SE]", "[SE, US]", 1)), "US"},
		{"processing beyond the local", p.envelope("eu", 6, strings.Replace(document, "[SE]", "[SE], processing: at-rest", 1)), "processing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFollower(p, t.TempDir())
			f.Policy(good)
			before := f.Snapshot()
			if before == nil {
				t.Fatalf("the good policy was refused: %s", f.State().RefusedReason)
			}
			f.Policy(tt.env)
			s := f.State()
			if f.Snapshot() != before {
				t.Error("the policy in force changed")
			}
			if s.AppliedSerial != 5 || !strings.Contains(s.RefusedReason, tt.want) {
				t.Errorf("state = serial %d, refused %q; want 5 in force and a reason with %q", s.AppliedSerial, s.RefusedReason, tt.want)
			}
			f.Policy(p.envelope("eu", 9, document))
			if s := f.State(); s.AppliedSerial != 9 || s.RefusedReason != "" {
				t.Errorf("after the next good one: serial %d, refused %q; want 9 and nothing refused", s.AppliedSerial, s.RefusedReason)
			}
		})
	}
}

// A watch lists everything again now and then: what is in force must not be
// compiled anew or reported as refused.
func TestReplayIsNoNews(t *testing.T) {
	p := newPublisher(t)
	f := newFollower(p, "")
	e := p.envelope("eu", 5, document)
	f.Policy(e)
	before := f.Snapshot()
	f.Policy(e)
	if f.Snapshot() != before || f.State().RefusedReason != "" {
		t.Errorf("a replay changed something: refused %q", f.State().RefusedReason)
	}
}

// P3: a cold start with etcd gone serves from the last good policy on disk,
// whose signature is checked again.
func TestP3StartsFromDisk(t *testing.T) {
	p, dir := newPublisher(t), t.TempDir()
	newFollower(p, dir).Policy(p.envelope("eu", 5, document))

	f := newFollower(p, dir)
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if s := f.State(); s.AppliedSerial != 5 || !s.FromDisk {
		t.Fatalf("state = %+v, want serial 5 from disk", s)
	}
	// The serial on disk is a floor: etcd restored from an old backup must not
	// take the gateway back.
	f.Policy(p.envelope("eu", 4, document))
	if f.State().AppliedSerial != 5 {
		t.Error("a serial below the cached one was put in force")
	}
	if other := newFollower(newPublisher(t), dir); other.Load() == nil || other.Snapshot() != nil {
		t.Error("a cached policy of an untrusted key was put in force")
	}
}

func TestDamagedCacheIsNotUsed(t *testing.T) {
	p := newPublisher(t)
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"changed": func(b []byte) []byte { return []byte(strings.Replace(string(b), `"serial":5`, `"serial":6`, 1)) },
		"empty":   func([]byte) []byte { return nil },
		"huge":    func([]byte) []byte { return make([]byte, 5<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			newFollower(p, dir).Policy(p.envelope("eu", 5, document))
			path := filepath.Join(dir, "policy.json")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f := newFollower(p, dir)
			if err := f.Load(); err == nil || f.Snapshot() != nil {
				t.Errorf("Load = %v, snapshot in force: %t", err, f.Snapshot() != nil)
			}
		})
	}
}

// A reader sees whole snapshots with serials that only grow, however many
// goroutines deliver.
func TestSerialsOnlyGrow(t *testing.T) {
	p := newPublisher(t)
	f := newFollower(p, "")
	var envelopes []store.Envelope
	for serial := uint64(1); serial <= 40; serial++ {
		envelopes = append(envelopes, p.envelope("eu", serial, document))
	}
	stop := make(chan struct{})
	var reader, writers sync.WaitGroup
	reader.Go(func() {
		last := uint64(0)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := f.Snapshot(); s != nil {
				if s.Serial() < last {
					t.Errorf("serial went from %d to %d", last, s.Serial())
					return
				}
				last = s.Serial()
			}
		}
	})
	for i := range 8 {
		writers.Go(func() {
			for j := range envelopes {
				f.Policy(envelopes[(j*7+i*5)%len(envelopes)])
			}
		})
	}
	writers.Wait()
	close(stop)
	reader.Wait()
	if got := f.State().AppliedSerial; got != 40 {
		t.Errorf("serial %d in force, want 40", got)
	}
}

// Orders of another key or boundary do not count; an expired one ends by itself;
// those in force survive a restart without etcd.
func TestOrders(t *testing.T) {
	p, dir := newPublisher(t), t.TempDir()
	now := time.Now()
	order := func(key signing.PrivateKey, boundary geo.Boundary, name string, life time.Duration) store.Order {
		o := store.NewDrain(boundary, store.BackendOrder, name, life)
		o.Created, o.Expires = now, now.Add(life)
		o.Sign(key)
		return o
	}
	var told []store.Order
	newOne := func() *follow.Follower {
		return follow.New(follow.Config{
			Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}, Verifier: p.verifier(), CacheDir: dir,
			Ordered: func(o []store.Order) { told = o }, Log: zerolog.Nop(),
		})
	}
	f := newOne()
	f.Orders([]store.Order{
		order(p.key, "eu", "good", time.Hour), order(p.key, "eu", "short", time.Minute),
		order(p.key, "us", "foreign", time.Hour), order(newPublisher(t).key, "eu", "forged", time.Hour),
	})
	if len(told) != 2 {
		t.Fatalf("%d orders in force, want good and short", len(told))
	}
	next, ok := f.NextExpiry()
	if !ok || !next.Equal(now.Add(time.Minute)) {
		t.Errorf("next expiry = %v, %t", next, ok)
	}
	f.Expire(next)
	if len(told) != 1 || told[0].Name != "good" {
		t.Errorf("after the expiry %v is in force, want good alone", told)
	}
	told = nil
	if err := newOne().Load(); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || told[0].Name != "good" {
		t.Errorf("after a restart %v is in force, want good", told)
	}
}

// A file that may not be followed leaves the last good policy in force.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var prepared, retired []*policy.Snapshot
	var f *follow.Follower
	f = follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}},
		Prepare: func(s *policy.Snapshot) (retire func()) {
			if f.Snapshot() != nil {
				t.Error("requests see a policy that is not prepared")
			}
			prepared = append(prepared, s)
			return func() { retired = append(retired, f.Snapshot()) }
		},
		Log: zerolog.Nop(),
	})
	write(document)
	if err := f.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(document, "sku: Standard", "sku: GlobalStandard", 1))
	if err := f.ReadFile(path); err == nil {
		t.Error("a policy that leaves the boundary was put in force")
	}
	if len(prepared) != 1 || f.State().AppliedSerial != 1 {
		t.Errorf("%d snapshots prepared, serial %d in force; want 1 and 1", len(prepared), f.State().AppliedSerial)
	}
	if !slices.Equal(retired, prepared) {
		t.Error("what was before was not retired, or before requests saw what is new")
	}
}
