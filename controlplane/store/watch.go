package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// A Handler is told what a boundary's etcd holds. All calls come from one
// goroutine, in the order of the changes. What it was told stays true when etcd
// is gone.
type Handler interface {
	// Policy is an envelope that was put in force. It is not verified: use
	// Envelope.OpenVerified. Its serial may be below an earlier one's, after
	// etcd was restored from a backup or tampered with.
	Policy(Envelope)
	// PolicyInvalid says that what is in force cannot be read as an envelope
	// (serial 0 if not even that is known), or was deleted (ErrNoPolicy).
	PolicyInvalid(serial uint64, err error)
	// Orders are all orders there are, by ID, not verified; some may have
	// expired. It is called once at the beginning, also when there are none.
	Orders([]Order)
	// Connected says whether what was told is known to be up to date.
	Connected(bool)
}

// Watch tells the handler what is in force and every change, until ctx ends;
// its error is then nil. While etcd is away it keeps trying.
//
// What the handler was told always equals the store at one revision. Behind a
// connection that went silent it is stale for at most Timing.Silence and a try.
func (s *Store) Watch(ctx context.Context, boundary geo.Boundary, h Handler) error {
	if err := checkBoundary(boundary); err != nil {
		return err
	}
	from, to := keysOf(boundary).followed()
	f := &follower{store: s, boundary: boundary, keys: keysOf(boundary), handler: h}
	r := &reflector{store: s, name: "policy of " + string(boundary), from: from, to: to, deliver: f.deliver, connected: h.Connected, problem: s.watchProblem.set}
	r.run(ctx)
	return nil
}

// A follower turns changes of keys into calls of the handler.
type follower struct {
	store    *Store
	boundary geo.Boundary
	keys     keys
	handler  Handler
	told     bool // the orders, once
}

func (f *follower) deliver(state map[string][]byte, changed []string) {
	orders := !f.told
	for _, key := range changed {
		switch {
		case key == f.keys.current():
			f.policy(state[key])
		case strings.HasPrefix(key, f.keys.orders()):
			orders = true
		default:
			// A server that hands out keys beyond the range that was asked for
			// is broken or worse; the reflector has dropped them already.
		}
	}
	if orders {
		f.told = true
		f.handler.Orders(f.orders(state))
	}
}

func (f *follower) policy(value []byte) {
	if value == nil {
		f.handler.PolicyInvalid(0, ErrNoPolicy)
		return
	}
	env, err := decodeEnvelope(f.keys.current(), value)
	if err == nil && env.Boundary != f.boundary {
		err = &MalformedError{Key: f.keys.current(), Err: errors.New("it is of boundary " + clip(string(env.Boundary), 40))}
	}
	if err != nil {
		f.handler.PolicyInvalid(env.Serial, err)
		return
	}
	f.handler.Policy(env)
}

func (f *follower) orders(state map[string][]byte) []Order {
	out := []Order{}
	for key, value := range state {
		if !strings.HasPrefix(key, f.keys.orders()) {
			continue
		}
		o, err := decodeOrder(f.boundary, key, value)
		if err != nil {
			f.store.log.Warn().Err(telemetry.Foreign(err)).Str("boundary", string(f.boundary)).Msg("order left out")
			continue
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Order) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// WatchDigests tells what the stamps of the boundary say, until ctx ends; its
// error is then nil. A nil payload means that a region's digest ran out. The
// same rules hold as for Watch.
func (s *Store) WatchDigests(ctx context.Context, boundary geo.Boundary, told func(region geo.RegionID, payload json.RawMessage)) error {
	if err := checkBoundary(boundary); err != nil {
		return err
	}
	keys := keysOf(boundary)
	from, to := keys.digestRange()
	deliver := func(state map[string][]byte, changed []string) {
		for _, key := range changed {
			payload := json.RawMessage(state[key])
			if len(payload) > maxDigestBytes || payload != nil && !json.Valid(payload) {
				payload = nil
			}
			told(geo.RegionID(strings.TrimPrefix(key, keys.digests())), payload)
		}
	}
	r := &reflector{store: s, name: "digests of " + string(boundary), from: from, to: to, deliver: deliver, connected: func(bool) {}, problem: func(error) {}}
	r.run(ctx)
	return nil
}
