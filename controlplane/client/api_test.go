package client_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// The client and the API agree, call by call, and calls that may be made again
// do no harm.
func TestEveryCallIsUnderstoodByTheAPI(t *testing.T) {
	b := apitest.Boundary(t)
	s := apitest.New(t, apitest.Config{Etcd: endpoints, Boundaries: []geo.Boundary{b}})
	c, ctx := s.Client(t), t.Context()
	first, second := apitest.Policy(b, "payroll"), apitest.Policy(b, "support")

	if v, err := c.Validate(ctx, b, first); err != nil || !v.Valid || v.Digest == "" || len(v.Warnings) == 0 {
		t.Errorf("validate: %+v, %v", v, err)
	}
	if v, err := c.Validate(ctx, b, []byte("boundary: mars")); err != nil || v.Valid || len(v.Faults) < 2 {
		t.Errorf("validate what is refused: %+v, %v", v, err)
	}
	for range 2 { // "it may be repeated"
		p, err := c.Publish(ctx, b, first, client.PublishOptions{Author: "ann", Message: "first", ExpectSerial: new(uint64(0))})
		if err != nil || p.Serial != 1 || p.Author != "ann" || p.Message != "first" || !p.Genuine {
			t.Errorf("publish: %+v, %v", p, err)
		}
	}
	if p, err := c.Publish(ctx, b, first, client.PublishOptions{Again: true}); err != nil || p.Serial != 2 {
		t.Errorf("publish again: %+v, %v", p, err)
	}
	_, err := c.Publish(ctx, b, second, client.PublishOptions{ExpectSerial: new(uint64(1))})
	if !is(func(e *client.ConflictError) bool {
		return e.Current.Serial == 2 && strings.Contains(e.Message, "publish on top of it")
	})(err) {
		t.Errorf("a stale expectation: %v", err)
	}
	_, err = c.Publish(ctx, b, []byte("boundary: mars"), client.PublishOptions{})
	if !is(func(e *client.RefusedError) bool {
		return len(e.Faults) > 1 && strings.Contains(err.Error(), "boundary")
	})(err) {
		t.Errorf("what is refused: %v", err)
	}
	if p, err := c.Policy(ctx, b, 1); err != nil || p.Serial != 1 || !strings.Contains(p.Document, "payroll") {
		t.Errorf("policy 1: %+v, %v", p, err)
	}
	for range 2 {
		if p, err := c.Rollback(ctx, b, client.RollbackRequest{Serial: 1, Author: "bob"}); err != nil || p.Serial != 2 {
			t.Errorf("rollback to what is in force: %+v, %v", p, err)
		}
	}
	if h, err := c.History(ctx, b, 1); err != nil || len(h) != 1 || h[0].Serial != 2 {
		t.Errorf("history: %+v, %v", h, err)
	}

	for range 2 {
		if o, err := c.PutOrder(ctx, b, client.OrderRequest{Kind: "backend", Name: "swc-ptu", For: "2h"}); err != nil || !o.Genuine || o.Expires.Sub(o.Created) != 2*time.Hour {
			t.Errorf("order: %+v, %v", o, err)
		}
	}
	if orders, err := c.Orders(ctx, b); err != nil || len(orders) != 1 || orders[0].ID != client.DrainID("backend", "swc-ptu") {
		t.Errorf("orders: %+v, %v", orders, err)
	}
	if st, err := c.BoundaryStatus(ctx, b); err != nil || st.Policy.Serial != 2 || len(st.Orders) != 1 || st.PublicKey != s.Key.Public().String() {
		t.Errorf("boundary status: %+v, %v", st, err)
	}
	if st, err := c.Status(ctx); err != nil || len(st.Boundaries) != 1 || st.PublicKey != s.Key.Public().String() {
		t.Errorf("status: %+v, %v", st, err)
	}
	id := client.DrainID("backend", "swc-ptu")
	if err := c.DeleteOrder(ctx, b, id, "bob"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteOrder(ctx, b, id, "bob"); !is(func(*client.NotFoundError) bool { return true })(err) {
		t.Errorf("withdrawn twice: %v", err)
	}
	if a, err := c.Audit(ctx, b, 1); err != nil || len(a) != 1 || a[0].Author != "bob" || a[0].Action != "withdraw" {
		t.Errorf("audit: %+v, %v", a, err)
	}
}

func TestARealControlPlaneRefusesInTheClientsWords(t *testing.T) {
	b := apitest.Boundary(t)
	s := apitest.New(t, apitest.Config{Etcd: endpoints, Boundaries: []geo.Boundary{b}})
	stranger := clientOf(t, client.Config{URL: s.URL, Token: secret.New("another token")})
	for method, do := range methods(stranger) {
		if err := do(t); !is(func(*client.UnauthorizedError) bool { return true })(err) {
			t.Errorf("%s with another token: %v", method, err)
		}
	}
	for method, do := range methods(s.Client(t)) { // they ask about eu, which is not there
		err := do(t)
		if method == "Status" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !is(func(e *client.NotFoundError) bool { return strings.Contains(e.Message, string(b)) })(err) {
			t.Errorf("%s of a boundary that is not there: %v", method, err)
		}
	}
	if _, err := s.Client(t).Policy(t.Context(), b, 0); !is(func(*client.NotFoundError) bool { return true })(err) {
		t.Errorf("before the first publication: %v", err)
	}
}
