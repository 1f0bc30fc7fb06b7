package membership

import (
	"crypto/ed25519"
	"time"
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
	label, _ := clusterLabel(cfg.Boundary, cfg.Region)
	return Forger{id, label}
}

func (f Forger) Name() string { return f.id.name() }
func (f Forger) Meta() []byte { return f.id.meta.encode() }

// Message signs a report with the forger's key, whoever it names.
func (f Forger) Message(r Report) []byte {
	body, err := encodeReport(r)
	if err != nil {
		panic(err)
	}
	raw := append(ed25519.Sign(f.id.private, signed(f.label, body)), body...)
	now := time.Now()
	return appendEnvelope([]byte{kindReport}, entry{r, raw, now}, now)
}

// State wraps messages as one side of an exchange.
func (f Forger) State(label string, messages ...[]byte) []byte {
	b := appendString([]byte{kindState}, label)
	for _, m := range messages {
		b = append(b, 0, 0, byte((len(m)-1)>>8), byte(len(m)-1))
		b = append(b, m[1:]...)
	}
	return b
}

// OwnMessage is the latest report of a gateway as it goes over the wire.
func OwnMessage(m *Membership) []byte {
	return (&rumour{entry: m.table.own()}).Message()
}
