package membership

import (
	"bytes"
	"crypto/ed25519"
	"time"

	"github.com/stampgate/stampgate/stamp/wire"
)

// WithLabel lets a test use one of two guards without the other.
func WithLabel(label string) Option { return func(m *Membership) { m.label = label } }

// A Forger makes what a member with the cluster's key could send.
type Forger struct {
	id    identity
	label string
}

func NewForger(cfg Config) Forger {
	id, err := newIdentity(cfg)
	if err != nil {
		panic(err)
	}
	return forger(id, cfg)
}

// FixedForger always has the same key.
func FixedForger(cfg Config, seed byte) Forger {
	id, _ := newIdentity(cfg)
	id.private = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	id.meta.public = id.private.Public().(ed25519.PublicKey)
	id.boot = bootOf(id.meta.public)
	return forger(id, cfg)
}

func forger(id identity, cfg Config) Forger {
	label, _ := clusterLabel(cfg.Boundary, cfg.Region)
	return Forger{id, label}
}

func (f Forger) Name() string { return f.id.name() }
func (f Forger) Meta() []byte { return f.id.meta.encode() }

// A Claim is a message as it says of itself.
type Claim struct {
	Member, Channel string
	Version, Seq    uint64
	Payload         string
}

// Message signs a message with the forger's key, whoever it names.
func (f Forger) Message(c Claim) []byte {
	now := time.Now()
	e := f.id.sign(f.label, body{key{c.Member, c.Channel}, c.Version, c.Seq, []byte(c.Payload)}, now)
	return appendEnvelope([]byte{kindMessage}, e, now)
}

// State wraps messages as one side of an exchange.
func (f Forger) State(label string, messages ...[]byte) []byte {
	b := encodeState(label, nil, 0, time.Now())
	for _, m := range messages {
		b = wire.AppendBytes(b, 2, m[1:])
	}
	return b
}

// OwnMessage is the latest message of a gateway as it goes over the wire.
func OwnMessage(m *Membership, channel string) []byte {
	m.table.mu.Lock()
	defer m.table.mu.Unlock()
	return (&broadcast{entry: m.table.entries[key{m.id.name(), channel}]}).Message()
}
