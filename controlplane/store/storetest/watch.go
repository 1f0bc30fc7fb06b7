package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/controlplane/store"
)

func watchContract(t *testing.T, b *bench) {
	t.Run("it tells what is there and every change", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		r := b.watch(t, b.store)
		Eventually(t, "told of the policy, no orders, and that it is connected", func() bool {
			names, told := r.Names()
			online, _ := r.Online()
			return r.Last() == 1 && told && len(names) == 0 && online
		})
		b.publish(t, "two")
		Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
		b.publish(t, "three")
		Eventually(t, "told of policy 3", func() bool { return r.Last() == 3 })
		if got := r.Serials(); !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("told of %v, want each once and in order", got)
		}
		o := b.order("swc-ptu", time.Hour)
		if err := b.store.PutOrder(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "told of the order", func() bool { names, _ := r.Names(); return slices.Equal(names, []string{"swc-ptu"}) })
		if err := b.store.DeleteOrder(t.Context(), b.boundary, o.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "told that the order is gone", func() bool { names, _ := r.Names(); return len(names) == 0 })
	})
	t.Run("it waits for the first policy", func(t *testing.T) {
		b := b.sub(t)
		r := b.watch(t, b.store)
		Eventually(t, "connected", func() bool { online, _ := r.Online(); return online })
		if r.Invalid() != "" {
			t.Errorf("nothing published is told as %q", r.Invalid())
		}
		b.publish(t, "one")
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
	})
	t.Run("a policy that cannot be read is told as invalid", func(t *testing.T) {
		b := b.sub(t)
		r := b.watch(t, b.store)
		b.publish(t, "one")
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		b.put(t, "policy/current", "{rubbish")
		Eventually(t, "told of rubbish", func() bool { return strings.Contains(r.Invalid(), "not an envelope") })
		foreign, err := store.NewEnvelope("elsewhere", 7, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		foreign.Sign(b.key)
		text, _ := json.Marshal(foreign)
		b.put(t, "policy/current", string(text))
		Eventually(t, "told of another boundary's policy", func() bool { return strings.Contains(r.Invalid(), "7: malformed") })
		if _, err := b.raw.Delete(t.Context(), b.at("policy/current")); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "told of the deletion", func() bool { return strings.Contains(r.Invalid(), store.ErrNoPolicy.Error()) })
		b.publish(t, "two")
		Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
	})
	t.Run("what concerns others is not told", func(t *testing.T) {
		b := b.sub(t)
		other := *b
		other.boundary += "x" // also one whose name begins like ours
		r := b.watch(t, b.store)
		b.publish(t, "one")
		other.publish(t, "foreign")
		b.put(t, "presence/r/g", "{}")
		b.put(t, "orders-not/x", "{}")
		if err := b.store.PutOrder(t.Context(), other.order("foreign", time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.publish(t, "two")
		Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
		if names, _ := r.Names(); !slices.Equal(r.Serials(), []uint64{1, 2}) && !slices.Equal(r.Serials(), []uint64{2}) || len(names) != 0 {
			t.Errorf("told of serials %v and orders %v", r.Serials(), names)
		}
	})
	t.Run("the periodic full list tells nothing twice", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		r := b.watch(t, b.open(t, store.Config{Timing: store.Timing{Relist: 20 * time.Millisecond}}))
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		for i := range 20 {
			b.publish(t, fmt.Sprint("more ", i))
		}
		Eventually(t, "told of policy 21", func() bool { return r.Last() == 21 })
		got := r.Serials()
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("told of %v: something came twice or out of order", got)
		}
		if _, n := r.Online(); n != 2 {
			t.Errorf("Connected was called %d times, want 2: a list is no interruption", n)
		}
	})
}

// quick shortens what the watch waits for.
func quick() store.Timing {
	return store.Timing{Progress: 100 * time.Millisecond, Silence: 700 * time.Millisecond, Request: 2 * time.Second, BackoffMax: 200 * time.Millisecond}
}

func watchFaultContract(t *testing.T, b *bench) {
	target := strings.TrimPrefix(b.cluster.Endpoints()[0], "http://")
	through := func(t *testing.T, b *bench, endpoints ...string) *Recorder {
		return b.watch(t, b.open(t, store.Config{Endpoints: endpoints, Timing: quick()}))
	}
	t.Run("compaction while the connection is away", func(t *testing.T) {
		b := b.sub(t)
		p := NewProxy(t, target)
		b.publish(t, "one")
		r := through(t, b, p.Endpoint())
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		p.Retarget("127.0.0.1:1") // nothing listens there
		p.Cut()
		Eventually(t, "told that it is not connected", func() bool { online, _ := r.Online(); return !online })
		for i := range 5 {
			b.publish(t, fmt.Sprint("while away ", i))
		}
		if err := b.cluster.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Retarget(target)
		Eventually(t, "told of policy 6", func() bool { return r.Last() == 6 })
	})
	t.Run("compaction under a watch", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		r := through(t, b, b.cluster.Endpoints()...)
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		if err := b.cluster.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.publish(t, "two")
		Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
	})
	t.Run("a connection that goes silent", func(t *testing.T) {
		b := b.sub(t)
		p := NewProxy(t, target)
		b.publish(t, "one")
		r := through(t, b, p.Endpoint())
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		p.Blackhole(true)
		b.publish(t, "two")
		Eventually(t, "the silence noticed", func() bool { online, _ := r.Online(); return !online })
		if got := r.Last(); got != 1 {
			t.Errorf("told of policy %d through a black hole", got)
		}
		p.Blackhole(false)
		Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
	})
	t.Run("one of two endpoints goes silent", func(t *testing.T) {
		b := b.sub(t)
		p, q := NewProxy(t, target), NewProxy(t, target)
		b.publish(t, "one")
		r := through(t, b, p.Endpoint(), q.Endpoint())
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
		// The watch uses one of the two. Whichever it is goes silent for good.
		used := p
		if watching := q.Connections() > p.Connections(); watching {
			used = q
		}
		used.Blackhole(true)
		b.publish(t, "two")
		Eventually(t, "told of policy 2 by the other", func() bool { return r.Last() == 2 })
	})
	t.Run("a silent connection before the watch was opened", func(t *testing.T) {
		b := b.sub(t)
		p := NewProxy(t, target)
		p.Blackhole(true)
		b.publish(t, "one")
		r := through(t, b, p.Endpoint())
		Eventually(t, "a connection swallowed", func() bool { return p.Connections() > 0 })
		p.Blackhole(false)
		Eventually(t, "told of policy 1", func() bool { return r.Last() == 1 })
	})
}

// revokedContract: a role that was withdrawn shows within seconds, although the
// server leaves the watch open, and so does its return.
func revokedContract(t *testing.T, b *bench) {
	var revoked atomic.Bool
	s := b.open(t, store.Config{Timing: quick(), Intercept: func(ctx context.Context, _ string, call func(context.Context) error) error {
		if revoked.Load() {
			return status.Error(codes.PermissionDenied, "etcdserver: permission denied")
		}
		return call(ctx)
	}})
	b.publish(t, "one")
	r := b.watch(t, s)
	Eventually(t, "told of policy 1", func() bool { online, _ := r.Online(); return online && r.Last() == 1 })
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	serial := uint64(0)
	go func() {
		done <- s.AnnouncePresence(ctx, b.boundary, func() store.Presence {
			serial++
			return store.Presence{Region: "r", Gateway: "g", AppliedSerial: serial}
		}, changed)
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("announce presence: %v", err)
		}
	}()
	problems := func(want bool) func() bool {
		return func() bool {
			watch, presence := s.Problems()
			return strings.Contains(watch, "permission denied") == want && strings.Contains(presence, "permission denied") == want
		}
	}
	Eventually(t, "no problem", problems(false))
	revoked.Store(true)
	changed <- struct{}{}
	Eventually(t, "told that it is not connected", func() bool { online, _ := r.Online(); return !online })
	Eventually(t, "the problem named", problems(true))
	revoked.Store(false)
	Eventually(t, "told that it is connected", func() bool { online, _ := r.Online(); return online })
	Eventually(t, "no problem any more", problems(false))
	if got := r.Last(); got != 1 {
		t.Errorf("policy %d is known after all, want 1", got)
	}
}
