package follow_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/geo"
)

// An order that runs out while an undrain arrives must not bring back what was
// withdrawn. Before, both told what they had read first, and the one that came
// late won: the gateway stayed drained by an order that nobody saw any more.
func TestExpiryDoesNotUndoWhatArrives(t *testing.T) {
	p := newPublisher(t)
	order := store.NewDrain("eu", store.BackendOrder, "x", time.Hour)
	order.Sign(p.key)
	inside, hold := make(chan struct{}), make(chan struct{})
	var told atomic.Int32
	var slow atomic.Bool
	f := follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}, Verifier: p.verifier(), Log: zerolog.Nop(),
		Ordered: func(all []store.Order) {
			if slow.CompareAndSwap(true, false) {
				close(inside)
				<-hold
			}
			told.Store(int32(len(all)))
		},
	})
	f.Orders([]store.Order{order})
	if told.Load() != 1 || len(f.State().Orders) != 1 {
		t.Fatal("the order is not in force")
	}
	slow.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Expire(time.Now())
	}()
	<-inside
	withdrawn := make(chan struct{})
	go func() {
		defer close(withdrawn)
		f.Orders(nil)
	}()
	select {
	case <-withdrawn: // told before the late one
	case <-time.After(50 * time.Millisecond): // it waits, as it should
	}
	close(hold)
	<-done
	<-withdrawn
	if told.Load() != 0 || len(f.State().Orders) != 0 {
		t.Errorf("told of %d orders, %d are shown; the only one was withdrawn", told.Load(), len(f.State().Orders))
	}
}

// What is shown as in force is in force: who waits for an order by the status
// may rely on it.
func TestOrdersAreShownOnceInForce(t *testing.T) {
	p := newPublisher(t)
	order := store.NewDrain("eu", store.BackendOrder, "x", time.Hour)
	order.Sign(p.key)
	var f *follow.Follower
	f = follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}, Verifier: p.verifier(), CacheDir: t.TempDir(), Log: zerolog.Nop(),
		Ordered: func(all []store.Order) {
			if shown := len(f.State().Orders); shown == len(all) {
				t.Errorf("%d orders are shown before they are in force", shown)
			}
		},
	})
	f.Orders([]store.Order{order})
	f.Orders(nil)
}
