package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/geo"
)

const (
	// HistoryKept is how many publications the history holds.
	HistoryKept = 200
	// Entries pruned by one publication. One is due each time; more only after
	// a jump. etcd takes 128 operations in a transaction.
	prunedAtOnce = 50
	// Tries of a write whose answers get lost.
	publishTries = 4
	// Entries of the history whose signature is looked at to find the highest
	// genuine serial; more than that many forged ones need a human.
	forgedAtMost = 16
	// Serials that a publication leaves out at most because a gateway says that it
	// follows a newer one: publications since a backup, with much room.
	leapAtMost = 100_000
)

// A PublishRequest is a document on its way into force.
type PublishRequest struct {
	Document []byte // as it was written, not compressed
	Author   string
	Message  string
	// ExpectSerial, if set, is the serial that must be in force: what the author
	// had before his eyes. 0 expects that none is.
	ExpectSerial *uint64
	// ID tells this publication from others of the same document; made when
	// empty. A caller that repeats a lost call repeats the ID.
	ID string
	// Publisher is the version of the program that publishes.
	Publisher string
	// Same, if set, reports whether a document in force says what this one does, in
	// other words or with other comments; nothing is published then. The very
	// same bytes count in any case.
	Same func(inForce []byte) bool
	// Again publishes all the same, for example to sign with a new key or for the
	// sake of a comment.
	Again bool
	// Trust, if set, says which stored envelopes are genuine. A forged one then
	// neither counts as in force nor sets the next serial.
	Trust *signing.Verifier
	// RollbackOf, if set, is the serial of the publication whose document this is: the
	// message, if there is none, and the audit trail say so. Serials only grow, so it
	// gets a new one.
	RollbackOf uint64
}

// Publish puts a document in force under the next serial, in one transaction
// that compares what is in force: of two at once one wins, and the other gets a
// *ConflictError. If what the document says is in force already, that envelope is
// the answer (its Publication is another than the request's ID). Where a gateway
// follows a higher serial already, because etcd was restored from an older backup,
// the next one above that is taken, and the envelope's Note says so. A write whose
// answer was lost is looked up and not repeated; if that fails too, the error is
// an *UncertainError.
func (s *Store) Publish(ctx context.Context, boundary geo.Boundary, req PublishRequest, key signing.PrivateKey) (Envelope, error) {
	p, err := newPublication(boundary, req, key)
	if err != nil {
		return Envelope{}, err
	}
	var lost error // of the latest try that left the outcome open
	for try := range publishTries {
		if try > 0 && !sleep(ctx, s.backoff(try)) {
			break
		}
		env, done, err := s.publishOnce(ctx, p)
		if done {
			return env, err
		}
		lost = err
	}
	return Envelope{}, &UncertainError{Serial: p.env.Serial, Err: lost}
}

// A publication is a Publish call under way.
type publication struct {
	req  PublishRequest
	keys keys
	key  signing.PrivateKey
	env  Envelope // with serial and signature once it was sent
	base int64    // the revision of current that it replaces
	// ahead is the highest serial that a gateway follows beyond what is in force,
	// 0 if none does, and by whom: etcd was restored from an older backup.
	ahead   uint64
	aheadBy string
}

func newPublication(boundary geo.Boundary, req PublishRequest, key signing.PrivateKey) (*publication, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	if len(req.Author) > maxAuthorBytes || len(req.Message) > maxMessageBytes {
		return nil, &InvalidError{Text: fmt.Sprintf("author or message is too long: at most %d and %d bytes", maxAuthorBytes, maxMessageBytes)}
	}
	if req.RollbackOf != 0 && req.Message == "" {
		req.Message = "roll back to " + strconv.FormatUint(req.RollbackOf, 10)
	}
	env, err := NewEnvelope(boundary, 0, req.Document)
	if err != nil {
		return nil, err
	}
	if req.ID == "" {
		req.ID = NewID()
	}
	if err := CheckName("publication id", req.ID); err != nil {
		return nil, err
	}
	env.Author, env.Message, env.Publication, env.Publisher = req.Author, req.Message, req.ID, req.Publisher
	return &publication{req: req, keys: keysOf(boundary), key: key, env: env}, nil
}

// publishOnce looks at what is in force, and writes if nothing speaks against
// it. Not done means that the outcome is unknown and it may be called again.
func (s *Store) publishOnce(ctx context.Context, p *publication) (Envelope, bool, error) {
	now, err := s.standing(ctx, p)
	if err == nil {
		err = now.newer
	}
	if err != nil {
		sent := p.env.Signature != nil
		return Envelope{}, !sent, unavailable("read the policy in force", err)
	}
	if p.env.Signature == nil {
		if err := s.lookAhead(ctx, p, now); err != nil {
			return Envelope{}, true, err
		}
	}
	if env, settled, err := s.settled(ctx, p, now); settled {
		return env, true, err
	}
	if p.env.Signature == nil { // a repeated write must be the same write
		if err := s.prepare(ctx, p, now); err != nil {
			return Envelope{}, true, err
		}
	}
	return s.write(ctx, p, now)
}

// A standing is what is in force at one revision.
type standing struct {
	current  *Envelope // nil: none, or none that is genuine
	newer    error     // current is in a format of a later release: not ours to replace
	revision int64     // of the key, genuine or not; 0 = absent
	history  []uint64  // serials, highest first
}

func (s *Store) standing(ctx context.Context, p *publication) (standing, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(
		clientv3.OpGet(p.keys.current()),
		clientv3.OpGet(p.keys.history(), clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		return standing{}, err
	}
	var now standing
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		now.revision = kvs[0].ModRevision
		env, err := decodeEnvelope(p.keys.current(), kvs[0].Value)
		if _, newer := errors.AsType[*signing.FormatError](err); newer {
			now.newer = err
		}
		if err == nil && p.genuine(env) {
			now.current = &env
		}
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		if n, err := strconv.ParseUint(strings.TrimPrefix(string(kv.Key), p.keys.history()), 10, 64); err == nil && n < math.MaxUint64 {
			now.history = append(now.history, n)
		}
	}
	slices.Sort(now.history)
	slices.Reverse(now.history)
	return now, nil
}

func (p *publication) genuine(e Envelope) bool {
	return e.Boundary == p.env.Boundary && e.Serial < math.MaxUint64 && (p.req.Trust == nil || e.Verify(p.req.Trust) == nil)
}

// settled decides whether there is anything left to write. If not, envelope and
// error are the answer.
func (s *Store) settled(ctx context.Context, p *publication, now standing) (env Envelope, settled bool, err error) {
	sent := p.env.Signature != nil
	if c := now.current; c != nil {
		if c.Publication == p.req.ID && c.Digest == p.env.Digest {
			return *c, true, nil
		}
		if !sent && !p.req.Again && p.ahead == 0 && p.says(c) {
			return *c, true, nil
		}
	}
	if sent && now.revision != p.base {
		// Someone else published since. Ours may have been in force in between.
		if old, err := s.At(ctx, p.env.Boundary, p.env.Serial); err == nil && old.Publication == p.req.ID {
			return old, true, nil
		}
		return Envelope{}, true, now.conflict(p.env.Boundary)
	}
	if want := p.req.ExpectSerial; !sent && want != nil && *want != now.serial() {
		return Envelope{}, true, now.conflict(p.env.Boundary)
	}
	return Envelope{}, false, nil
}

// says reports whether the envelope in force says what is to be published.
func (p *publication) says(inForce *Envelope) bool {
	if inForce.Digest == p.env.Digest {
		return true
	}
	if p.req.Same == nil {
		return false
	}
	document, err := inForce.Open(policy.MaxRawBytes)
	return err == nil && p.req.Same(document)
}

func (now standing) serial() uint64 {
	if now.current == nil {
		return 0
	}
	return now.current.Serial
}

func (now standing) conflict(b geo.Boundary) error {
	c := now.current
	if c == nil {
		return &ConflictError{Boundary: b}
	}
	return &ConflictError{Boundary: b, Serial: c.Serial, Digest: c.Digest, Author: c.Author, Message: c.Message, Time: c.Time}
}

// prepare gives the envelope its serial, time and signature.
func (s *Store) prepare(ctx context.Context, p *publication, now standing) error {
	serial, err := s.nextSerial(ctx, p, now)
	if err != nil {
		return err
	}
	if p.ahead >= serial {
		if p.ahead-serial > leapAtMost {
			return &InvalidError{Text: fmt.Sprintf("gateway %s says that it follows policy %d, but the newest here is %d: no backup is so old. "+
				"Find out who writes that presence, delete it, and publish again", p.aheadBy, p.ahead, serial-1)}
		}
		p.env.Note = fmt.Sprintf("serials %d to %d are left out: gateway %s follows policy %d already, so this etcd was restored from an older backup", serial, p.ahead, p.aheadBy, p.ahead)
		serial = p.ahead + 1
	}
	p.env.Serial, p.env.Time = serial, time.Now().UTC()
	p.env.Sign(p.key)
	p.base = now.revision
	return nil
}

// nextSerial is one above the highest genuine serial there ever was: gateways
// refuse anything else. The history counts too, since current may have been lost
// or set back.
func (s *Store) nextSerial(ctx context.Context, p *publication, now standing) (uint64, error) {
	forged := 0
	for _, serial := range now.history {
		if serial <= now.serial() {
			break
		}
		if p.req.Trust != nil {
			env, err := s.At(ctx, p.env.Boundary, serial)
			if _, malformed := errors.AsType[*MalformedError](err); err != nil && !malformed && !errors.Is(err, ErrNoSerial) {
				return 0, err
			}
			if err != nil || !p.genuine(env) {
				if forged++; forged > forgedAtMost {
					return 0, fmt.Errorf("publish to %s: over %d forged entries in the history: delete them first", p.env.Boundary, forgedAtMost)
				}
				continue
			}
		}
		return serial + 1, nil
	}
	return now.serial() + 1, nil
}

// lookAhead finds out whether a gateway follows what is newer than what is in
// force here: it would refuse the next serial, and "published" would be true of
// nobody. Presence is not signed, so it decides nothing but how many serials are
// left out, and no more than leapAtMost.
func (s *Store) lookAhead(ctx context.Context, p *publication, now standing) error {
	all, err := s.ListPresence(ctx, p.env.Boundary)
	if err != nil {
		return err
	}
	p.ahead, p.aheadBy = 0, ""
	for _, g := range all {
		follows := max(g.AppliedSerial, g.HighestSerial)
		other := now.current != nil && g.AppliedSerial == now.current.Serial && g.AppliedDigest != "" && g.AppliedDigest != now.current.Digest
		if (follows > now.serial() || other) && follows > p.ahead {
			p.ahead, p.aheadBy = follows, clip(g.Gateway, 60)
		}
	}
	return nil
}

func (s *Store) write(ctx context.Context, p *publication, now standing) (Envelope, bool, error) {
	value, err := p.env.encode()
	if err != nil {
		return Envelope{}, true, err
	}
	ops := []clientv3.Op{
		clientv3.OpPut(p.keys.current(), value),
		clientv3.OpPut(p.keys.historyOf(p.env.Serial), value),
	}
	action := "publish"
	if p.req.RollbackOf != 0 {
		action = "rollback"
	}
	ops = append(ops, auditOp(p.env.Boundary, AuditRecord{
		Time: p.env.Time, ID: p.req.ID, Author: p.env.Author, Action: action,
		Subject: "policy " + strconv.FormatUint(p.env.Serial, 10), Message: p.env.Message, Digest: p.env.Digest, Note: p.env.Note,
	}))
	for _, serial := range now.history {
		if len(ops) < prunedAtOnce && serial+HistoryKept <= p.env.Serial {
			ops = append(ops, clientv3.OpDelete(p.keys.historyOf(serial)))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(p.keys.current()), "=", p.base)).
		Then(ops...).Commit()
	switch {
	case err == nil && resp.Succeeded:
		return p.env, true, nil
	case err == nil: // someone was first, or an earlier try of ours was: look again
		return Envelope{}, false, errors.New("what is in force changed meanwhile")
	case passes(err) || errors.Is(err, context.Canceled):
		return Envelope{}, false, unavailable("publish", err)
	}
	return Envelope{}, true, fmt.Errorf("publish policy %d to %s: %w", p.env.Serial, p.env.Boundary, err)
}

// NewID makes an ID that nothing else has.
func NewID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}
