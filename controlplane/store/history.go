package store

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
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
	return s.envelope(ctx, keysOf(boundary).historyOf(serial), ErrNoSerial)
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

// A RollbackRequest puts an old document back in force.
type RollbackRequest struct {
	Serial       uint64 // of the publication whose document is wanted
	Author       string
	Message      string  // "" = "roll back to N"
	ExpectSerial *uint64 // as in PublishRequest
	ID           string  // as in PublishRequest
	Publisher    string
	Same         func(inForce []byte) bool // as in PublishRequest
	Trust        *signing.Verifier
}

// Rollback publishes the document of an old serial under a new one: serials
// only grow. With Trust set, an entry that is not genuine is refused.
func (s *Store) Rollback(ctx context.Context, boundary geo.Boundary, req RollbackRequest, key signing.PrivateKey) (Envelope, error) {
	old, err := s.At(ctx, boundary, req.Serial)
	if err != nil {
		return Envelope{}, err
	}
	var document []byte
	if req.Trust != nil {
		document, err = old.OpenVerified(boundary, req.Trust)
	} else {
		document, err = old.Open(policy.MaxRawBytes)
	}
	if err == nil && old.Serial != req.Serial {
		err = fmt.Errorf("the entry holds policy %d", old.Serial)
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("roll back to %d: %w", req.Serial, err)
	}
	if req.Message == "" {
		req.Message = "roll back to " + strconv.FormatUint(req.Serial, 10)
	}
	return s.Publish(ctx, boundary, PublishRequest{
		Document: document, Author: req.Author, Message: req.Message,
		ExpectSerial: req.ExpectSerial, ID: req.ID, Publisher: req.Publisher, Same: req.Same, Trust: req.Trust, action: "rollback",
	}, key)
}
