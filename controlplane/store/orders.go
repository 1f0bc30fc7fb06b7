package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	// MaxOrderLife bounds an order's expiry: what should last belongs in the policy.
	MaxOrderLife = 90 * 24 * time.Hour
	// Orders that a boundary may have at once.
	maxOrders = 5000
	// How long after its expiry an order may still be seen in the store.
	orderAfterlife = time.Minute
)

// OrderKind says what an order is about.
type OrderKind string

// The kinds.
const (
	BackendOrder OrderKind = "backend"
	RegionOrder  OrderKind = "region"
	GatewayOrder OrderKind = "gateway"
)

// Action is what an order asks for. To undrain is to delete the order.
type Action string

// Drain asks to take no new work and to finish what runs.
const Drain Action = "drain"

// An Order is an operator's instruction that takes effect at once beside the
// policy, until it expires or is deleted. Fields that are not known are ignored,
// as in an Envelope.
type Order struct {
	Format    int          `json:"format"` // see signing.OrderFormat
	ID        string       `json:"id"`
	Boundary  geo.Boundary `json:"boundary"`
	Kind      OrderKind    `json:"kind"`
	Name      string       `json:"name"`
	Action    Action       `json:"action"`
	Reason    string       `json:"reason,omitempty"`
	Author    string       `json:"author,omitempty"`
	Created   time.Time    `json:"created"`
	Expires   time.Time    `json:"expires"`
	Signature []byte       `json:"signature"` // over all of the above
}

// NewDrain returns an order that drains from now on. It is not signed.
func NewDrain(boundary geo.Boundary, kind OrderKind, name string, life time.Duration) Order {
	now := time.Now().UTC()
	return Order{
		ID: orderID(Drain, kind, name), Boundary: boundary, Kind: kind, Name: name,
		Action: Drain, Created: now, Expires: now.Add(life),
	}
}

func orderID(action Action, kind OrderKind, name string) string {
	return signing.OrderID(string(action), string(kind), name)
}

// Sign sets format and signature.
func (o *Order) Sign(key signing.PrivateKey) {
	o.Format = signing.OrderFormat
	o.Signature = signing.SignOrder(key, o.claim())
}

// Verify checks that a trusted key signed the order. It does not look at the
// expiry: see InForce.
func (o Order) Verify(v *signing.Verifier) error { return v.VerifyOrder(o.claim(), o.Signature) }

// InForce reports whether the order counts at this time, by the clock of the
// one who asks. Followers ask again as time passes: the store removes an expired
// order late.
func (o Order) InForce(now time.Time) bool { return now.Before(o.Expires) }

func (o Order) claim() signing.OrderClaim {
	return signing.OrderClaim{
		Format: o.Format, ID: o.ID, Boundary: o.Boundary, Kind: string(o.Kind), Name: o.Name, Action: string(o.Action),
		Reason: o.Reason, Author: o.Author, Created: o.Created, Expires: o.Expires,
	}
}

func (o Order) validate() error {
	if err := errors.Join(checkBoundary(o.Boundary), CheckName("order name", o.Name)); err != nil {
		return &InvalidError{Text: err.Error()}
	}
	switch {
	case o.Kind != BackendOrder && o.Kind != RegionOrder && o.Kind != GatewayOrder:
		return &InvalidError{Text: fmt.Sprintf("order kind %q: want backend, region or gateway", clip(string(o.Kind), 40))}
	case o.Action != Drain:
		return &InvalidError{Text: fmt.Sprintf("order action %q: want drain", clip(string(o.Action), 40))}
	case o.ID != orderID(o.Action, o.Kind, o.Name):
		return &InvalidError{Text: fmt.Sprintf("order id %q does not fit its action, kind and name", clip(o.ID, 40))}
	case len(o.Reason) > maxMessageBytes || len(o.Author) > maxAuthorBytes:
		return &InvalidError{Text: "order: reason or author is too long"}
	case !o.Expires.After(o.Created) || o.Expires.Sub(o.Created) > MaxOrderLife:
		return &InvalidError{Text: fmt.Sprintf("order: it must expire after its creation and within %s", MaxOrderLife)}
	case len(o.Signature) == 0:
		return &InvalidError{Text: "order: not signed"}
	}
	return nil
}

// PutOrder stores a signed order, in place of an earlier one with the same ID.
// etcd removes it soon after its expiry.
func (s *Store) PutOrder(ctx context.Context, o Order) error {
	if err := o.validate(); err != nil {
		return err
	}
	value, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode order %s: %w", o.ID, err)
	}
	rec := AuditRecord{
		Time: time.Now().UTC(), ID: NewID(), Author: o.Author, Action: "order",
		Subject: o.subject(), Message: o.Reason,
	}
	left := time.Until(o.Expires) + orderAfterlife
	err = s.repeat(ctx, func(ctx context.Context) error {
		lease, err := s.client.Grant(ctx, max(int64(left.Seconds()), 1))
		if err != nil {
			return err
		}
		_, err = s.client.Txn(ctx).Then(
			clientv3.OpPut(keysOf(o.Boundary).order(o.ID), string(value), clientv3.WithLease(lease.ID)),
			auditOp(o.Boundary, rec),
		).Commit()
		return err
	})
	return unavailable("put order "+o.ID, err)
}

// DeleteOrder withdraws an order, or returns ErrNoOrder. After a lost answer it
// may report ErrNoOrder though this call deleted it; either way it is gone.
func (s *Store) DeleteOrder(ctx context.Context, boundary geo.Boundary, id, author string) error {
	if err := errors.Join(checkBoundary(boundary), CheckName("order id", id)); err != nil {
		return &InvalidError{Text: err.Error()}
	}
	if len(author) > maxAuthorBytes {
		return &InvalidError{Text: "author is too long"}
	}
	key := keysOf(boundary).order(id)
	rec := AuditRecord{
		Time: time.Now().UTC(), ID: NewID(), Author: author, Action: "withdraw",
		Subject: strings.Replace(id, "-", " ", 2), // action, kind, and the name as it is
	}
	var found bool
	err := s.repeat(ctx, func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), ">", 0)).
			Then(clientv3.OpDelete(key), auditOp(boundary, rec)).Commit()
		if err == nil {
			found = resp.Succeeded
		}
		return err
	})
	if err == nil && !found {
		return ErrNoOrder
	}
	return unavailable("delete order "+id, err)
}

func (o Order) subject() string { return string(o.Action) + " " + string(o.Kind) + " " + o.Name }

// Orders returns the stored orders by ID, not verified; some may have expired.
func (s *Store) Orders(ctx context.Context, boundary geo.Boundary) ([]Order, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	resp, err := s.client.Get(ctx, keysOf(boundary).orders(), clientv3.WithPrefix(), clientv3.WithLimit(maxOrders))
	if err != nil {
		return nil, unavailable("read the orders of "+string(boundary), err)
	}
	var out []Order
	for _, kv := range resp.Kvs {
		o, err := decodeOrder(boundary, string(kv.Key), kv.Value)
		if err != nil {
			s.log.Warn().Err(telemetry.Foreign(err)).Str("boundary", string(boundary)).Msg("order left out")
			continue
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Order) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func decodeOrder(boundary geo.Boundary, key string, value []byte) (Order, error) {
	var o Order
	if err := json.Unmarshal(value, &o); err != nil {
		return Order{}, &MalformedError{Key: key, Err: errors.New("not an order in JSON")}
	}
	if o.Format == 0 {
		return Order{}, &MalformedError{Key: key, Err: errors.New("it says no format")}
	}
	if err := o.claim().CheckFormat(); err != nil {
		return Order{}, err
	}
	if o.Boundary != boundary || key != keysOf(boundary).order(o.ID) {
		return Order{}, &MalformedError{Key: key, Err: fmt.Errorf("order %q of boundary %q does not belong there", clip(o.ID, 40), clip(string(o.Boundary), 40))}
	}
	return o, nil
}
