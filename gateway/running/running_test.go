package running_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/running"
)

func now() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// A world is what a policy has; each field takes something away or changes it.
type world struct {
	backend   string // default https://swc.example
	addresses string
	client    string // default payroll
	grants    string // default chat
	route     string // default chat
	expires   time.Time
}

func key() [32]byte { return sha256.Sum256([]byte("key")) }

func (w world) snapshot(t testing.TB) *policy.Snapshot {
	t.Helper()
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	expires := ""
	if !w.expires.IsZero() {
		expires = ", notAfter: " + w.expires.Format(time.RFC3339)
	}
	doc, err := policy.Decode(fmt.Appendf(nil, `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - {name: swc, region: swedencentral, endpoint: %q, addresses: [%s], credential: {managedIdentity: {}},
     deployments: [{name: d, model: m, version: "1", sku: Standard}]}
routes: [{name: %s, model: m, version: "1"}, {name: rest, model: m, version: "1"}]
clients: [{name: %s, keys: [{sha256: "%x"%s}], routes: [%s]}]
`, or(w.backend, "https://swc.example"), w.addresses, or(w.route, "chat"), or(w.client, "payroll"), key(), expires, or(w.grants, "chat")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// enter notes a call under a policy, on its one target.
func enter(t testing.TB, set *running.Set, s *policy.Snapshot) *running.Call {
	t.Helper()
	client, ok := s.ClientByKey(key(), now())
	if !ok {
		t.Fatal("no client")
	}
	c := set.Enter(t.Context(), &deadlines{}, policy.Caller{Principal: client, Key: key()}, "chat")
	for target := range s.Targets() {
		c.At(target)
	}
	return c
}

func TestAPolicyEndsWhatItDoesNotAllow(t *testing.T) {
	before := world{addresses: "10.20.0.0/24"}
	for _, tt := range []struct {
		name  string
		after world
		want  error
	}{
		{"nothing changed", before, nil},
		{"the backend has gone", world{backend: "https://other.example"}, running.ErrTarget},
		{"its addresses are others", world{addresses: "10.30.0.0/24"}, running.ErrTarget},
		{"its addresses are fewer", world{addresses: "10.20.0.0/25"}, running.ErrTarget},
		{"its addresses are more", world{addresses: "10.30.0.0/24, 10.20.0.0/23"}, nil},
		{"it may be anywhere", world{}, nil},
		{"the client has gone", world{addresses: before.addresses, client: "other"}, running.ErrClient},
		{"its key has expired", world{addresses: before.addresses, expires: now()}, running.ErrClient},
		{"the route has gone", world{addresses: before.addresses, route: "new", grants: "rest"}, running.ErrRoute},
		{"the grant has gone", world{addresses: before.addresses, grants: "rest"}, running.ErrGrant},
		{"residency comes first", world{backend: "https://other.example", client: "other"}, running.ErrTarget},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after := tt.after.snapshot(t)
			var set running.Set
			c := enter(t, &set, before.snapshot(t))
			set.Advance(after, now())
			if got := running.Ended(c.Context()); !errors.Is(got, tt.want) || (got == nil) != (tt.want == nil) {
				t.Errorf("ended by %v, want %v", got, tt.want)
			}
			// One that begins only now, under the policy of before, ends the same way.
			late := enter(t, &set, before.snapshot(t))
			if got := running.Ended(late.Context()); (got == nil) != (tt.want == nil) {
				t.Errorf("a call that came late: ended by %v, want %v", got, tt.want)
			}
			c.Leave()
			late.Leave()
		})
	}
}

// Between two attempts a call is nowhere: the backend that it left may go.
func TestABackendThatWasLeftEndsNothing(t *testing.T) {
	var set running.Set
	c := enter(t, &set, world{}.snapshot(t))
	c.At(nil)
	if n := set.Advance(world{backend: "https://other.example"}.snapshot(t), now()); n != (running.Count{}) || c.Context().Err() != nil {
		t.Errorf("ended %+v", n)
	}
	for target := range (world{}).snapshot(t).Targets() {
		if c.At(target) {
			t.Error("a backend that the policy does not have may be asked")
		}
	}
	c.Leave()
}

func TestAKeyEndsItsCallsWhenItExpires(t *testing.T) {
	begin := time.Now().Truncate(time.Second)
	s := world{expires: begin.Add(time.Hour)}.snapshot(t)
	var set running.Set
	set.Advance(s, begin)
	c := enter(t, &set, s)
	if n := set.Expire(begin.Add(time.Hour - 1)); n != (running.Count{}) {
		t.Errorf("ended %+v one nanosecond early", n)
	}
	if n := set.Expire(begin.Add(time.Hour)); n.Client != 1 || !errors.Is(running.Ended(c.Context()), running.ErrClient) {
		t.Errorf("ended %+v at its time", n)
	}
	c.Leave()
}

// Calls come and go while policies do. Whatever the order, once both are done a
// call that the last policy does not allow is ended.
func TestNoCallSlipsThroughAnAdvance(t *testing.T) {
	before, after := world{}.snapshot(t), world{backend: "https://other.example"}.snapshot(t)
	for range 300 {
		var set running.Set
		set.Advance(before, now())
		var wg sync.WaitGroup
		calls := make([]*running.Call, 4)
		for i := range calls {
			wg.Go(func() { calls[i] = enter(t, &set, before) })
		}
		wg.Go(func() { set.Advance(after, now()) })
		wg.Wait()
		for _, c := range calls {
			if !errors.Is(running.Ended(c.Context()), running.ErrTarget) {
				t.Fatal("a call goes on at a backend that the policy does not have")
			}
			c.Leave()
		}
	}
}

// deadlines notes what is done to a client's connection.
type deadlines struct{ set int }

func (d *deadlines) SetWriteDeadline(time.Time) error { d.set++; return nil }

// A connection belongs to the next request once the call has left.
func TestNothingIsDoneToAConnectionAfterItsCall(t *testing.T) {
	s := world{}.snapshot(t)
	client, _ := s.ClientByKey(key(), now())
	for _, leave := range []bool{false, true} {
		d := &deadlines{}
		var set running.Set
		c := set.Enter(t.Context(), d, policy.Caller{Principal: client, Key: key()}, "chat")
		if leave {
			c.Leave()
		}
		set.Advance(world{client: "other"}.snapshot(t), now())
		if (d.set == 1) == leave {
			t.Errorf("left %v, but %d deadlines were set", leave, d.set)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	s := world{}.snapshot(b)
	client, _ := s.ClientByKey(key(), now())
	caller := policy.Caller{Principal: client, Key: key()}
	var target *policy.Target
	for t := range s.Targets() {
		target = t
	}
	var set running.Set
	set.Advance(s, now())
	w, ctx := &deadlines{}, b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := set.Enter(ctx, w, caller, "chat")
			c.At(target)
			c.At(nil)
			c.Leave()
		}
	})
}

func BenchmarkAdvanceOverTenThousandCalls(b *testing.B) {
	s := world{}.snapshot(b)
	var set running.Set
	for range 10_000 {
		enter(b, &set, s)
	}
	for b.Loop() {
		set.Advance(s, now())
	}
}
