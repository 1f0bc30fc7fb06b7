package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

func publishContract(t *testing.T, b *bench) {
	if _, err := b.store.Current(t.Context(), b.boundary); !errors.Is(err, store.ErrNoPolicy) {
		t.Errorf("before the first publication: %v, want ErrNoPolicy", err)
	}
	first := b.publish(t, "one")
	if first.Serial != 1 {
		t.Errorf("the first serial is %d", first.Serial)
	}
	got, err := b.store.Current(t.Context(), b.boundary)
	if err != nil {
		t.Fatal(err)
	}
	if document, err := got.OpenVerified(b.boundary, b.trust); err != nil || string(document) != "one" {
		t.Errorf("current opens to %q, %v", document, err)
	}
	if got.Author != "ann" || got.Message != "why" || got.Time.IsZero() {
		t.Errorf("author, message, time: %q %q %v", got.Author, got.Message, got.Time)
	}
	if again := b.publish(t, "one"); again.Serial != 1 || again.Publication != first.Publication {
		t.Errorf("the same document again: serial %d, want the publication in force", again.Serial)
	}
	if second := b.publish(t, "two"); second.Serial != 2 {
		t.Errorf("the second serial is %d", second.Serial)
	}
	same := func(inForce []byte) bool { return string(inForce) == "two" }
	if reworded, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("two # with a comment"), Same: same}, b.key); err != nil || reworded.Serial != 2 {
		t.Errorf("the same in other words: serial %d, %v", reworded.Serial, err)
	}
	forced, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("two"), Again: true}, b.key)
	if err != nil || forced.Serial != 3 {
		t.Errorf("publish again: serial %d, %v", forced.Serial, err)
	}
	records, err := b.store.Audit(t.Context(), b.boundary, 2)
	if err != nil || len(records) != 2 || records[0].Subject != "policy 3" || records[1].Subject != "policy 2" {
		t.Errorf("audit: %+v, %v", records, err)
	}
}

func conflictContract(t *testing.T, b *bench) {
	t.Run("a stale expectation loses and is told of the winner", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.publish(t, "two")
		_, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("x"), ExpectSerial: new(uint64(1))}, b.key)
		conflict, ok := errors.AsType[*store.ConflictError](err)
		if !ok || conflict.Serial != 2 || conflict.Author != "ann" || conflict.Time.IsZero() {
			t.Errorf("error %v, want a conflict with policy 2 by ann", err)
		}
		// The same document under a stale expectation is a repeated call.
		env, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("two"), ExpectSerial: new(uint64(1))}, b.key)
		if err != nil || env.Serial != 2 {
			t.Errorf("repeated call: serial %d, %v", env.Serial, err)
		}
	})
	t.Run("expecting none", func(t *testing.T) {
		b := b.sub(t)
		_, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("x"), ExpectSerial: new(uint64(3))}, b.key)
		if c, ok := errors.AsType[*store.ConflictError](err); !ok || c.Serial != 0 {
			t.Errorf("error %v, want a conflict: none is in force", err)
		}
		if _, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("x"), ExpectSerial: new(uint64(0))}, b.key); err != nil {
			t.Error(err)
		}
	})
	t.Run("of ten at once one wins each round", func(t *testing.T) {
		b := b.sub(t)
		const publishers = 10
		for round := range uint64(3) {
			var won, lost atomic.Int32
			var wg sync.WaitGroup
			for i := range publishers {
				wg.Go(func() {
					_, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{
						Document: fmt.Appendf(nil, "%d/%d", round, i), ExpectSerial: &round, Author: "p",
					}, b.key)
					if _, conflict := errors.AsType[*store.ConflictError](err); conflict {
						lost.Add(1)
					} else if err == nil {
						won.Add(1)
					} else {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 || lost.Load() != publishers-1 {
				t.Errorf("round %d: %d won, %d lost", round, won.Load(), lost.Load())
			}
		}
		if h, err := b.store.History(t.Context(), b.boundary, 0); err != nil || len(h) != 3 {
			t.Errorf("history has %d entries, want 3: %v", len(h), err)
		}
	})
}

// A fault is what happens to one call of the transaction that writes.
type fault int

const (
	fine fault = iota
	failed
	failedButApplied
)

// faulty opens a store whose n-th transaction meets the n-th fault, and all
// later ones the last. Those of a Publish alternate: read, write, read, write.
func (b *bench) faulty(t *testing.T, between func(), faults ...fault) *store.Store {
	var calls atomic.Int32
	return b.open(t, store.Config{Intercept: func(ctx context.Context, method string, call func(context.Context) error) error {
		if !strings.HasSuffix(method, "KV/Txn") {
			return call(ctx)
		}
		f := faults[min(int(calls.Add(1)), len(faults))-1]
		if f == failed {
			return status.Error(codes.Unavailable, "lost on the way")
		}
		err := call(ctx)
		if f == failedButApplied {
			if between != nil {
				between()
			}
			return status.Error(codes.Unavailable, "the answer was lost")
		}
		return err
	}})
}

func lostAnswerContract(t *testing.T, b *bench) {
	publish := func(t *testing.T, b *bench, s *store.Store) (store.Envelope, error) {
		return s.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("mine"), Author: "ann", Trust: b.trust}, b.key)
	}
	history := func(t *testing.T, b *bench) (serials []uint64) {
		h, err := b.store.History(t.Context(), b.boundary, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h {
			serials = append(serials, e.Serial)
		}
		return serials
	}
	t.Run("a write that failed is made again", func(t *testing.T) {
		b := b.sub(t)
		env, err := publish(t, b, b.faulty(t, nil, fine, failed, fine))
		if err != nil || env.Serial != 1 || !slices.Equal(history(t, b), []uint64{1}) {
			t.Errorf("serial %d, history %v, %v", env.Serial, history(t, b), err)
		}
	})
	t.Run("a write whose answer was lost is recognised", func(t *testing.T) {
		b := b.sub(t)
		env, err := publish(t, b, b.faulty(t, nil, fine, failedButApplied, fine))
		if err != nil || env.Serial != 1 || !slices.Equal(history(t, b), []uint64{1}) {
			t.Errorf("serial %d, history %v, %v", env.Serial, history(t, b), err)
		}
	})
	t.Run("also when another publication came on top", func(t *testing.T) {
		b := b.sub(t)
		env, err := publish(t, b, b.faulty(t, sync.OnceFunc(func() { b.publish(t, "other") }), fine, failedButApplied, fine))
		if err != nil || env.Serial != 1 || !slices.Equal(history(t, b), []uint64{2, 1}) {
			t.Errorf("serial %d, history %v, %v", env.Serial, history(t, b), err)
		}
	})
	t.Run("a failed write that another overtook is a conflict", func(t *testing.T) {
		b := b.sub(t)
		overtake := sync.OnceFunc(func() { b.publish(t, "other") })
		var calls atomic.Int32
		s := b.open(t, store.Config{Intercept: func(ctx context.Context, method string, call func(context.Context) error) error {
			if strings.HasSuffix(method, "KV/Txn") && calls.Add(1) == 2 {
				overtake()
				return status.Error(codes.Unavailable, "lost on the way")
			}
			return call(ctx)
		}})
		_, err := publish(t, b, s)
		if c, ok := errors.AsType[*store.ConflictError](err); !ok || c.Serial != 1 {
			t.Errorf("error %v, want a conflict with policy 1", err)
		}
	})
	t.Run("without any answer the outcome is said to be open, and a new call finds out", func(t *testing.T) {
		b := b.sub(t)
		_, err := publish(t, b, b.faulty(t, nil, fine, failedButApplied, failed))
		if u, ok := errors.AsType[*store.UncertainError](err); !ok || u.Serial != 1 {
			t.Errorf("error %v, want uncertain about policy 1", err)
		}
		env, err := publish(t, b, b.store)
		if err != nil || env.Serial != 1 {
			t.Errorf("the new call: serial %d, %v", env.Serial, err)
		}
	})
	t.Run("an etcd that is down before anything was sent is just unavailable", func(t *testing.T) {
		b := b.sub(t)
		_, err := publish(t, b, b.faulty(t, nil, failed))
		if _, ok := errors.AsType[*store.UnavailableError](err); !ok {
			t.Errorf("error %v, want unavailable", err)
		}
	})
}

func tamperContract(t *testing.T, b *bench) {
	t.Run("a changed envelope does not verify", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		for what, change := range map[string]func(*store.Envelope){
			"format":      func(e *store.Envelope) { e.Format = 2 },
			"serial":      func(e *store.Envelope) { e.Serial = 9 },
			"boundary":    func(e *store.Envelope) { e.Boundary = "us" },
			"digest":      func(e *store.Envelope) { e.Digest = strings.Repeat("0", 64) },
			"author":      func(e *store.Envelope) { e.Author = "eve" },
			"message":     func(e *store.Envelope) { e.Message = "" },
			"time":        func(e *store.Envelope) { e.Time = e.Time.Add(1) },
			"publication": func(e *store.Envelope) { e.Publication = "other" },
			"publisher":   func(e *store.Envelope) { e.Publisher = "v9" },
			"signature":   func(e *store.Envelope) { e.Signature[5] ^= 1 },
			"document": func(e *store.Envelope) {
				other, err := store.NewEnvelope(b.boundary, 1, []byte("other"))
				if err != nil {
					t.Fatal(err)
				}
				e.Document = other.Document
			},
		} {
			env, err := b.store.Current(t.Context(), b.boundary)
			if err != nil {
				t.Fatal(err)
			}
			change(&env)
			if _, err := env.OpenVerified(b.boundary, b.trust); err == nil {
				t.Errorf("changed %s: it opens", what)
			}
		}
	})
	t.Run("a forged policy in force does not set the next serial", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.forge(t, "policy/current", 1000)
		b.forge(t, "policy/history/1000", 1000)
		if env := b.publish(t, "two"); env.Serial != 2 {
			t.Errorf("the next serial is %d, want 2", env.Serial)
		}
		if env, err := b.store.Current(t.Context(), b.boundary); err != nil || env.Verify(b.trust) != nil {
			t.Errorf("the forged policy was not replaced: %v", err)
		}
	})
	t.Run("rubbish in force can be published over", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.put(t, "policy/current", "{rubbish")
		if _, err := b.store.Current(t.Context(), b.boundary); err == nil {
			t.Error("rubbish reads as an envelope")
		} else if _, ok := errors.AsType[*store.MalformedError](err); !ok {
			t.Errorf("error %v, want malformed", err)
		}
		if env := b.publish(t, "one"); env.Serial != 2 {
			t.Errorf("the next serial is %d, want 2", env.Serial)
		}
	})
	t.Run("what a newer program published is not replaced", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		newer := strings.Replace(b.get(t, "policy/current"), `"format":1`, `"format":2`, 1)
		b.put(t, "policy/current", newer)
		_, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("two"), Trust: b.trust}, b.key)
		if _, ok := errors.AsType[*signing.FormatError](err); !ok || b.get(t, "policy/current") != newer {
			t.Errorf("published over a newer format: %v", err)
		}
	})
	t.Run("a policy in force that was set back does not set serials back", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		old := b.get(t, "policy/current")
		b.publish(t, "two")
		b.publish(t, "three")
		b.put(t, "policy/current", old)
		if env := b.publish(t, "four"); env.Serial != 4 {
			t.Errorf("the next serial is %d, want 4", env.Serial)
		}
	})
	t.Run("nor does one that was deleted", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		if _, err := b.raw.Delete(t.Context(), b.at("policy/current")); err != nil {
			t.Fatal(err)
		}
		if env := b.publish(t, "two"); env.Serial != 2 {
			t.Errorf("the next serial is %d, want 2", env.Serial)
		}
	})
}

// forge stores an envelope that a stranger signed.
func (b *bench) forge(t *testing.T, suffix string, serial uint64) {
	t.Helper()
	stranger, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	env, err := store.NewEnvelope(b.boundary, serial, []byte("forged"))
	if err != nil {
		t.Fatal(err)
	}
	env.Sign(stranger)
	text, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, suffix, string(text))
}

func historyContract(t *testing.T, b *bench) {
	const published = store.HistoryKept + 5
	for i := range published {
		b.publish(t, fmt.Sprint("document ", i+1))
	}
	h, err := b.store.History(t.Context(), b.boundary, 0)
	if err != nil || len(h) != store.HistoryKept || h[0].Serial != published {
		t.Fatalf("%d entries, the first is %d: %v", len(h), h[0].Serial, err)
	}
	if h, err := b.store.History(t.Context(), b.boundary, 20); err != nil || len(h) != 20 || h[19].Serial != published-19 {
		t.Errorf("limit 20: %d entries, %v", len(h), err)
	}
	if _, err := b.store.At(t.Context(), b.boundary, 1); !errors.Is(err, store.ErrNoSerial) {
		t.Errorf("a pruned serial: %v", err)
	}
	rollback := store.PublishRequest{Document: []byte("document 100"), RollbackOf: 100, Author: "bob", Trust: b.trust}
	env, err := b.store.Publish(t.Context(), b.boundary, rollback, b.key)
	if err != nil || env.Serial != published+1 || env.Message != "roll back to 100" {
		t.Fatalf("rollback: serial %d, %q, %v", env.Serial, env.Message, err)
	}
	if records, err := b.store.Audit(t.Context(), b.boundary, 1); err != nil || records[0].Action != "rollback" || records[0].Author != "bob" {
		t.Errorf("audit: %+v, %v", records, err)
	}
	b.put(t, "policy/history/150", b.get(t, "policy/history/149"))
	_, err = b.store.At(t.Context(), b.boundary, 150)
	if _, ok := errors.AsType[*store.MalformedError](err); !ok {
		t.Errorf("policy 149 in the place of 150: %v", err)
	}
}
