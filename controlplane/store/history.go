package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Envelopes read by one call: 16 × 1.4 MB fit into maxReceiveBytes.
const historyPage = 16

// Current returns the envelope in force, not verified. The error is ErrNoPolicy
// when nothing was published yet, and a *MalformedError when what is stored is
// no envelope.
func (s *Store) Current(ctx context.Context, boundary geo.Boundary) (Envelope, error) {
	if err := checkBoundary(boundary); err != nil {
		return Envelope{}, err
	}
	return s.envelope(ctx, keysOf(boundary).current(), ErrNoPolicy)
}

// At returns a publication of the history, not verified, or ErrNoSerial.
func (s *Store) At(ctx context.Context, boundary geo.Boundary, serial uint64) (Envelope, error) {
	if err := checkBoundary(boundary); err != nil {
		return Envelope{}, err
	}
	key := keysOf(boundary).historyOf(serial)
	env, err := s.envelope(ctx, key, ErrNoSerial)
	if err == nil && env.Serial != serial {
		err = &MalformedError{Key: key, Err: fmt.Errorf("it holds policy %d", env.Serial)}
	}
	return env, err
}

func (s *Store) envelope(ctx context.Context, key string, absent error) (Envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return Envelope{}, unavailable("read "+key, err)
	}
	if len(resp.Kvs) == 0 {
		return Envelope{}, absent
	}
	return decodeEnvelope(key, resp.Kvs[0].Value)
}

// History returns up to limit publications, the latest first. Entries that
// cannot be read are left out.
func (s *Store) History(ctx context.Context, boundary geo.Boundary, limit int) ([]Envelope, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	now, err := s.standing(ctx, &publication{keys: keysOf(boundary), env: Envelope{Boundary: boundary}})
	if err != nil {
		return nil, unavailable("read the history of "+string(boundary), err)
	}
	serials := now.history
	if limit > 0 && len(serials) > limit {
		serials = serials[:limit]
	}
	out := make([]Envelope, 0, len(serials))
	for len(serials) > 0 {
		n := min(historyPage, len(serials))
		page, err := s.historyPage(ctx, boundary, serials[:n])
		if err != nil {
			return nil, err
		}
		out, serials = append(out, page...), serials[n:]
	}
	return out, nil
}

func (s *Store) historyPage(ctx context.Context, boundary geo.Boundary, serials []uint64) ([]Envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	keys := keysOf(boundary)
	ops := make([]clientv3.Op, len(serials))
	for i, serial := range serials {
		ops[i] = clientv3.OpGet(keys.historyOf(serial))
	}
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, unavailable("read the history of "+string(boundary), err)
	}
	var out []Envelope
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			env, err := decodeEnvelope(string(kv.Key), kv.Value)
			if err != nil {
				s.log.Warn().Err(telemetry.Foreign(err)).Str("boundary", string(boundary)).Msg("history entry left out")
				continue
			}
			out = append(out, env)
		}
	}
	return out, nil
}
