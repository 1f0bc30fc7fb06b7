// Package storetest holds the contract that a store keeps, as tests to run
// against an etcd, and the proxy that loses what networks lose.
//
// Only tests import it. Each part uses a boundary of its own, so that all of
// them share one etcd.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// A Cluster is the etcd under test.
type Cluster interface {
	Endpoints() []string
	Compact(ctx context.Context) error // up to the newest revision
}

// patience bounds every wait for something that should happen: no more than a
// sign that it never will.
const patience = time.Minute

// Run runs the whole contract.
func Run(t *testing.T, c Cluster) {
	t.Helper()
	for name, part := range map[string]func(*testing.T, *bench){
		"publish": publishContract, "conflict": conflictContract, "restored": restoredContract, "lost_answers": lostAnswerContract,
		"tampering": tamperContract, "unreadable": unreadableContract, "newer": newerContract, "history": historyContract, "orders": orderContract,
		"presence": presenceContract, "digest": digestContract,
		"watch": watchContract, "watch_faults": watchFaultContract, "revoked": revokedContract,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			part(t, newBench(t, c))
		})
	}
}

// A bench is what a part of the contract works on.
type bench struct {
	cluster  Cluster
	boundary geo.Boundary
	key      signing.PrivateKey
	trust    *signing.Verifier
	store    *store.Store
	raw      *clientv3.Client
	log      zerolog.Logger
}

func newBench(t *testing.T, c Cluster) *bench {
	t.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := signing.NewVerifier([]signing.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	b := &bench{cluster: c, key: key, trust: trust, raw: raw, log: zerolog.New(t.Output()).Level(zerolog.InfoLevel)}
	b.boundary = boundaryOf(t)
	b.store = b.open(t, store.Config{})
	return b
}

// boundaryOf makes a boundary from the test's name, which is unique.
func boundaryOf(t *testing.T) geo.Boundary {
	sum := sha256.Sum256([]byte(t.Name()))
	return geo.Boundary("b-" + hex.EncodeToString(sum[:6]))
}

// open opens another store on the same etcd.
func (b *bench) open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	if len(cfg.Endpoints) == 0 {
		cfg.Endpoints = b.cluster.Endpoints()
	}
	s, err := store.Open(cfg, b.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// sub is a bench with a boundary of its own, for a part of a part.
func (b *bench) sub(t *testing.T) *bench {
	t.Helper()
	c := *b
	c.boundary = boundaryOf(t)
	c.log = zerolog.New(t.Output()).Level(zerolog.InfoLevel)
	c.store = c.open(t, store.Config{})
	return &c
}

// publish puts a document in force.
func (b *bench) publish(t *testing.T, document string) store.Envelope {
	t.Helper()
	env, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{
		Document: []byte(document), Author: "ann", Message: "why", Trust: b.trust,
	}, b.key)
	if err != nil {
		t.Fatalf("publish %q: %v", document, err)
	}
	return env
}

func (b *bench) order(name string, life time.Duration) store.Order {
	o := store.NewDrain(b.boundary, store.BackendOrder, name, life)
	o.Reason, o.Author = "repair", "ann"
	o.Sign(b.key)
	return o
}

func (b *bench) at(suffix string) string { return "/stampgate/" + string(b.boundary) + "/" + suffix }

func (b *bench) put(t *testing.T, suffix, value string) {
	t.Helper()
	if _, err := b.raw.Put(t.Context(), b.at(suffix), value); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) get(t *testing.T, suffix string) string {
	t.Helper()
	resp, err := b.raw.Get(t.Context(), b.at(suffix))
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// Eventually waits for a condition, asking again and again.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a real etcd on a real network: there is nothing to be woken by
	}
}

// A Recorder is a store.Handler that keeps what it was told.
type Recorder struct {
	mu        sync.Mutex // guards the fields below
	envelopes []store.Envelope
	invalid   []string
	orders    [][]store.Order
	connected []bool
}

// Policy implements store.Handler.
func (r *Recorder) Policy(e store.Envelope) {
	r.record(func() { r.envelopes = append(r.envelopes, e) })
}

// PolicyInvalid implements store.Handler.
func (r *Recorder) PolicyInvalid(serial uint64, err error) {
	r.record(func() { r.invalid = append(r.invalid, fmt.Sprintf("%d: %v", serial, err)) })
}

// Orders implements store.Handler.
func (r *Recorder) Orders(o []store.Order) { r.record(func() { r.orders = append(r.orders, o) }) }

// Connected implements store.Handler.
func (r *Recorder) Connected(v bool) { r.record(func() { r.connected = append(r.connected, v) }) }

func (r *Recorder) record(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// Serials are those of all envelopes told so far.
func (r *Recorder) Serials() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]uint64, len(r.envelopes))
	for i, e := range r.envelopes {
		out[i] = e.Serial
	}
	return out
}

// Last is the serial of the envelope told last, 0 before any.
func (r *Recorder) Last() uint64 {
	s := r.Serials()
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1]
}

// Invalid are the invalid policies told so far.
func (r *Recorder) Invalid() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.invalid, "\n")
}

// Names are those of the orders told last, and whether any were told.
func (r *Recorder) Names() ([]string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.orders) == 0 {
		return nil, false
	}
	out := []string{}
	for _, o := range r.orders[len(r.orders)-1] {
		out = append(out, o.Name)
	}
	return out, true
}

// Online is what Connected was told last, and how often.
func (r *Recorder) Online() (bool, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.connected)
	return n > 0 && r.connected[n-1], n
}

// watch follows the bench's boundary until the test ends.
func (b *bench) watch(t *testing.T, s *store.Store) *Recorder {
	t.Helper()
	r := &Recorder{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Watch(ctx, b.boundary, r); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}
