package membership

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"time"

	"github.com/stampgate/stampgate/stamp/wire"
)

// Bounds of what is gossiped. What is beyond them is dropped and counted, never
// kept: a peer with a fault, or with malice, must not make us grow.
const (
	// MaxMembers is the largest stamp, twice what was simulated.
	MaxMembers = 1024
	// MaxPayloadBytes is the largest payload of one member on one channel.
	MaxPayloadBytes = 64 << 10
	// MaxStateBytes is the most that a full exchange between two gateways
	// carries: 500 gateways with messages of 2 kB need 1 MB.
	MaxStateBytes = 4 << 20

	maxName = 128 // bytes of a gateway's name
	maxAge  = 24 * time.Hour
	// maxBody leaves room beside the payload, also for fields of later versions.
	maxBody = MaxPayloadBytes + 1024
)

// A body is what a member signs: its payload, and what tells it from all others.
// It is the message of fields
//
//	1 member, 2 channel, 3 version of the payload, 4 sequence, 5 payload
//
// and of such as a later version may add. Whoever passes a message on passes the
// bytes on that were signed, unknown fields included.
type body struct {
	key
	version uint64
	seq     uint64
	payload []byte
}

// A key names a place in the table: one boot of a gateway, and a channel.
type key struct{ member, channel string }

func (b body) encode() []byte {
	out := make([]byte, 0, len(b.payload)+len(b.member)+64)
	out = wire.AppendBytes(out, 1, b.member)
	out = wire.AppendBytes(out, 2, b.channel)
	out = wire.AppendUint(out, 3, b.version)
	out = wire.AppendUint(out, 4, b.seq)
	return wire.AppendBytes(out, 5, b.payload)
}

var errNoBody = errors.New("names no member, channel or sequence")

// decodeBody shares memory with what it reads.
func decodeBody(b []byte) (body, error) {
	var out body
	for f, err := range wire.Fields(b) {
		if err != nil {
			return body{}, err
		}
		switch f.ID {
		case 1:
			out.member = string(f.Bytes)
		case 2:
			out.channel = string(f.Bytes)
		case 3:
			out.version = f.Uint
		case 4:
			out.seq = f.Uint
		case 5:
			out.payload = f.Bytes
		}
	}
	if out.member == "" || out.channel == "" || out.seq == 0 {
		return body{}, errNoBody
	}
	return out, nil
}

// An entry is a message as it is kept: read, and in the bytes that its member
// signed, so that it can be passed on.
type entry struct {
	body
	raw []byte    // signature and body
	at  time.Time // on our clock: when the payload's remaining times held
}

// replaces reports whether e takes the place of another entry of the same key. The
// order is total, so that all who have received the same messages hold the same
// one, whichever came first. A member never makes two with one sequence; should one
// do so, the bytes decide. Of two copies of one message the table keeps the earlier
// moment: waiting is measured on the way, travelling is not, so the earlier is
// closer to the truth.
func (e entry) replaces(old entry) bool {
	return cmp.Or(cmp.Compare(e.seq, old.seq), bytes.Compare(e.raw, old.raw)) > 0
}

// An envelope carries a message: four bytes for how long it has waited with
// gateways on its way, in milliseconds, then the signature, then the body.
const (
	ageBytes     = 4
	envelopeHead = ageBytes + ed25519.SignatureSize
)

func appendEnvelope(b []byte, e entry, now time.Time) []byte {
	age := min(max(now.Sub(e.at), 0), maxAge)
	b = binary.BigEndian.AppendUint32(b, uint32(age/time.Millisecond))
	return append(b, e.raw...)
}

// openEnvelope reads a message without checking its signature.
func openEnvelope(envelope []byte, now time.Time) (entry, reason, bool) {
	if len(envelope) > maxBody+envelopeHead {
		return entry{}, dropOversize, false
	}
	if len(envelope) <= envelopeHead {
		return entry{}, dropMalformed, false
	}
	age := min(time.Duration(binary.BigEndian.Uint32(envelope))*time.Millisecond, maxAge)
	raw := envelope[ageBytes:]
	b, err := decodeBody(raw[ed25519.SignatureSize:])
	if err != nil {
		return entry{}, dropMalformed, false
	}
	return entry{b, raw, now.Add(-age)}, 0, true
}

// sign makes an entry of a body.
func (id identity) sign(label string, b body, at time.Time) entry {
	text := b.encode()
	return entry{b, append(ed25519.Sign(id.private, signed(label, text)), text...), at}
}

// signedBy reports whether the entry is signed with the key.
func (e entry) signedBy(public ed25519.PublicKey, label string) bool {
	return ed25519.Verify(public, signed(label, e.raw[ed25519.SignatureSize:]), e.raw[:ed25519.SignatureSize])
}

// signed returns what a signature covers: also the cluster, so that nothing can be
// carried over from another one.
func signed(label string, text []byte) []byte {
	b := make([]byte, 0, len(label)+len(text)+32)
	b = append(b, "stampgate gossip message\x00"...)
	b = append(b, label...)
	b = append(b, 0)
	return append(b, text...)
}

// encodeState writes all entries, for an exchange with another gateway: the fields
//
//	1 label of the cluster, 2 an envelope, any number of times
func encodeState(label string, entries []entry, size int, now time.Time) []byte {
	b := make([]byte, 0, size+len(entries)*entryOverhead+stateOverhead)
	b = wire.AppendBytes(append(b, kindState), 1, label)
	var envelope []byte
	for _, e := range entries {
		envelope = appendEnvelope(envelope[:0], e, now)
		b = wire.AppendBytes(b, 2, envelope)
	}
	return b
}

// The most that an exchange needs beside the messages: age, field and length of
// each, and the head.
const (
	entryOverhead = ageBytes + 4
	stateOverhead = 512
	maxEnvelopes  = MaxMembers * maxChannels
)

// maxOthers is the most that is kept of other members, signed: an exchange holds it
// and whatever we ourselves may broadcast, since peers drop one that is too long
// whole.
const maxOthers = MaxStateBytes - maxEnvelopes*entryOverhead - stateOverhead - maxChannels*(ed25519.SignatureSize+maxBody)

// splitState calls use for each envelope of an exchange.
func splitState(b []byte, label string, use func(envelope []byte)) (reason, bool) {
	if len(b) > MaxStateBytes {
		return dropOversize, false
	}
	if len(b) == 0 || b[0] != kindState {
		return dropMalformed, false
	}
	from, count := "", 0
	for f, err := range wire.Fields(b[1:]) {
		switch {
		case err != nil:
			return dropMalformed, false
		case f.ID == 1:
			from = string(f.Bytes)
		case f.ID != 2:
		case from != label:
			return dropForeign, false
		case count == maxEnvelopes:
			return dropOversize, false
		default:
			count++
			use(f.Bytes)
		}
	}
	if from == "" {
		return dropMalformed, false
	}
	if from != label {
		return dropForeign, false
	}
	return 0, true
}
