package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	maxGateways      = 5000
	maxPresenceBytes = 64 << 10
	revokeGrace      = time.Second
	// A presence is written anew this often even if nothing changed, so that a
	// key that someone deleted comes back.
	presenceRewrite = time.Minute
)

// PresenceFormat is the format that this program writes. Presence is for showing
// and cannot widen anything, so of a newer one what is known is shown, and the
// rest ignored.
const PresenceFormat = 1

// A Presence is what a gateway says of itself.
type Presence struct {
	Format        int          `json:"format"` // set when it is written
	Gateway       string       `json:"gateway"`
	Region        geo.RegionID `json:"region"`
	Version       string       `json:"version,omitempty"` // of the program
	AppliedSerial uint64       `json:"appliedSerial"`     // 0 = none
	AppliedDigest string       `json:"appliedDigest,omitempty"`
	RefusedSerial uint64       `json:"refusedSerial,omitempty"`
	RefusedReason string       `json:"refusedReason,omitempty"`
	// HighestSerial is the highest that it ever followed, if that is not the applied
	// one: it follows nothing below.
	HighestSerial uint64    `json:"highestSerial,omitempty"`
	Unkept        string    `json:"unkept,omitempty"` // what its disk does not take
	Health        string    `json:"health,omitempty"` // pass, warn, fail
	Draining      bool      `json:"draining,omitempty"`
	Started       time.Time `json:"started,omitzero"`
	URL           string    `json:"url,omitempty"`
	AdminURL      string    `json:"adminUrl,omitempty"`
}

// AnnouncePresence keeps the gateway's presence key in the store, under a lease,
// until ctx ends; then it removes the key. value is asked for what to say: at
// the start, whenever changed is signalled (give it a buffer of one and never
// wait), and at each renewal of the lease. Its Gateway and Region must not
// change. It returns an error only for names that cannot be a key; while etcd is
// away it keeps trying.
func (s *Store) AnnouncePresence(ctx context.Context, boundary geo.Boundary, value func() Presence, changed <-chan struct{}) error {
	first := value()
	if err := errors.Join(checkBoundary(boundary), checkRegion(first.Region), CheckName("gateway", first.Gateway)); err != nil {
		return fmt.Errorf("announce presence: %w", err)
	}
	a := &announcement{store: s, key: keysOf(boundary).presenceOf(first.Region, first.Gateway), value: value, changed: changed}
	for try := 1; ; try++ {
		began := time.Now()
		err := a.hold(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.presenceProblem.set(err)
		if time.Since(began) > s.timing.PresenceTTL {
			try = 1
		}
		level := zerolog.DebugLevel
		if try == 1 { // once per outage, not once per try
			level = zerolog.WarnLevel
		}
		s.log.WithLevel(level).Err(telemetry.Foreign(err)).Str("boundary", string(boundary)).Msg("presence interrupted")
		if !sleep(ctx, s.backoff(try)) {
			return nil
		}
	}
}

type announcement struct {
	store   *Store
	key     string
	value   func() Presence
	changed <-chan struct{}
}

// hold writes the key under a new lease and keeps both, until something fails.
func (a *announcement) hold(ctx context.Context) error {
	s := a.store
	var lease clientv3.LeaseID
	err := s.limited(ctx, func(ctx context.Context) error {
		resp, err := s.client.Grant(ctx, max(int64(s.timing.PresenceTTL.Seconds()), 1))
		if err == nil {
			lease = resp.ID
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("grant lease: %w", err)
	}
	defer a.revoke(ctx, lease)
	var said []byte
	var saidAt time.Time
	renew := time.NewTicker(max(s.timing.PresenceTTL/3, 10*time.Millisecond))
	defer renew.Stop()
	for {
		presence := a.value()
		presence.Format = PresenceFormat
		text, err := json.Marshal(presence)
		if err != nil || len(text) > maxPresenceBytes {
			return fmt.Errorf("encode presence of %d bytes: %w", len(text), errors.Join(err, errors.New("it cannot be stored")))
		}
		if !bytes.Equal(text, said) || time.Since(saidAt) > presenceRewrite {
			if err := s.limited(ctx, func(ctx context.Context) error {
				_, err := s.client.Put(ctx, a.key, string(text), clientv3.WithLease(lease))
				return err
			}); err != nil {
				return fmt.Errorf("put presence: %w", err)
			}
			said, saidAt = text, time.Now()
			s.presenceProblem.set(nil)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.changed:
		case <-renew.C:
			if err := s.limited(ctx, func(ctx context.Context) error {
				_, err := s.client.KeepAliveOnce(ctx, lease)
				return err
			}); err != nil {
				return fmt.Errorf("renew lease: %w", err)
			}
		}
	}
}

// revoke removes the key of a gateway that leaves. One that only lost its
// connection lets the lease run out: a new key of its own may be on the way.
func (a *announcement) revoke(ctx context.Context, lease clientv3.LeaseID) {
	if ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeGrace)
	defer cancel()
	if _, err := a.store.client.Revoke(ctx, lease); err != nil {
		a.store.log.Debug().Err(telemetry.Foreign(err)).Msg("presence lease runs out by itself")
	}
}

// ListPresence returns the gateways that are there, by region and name. What a
// gateway says is not signed: it is for showing, and decides nothing but how many
// serials a publication leaves out, within a bound.
func (s *Store) ListPresence(ctx context.Context, boundary geo.Boundary) ([]Presence, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	prefix := keysOf(boundary).presence()
	resp, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(maxGateways))
	if err != nil {
		return nil, unavailable("read the presence of "+string(boundary), err)
	}
	out := make([]Presence, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		region, gateway, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		var p Presence
		if err := json.Unmarshal(kv.Value, &p); err != nil {
			p = Presence{Health: "unreadable"}
		}
		p.Region, p.Gateway = geo.RegionID(region), gateway // the key is what the lease holds
		out = append(out, p)
	}
	return out, nil
}
