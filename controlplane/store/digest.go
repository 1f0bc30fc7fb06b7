package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/geo"
)

const maxDigestBytes = 256 << 10

type digestLease struct {
	id      clientv3.LeaseID
	renewed time.Time
}

// PutDigest writes what a stamp says of its own region, under a lease that is
// renewed by writing again and runs out Timing.DigestTTL after the last time.
// One gateway of the stamp writes; a second one takes the key over unharmed.
func (s *Store) PutDigest(ctx context.Context, boundary geo.Boundary, region geo.RegionID, payload json.RawMessage) error {
	if err := errors.Join(checkBoundary(boundary), checkRegion(region)); err != nil {
		return &InvalidError{Text: err.Error()}
	}
	if len(payload) > maxDigestBytes || !json.Valid(payload) {
		return &InvalidError{Text: fmt.Sprintf("digest of %s: want JSON of at most %d bytes", region, maxDigestBytes)}
	}
	key := keysOf(boundary).digest(region)
	put := func(ctx context.Context) error {
		lease, err := s.digestLease(ctx, key)
		if err != nil {
			return err
		}
		_, err = s.client.Put(ctx, key, string(payload), clientv3.WithLease(lease))
		return err
	}
	err := s.limited(ctx, put)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) { // it ran out while etcd was away
		s.forgetLease(key)
		err = s.limited(ctx, put)
	}
	return unavailable("put digest of "+string(region), err)
}

// digestLease returns the key's lease with at least half of its life left.
func (s *Store) digestLease(ctx context.Context, key string) (clientv3.LeaseID, error) {
	s.mu.Lock()
	l, ok := s.leases[key]
	s.mu.Unlock()
	now := time.Now()
	switch {
	case ok && now.Sub(l.renewed) < s.timing.DigestTTL/2:
		return l.id, nil
	case ok:
		if _, err := s.client.KeepAliveOnce(ctx, l.id); err != nil {
			return 0, err
		}
	default:
		resp, err := s.client.Grant(ctx, max(int64(s.timing.DigestTTL.Seconds()), 1))
		if err != nil {
			return 0, err
		}
		l.id = resp.ID
	}
	s.mu.Lock()
	s.leases[key] = digestLease{id: l.id, renewed: now}
	s.mu.Unlock()
	return l.id, nil
}

func (s *Store) forgetLease(key string) {
	s.mu.Lock()
	delete(s.leases, key)
	s.mu.Unlock()
}

// Digests returns what the stamps of the boundary say. It is not signed: a hint
// that may only add caution.
func (s *Store) Digests(ctx context.Context, boundary geo.Boundary) (map[geo.RegionID]json.RawMessage, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	prefix := keysOf(boundary).digests()
	resp, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, unavailable("read the digests of "+string(boundary), err)
	}
	out := make(map[geo.RegionID]json.RawMessage, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		if json.Valid(kv.Value) {
			out[geo.RegionID(strings.TrimPrefix(string(kv.Key), prefix))] = kv.Value
		}
	}
	return out, nil
}
