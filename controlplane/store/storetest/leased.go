package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

func orderContract(t *testing.T, b *bench) {
	drain := b.order("swc-ptu", time.Hour)
	if err := b.store.PutOrder(t.Context(), drain); err != nil {
		t.Fatal(err)
	}
	if err := b.store.PutOrder(t.Context(), b.order("swc-ptu", 2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	orders, err := b.store.Orders(t.Context(), b.boundary)
	if err != nil || len(orders) != 1 || orders[0].Verify(b.trust) != nil {
		t.Fatalf("orders %+v, %v: want one, the later", orders, err)
	}
	if now := time.Now(); !orders[0].InForce(now) || orders[0].InForce(now.Add(2*time.Hour)) {
		t.Error("in force at the wrong times")
	}
	for what, change := range map[string]func(*store.Order){
		"id": func(o *store.Order) { o.ID = "drain-backend-other" }, "boundary": func(o *store.Order) { o.Boundary = "us" },
		"kind": func(o *store.Order) { o.Kind = store.RegionOrder }, "name": func(o *store.Order) { o.Name = "other" },
		"action": func(o *store.Order) { o.Action = "undrain" }, "reason": func(o *store.Order) { o.Reason = "" },
		"author": func(o *store.Order) { o.Author = "eve" }, "created": func(o *store.Order) { o.Created = o.Created.Add(1) },
		"expires": func(o *store.Order) { o.Expires = o.Expires.Add(time.Hour) },
	} {
		o := orders[0]
		change(&o)
		if o.Verify(b.trust) == nil {
			t.Errorf("an order with a changed %s verifies", what)
		}
	}
	b.put(t, "orders/drain-backend-x", "rubbish")
	if orders, err := b.store.Orders(t.Context(), b.boundary); err != nil || len(orders) != 1 {
		t.Errorf("beside rubbish: %+v, %v", orders, err)
	}
	if err := b.store.DeleteOrder(t.Context(), b.boundary, drain.ID, "bob"); err != nil {
		t.Error(err)
	}
	if err := b.store.DeleteOrder(t.Context(), b.boundary, drain.ID, "bob"); !errors.Is(err, store.ErrNoOrder) {
		t.Errorf("delete twice: %v", err)
	}
	records, err := b.store.Audit(t.Context(), b.boundary, 10)
	if err != nil || len(records) != 3 || records[0].Action != "withdraw" || records[0].Author != "bob" || records[2].Subject != "drain backend swc-ptu" {
		t.Errorf("audit: %+v, %v", records, err)
	}
	refusedOrders(t, b)

	var failures atomic.Int32
	flaky := b.open(t, store.Config{Intercept: func(ctx context.Context, method string, call func(context.Context) error) error {
		err := call(ctx)
		if strings.HasSuffix(method, "KV/Txn") && failures.Add(1) == 1 {
			return status.Error(codes.Unavailable, "the answer was lost")
		}
		return err
	}})
	if err := flaky.PutOrder(t.Context(), b.order("lost", time.Hour)); err != nil {
		t.Errorf("an order whose answer was lost: %v", err)
	}
}

func refusedOrders(t *testing.T, b *bench) {
	for what, change := range map[string]func(*store.Order){
		"no expiry": func(o *store.Order) { o.Expires = time.Time{} }, "an expiry in a year": func(o *store.Order) { o.Expires = o.Created.AddDate(1, 0, 0) },
		"another id": func(o *store.Order) { o.ID = "x" }, "a name with a slash": func(o *store.Order) { o.Name, o.ID = "a/b", "drain-backend-a/b" },
		"an unknown kind": func(o *store.Order) { o.Kind = "planet" }, "no signature": func(o *store.Order) { o.Signature = nil },
		"a boundary that leaves its place": func(o *store.Order) { o.Boundary = "../us" },
	} {
		o := b.order("refused", time.Hour)
		change(&o)
		err := b.store.PutOrder(t.Context(), o)
		if _, ok := errors.AsType[*store.InvalidError](err); !ok {
			t.Errorf("order with %s: %v, want refused", what, err)
		}
	}
}

func presenceContract(t *testing.T, b *bench) {
	var mu sync.Mutex // guards p
	p := store.Presence{Gateway: "gw-1", Region: "swedencentral", AppliedSerial: 1, Health: "pass"}
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	s := b.open(t, store.Config{Timing: store.Timing{PresenceTTL: 2 * time.Second}})
	wg.Go(func() {
		if err := s.AnnouncePresence(ctx, b.boundary, func() store.Presence { mu.Lock(); defer mu.Unlock(); return p }, changed); err != nil {
			t.Error(err)
		}
	})
	listed := func() (store.Presence, bool) {
		l, err := b.store.ListPresence(t.Context(), b.boundary)
		if err != nil {
			t.Fatal(err)
		}
		if len(l) != 1 {
			return store.Presence{}, false
		}
		return l[0], true
	}
	Eventually(t, "present", func() bool {
		got, ok := listed()
		return ok && got.Gateway == "gw-1" && got.Region == "swedencentral" && got.AppliedSerial == 1 && got.Format == store.PresenceFormat
	})
	mu.Lock()
	p.AppliedSerial, p.RefusedSerial, p.RefusedReason = 2, 3, "bad signature"
	mu.Unlock()
	changed <- struct{}{}
	Eventually(t, "changed", func() bool {
		got, _ := listed()
		return got.AppliedSerial == 2 && got.RefusedSerial == 3 && got.RefusedReason == "bad signature"
	})
	// A lease that is lost takes the key with it; both come back.
	leases, err := b.raw.Get(t.Context(), b.at("presence/"), clientv3.WithPrefix())
	if err != nil || len(leases.Kvs) != 1 || leases.Kvs[0].Lease == 0 {
		t.Fatalf("the key has no lease: %v", err)
	}
	if _, err := b.raw.Revoke(t.Context(), clientv3.LeaseID(leases.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "back after its lease was lost", func() bool { _, ok := listed(); return ok })
	b.put(t, "presence/swedencentral/gw-1", "rubbish")
	if got, ok := listed(); !ok || got.Health != "unreadable" || got.Gateway != "gw-1" {
		t.Errorf("rubbish is listed as %+v", got)
	}
	b.put(t, "presence/swedencentral/gw-1", `{"format":2,"gateway":"gw-1","appliedSerial":4,"mood":{"good":true}}`)
	if got, ok := listed(); !ok || got.Format != 2 || got.AppliedSerial != 4 {
		t.Errorf("a presence of a newer gateway is listed as %+v", got)
	}
	cancel()
	wg.Wait()
	// What was put there stands under no lease. What is announced now replaces it, and
	// goes with the one that announced it.
	ctx, cancel = context.WithCancel(t.Context())
	wg.Go(func() {
		_ = s.AnnouncePresence(ctx, b.boundary, func() store.Presence { mu.Lock(); defer mu.Unlock(); return p }, changed)
	})
	Eventually(t, "announced again", func() bool { got, _ := listed(); return got.AppliedSerial == 2 })
	cancel()
	wg.Wait()
	if got, ok := listed(); ok {
		t.Errorf("still present after it left: %+v", got)
	}
	if err := s.AnnouncePresence(t.Context(), b.boundary, func() store.Presence { return store.Presence{Gateway: "a/b", Region: "r"} }, nil); err == nil {
		t.Error("a gateway with a slash in its name was announced")
	}
}

func digestContract(t *testing.T, b *bench) {
	var mu sync.Mutex // guards told
	told := map[geo.RegionID]string{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = b.store.WatchDigests(ctx, b.boundary, func(r geo.RegionID, payload json.RawMessage) {
			mu.Lock()
			defer mu.Unlock()
			told[r] = string(payload)
		})
	})
	defer func() { cancel(); wg.Wait() }()
	is := func(r geo.RegionID, want string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			got, ok := told[r]
			return ok && got == want
		}
	}
	s := b.open(t, store.Config{Timing: store.Timing{DigestTTL: time.Second}})
	if err := s.PutDigest(t.Context(), b.boundary, "swedencentral", json.RawMessage(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.store.PutDigest(t.Context(), b.boundary, "westeurope", json.RawMessage(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "told of the first digest", is("swedencentral", `{"n":1}`))
	Eventually(t, "told of the other region's digest", is("westeurope", `{"n":1}`))
	Eventually(t, "told that an unrenewed digest ran out", is("swedencentral", ""))
	// Its lease is gone by now, so writing again makes a new one.
	if err := s.PutDigest(t.Context(), b.boundary, "swedencentral", json.RawMessage(`{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "told of the new digest", is("swedencentral", `{"n":2}`))
	if all, err := b.store.Digests(t.Context(), b.boundary); err != nil || string(all["westeurope"]) != `{"n":1}` {
		t.Errorf("digests %v, %v", all, err)
	}
	if err := s.PutDigest(t.Context(), b.boundary, "swedencentral", json.RawMessage(`{`)); err == nil {
		t.Error("a digest that is no JSON was stored")
	}
}
