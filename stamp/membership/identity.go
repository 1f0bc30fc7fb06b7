package membership

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// An identity is who this gateway is for one boot: a key made at start that is
// never written down. The boot id is the front of the public key's digest, and
// part of the member's name, so a name proves which key speaks for it. Two
// names that match would take 2^64 keys to find.
type identity struct {
	gateway string
	boot    string // 16 hexadecimal digits
	private ed25519.PrivateKey
	meta    meta
}

// meta is what a member shows to all: at most 512 bytes, memberlist's limit.
// The longest is 1 + 32 + 3 × 65 = 228.
type meta struct {
	public   ed25519.PublicKey
	boundary string
	region   string
	version  string
}

const (
	metaVersion = 1
	maxMetaText = 64 // bytes of each text
)

func newIdentity(cfg Config) (identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make the boot's key: %w", err)
	}
	version := cfg.Version
	if len(version) > maxMetaText {
		version = version[:maxMetaText]
	}
	return identity{
		gateway: cfg.Name,
		boot:    bootOf(public),
		private: private,
		meta:    meta{public, string(cfg.Boundary), string(cfg.Region), version},
	}, nil
}

func bootOf(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:bootBytes])
}

// memberName is the name in the cluster: unique to a boot, so that a gateway
// that comes back is not taken for the one that died.
func memberName(gateway, boot string) string { return gateway + "-" + boot }

// splitName undoes memberName.
func splitName(name string) (gateway, boot string, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 1 || len(name)-i-1 != 2*bootBytes || i > maxName {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

func (id identity) name() string { return memberName(id.gateway, id.boot) }

func (m meta) encode() []byte {
	b := append([]byte{metaVersion}, m.public...)
	b = appendString(b, m.boundary)
	b = appendString(b, m.region)
	return appendString(b, m.version)
}

func decodeMeta(b []byte) (meta, error) {
	d := decoder{rest: b}
	d.check(d.byte() == metaVersion, errVersion)
	m := meta{public: ed25519.PublicKey(append([]byte(nil), d.take(ed25519.PublicKeySize)...))}
	m.boundary, m.region, m.version = d.str(maxMetaText), d.str(maxMetaText), d.str(maxMetaText)
	d.check(len(d.rest) == 0, errTrailing)
	return m, d.err
}

var (
	errForeign     = errors.New("belongs to another boundary or region")
	errNotItsKey   = errors.New("has a name that is not its key's")
	errNameOrBoot  = errors.New("has a name without a boot id")
	errBadMetadata = errors.New("shows metadata that cannot be read")
)

// admit decides whether a node that says that it is a member may be one. It
// looks at nothing but what the node shows, so it is the same for everyone.
func (m meta) admit(name string, shown []byte) (meta, error) {
	other, err := decodeMeta(shown)
	if err != nil {
		return meta{}, fmt.Errorf("%w: %w", errBadMetadata, err)
	}
	if other.boundary != m.boundary || other.region != m.region {
		return meta{}, errForeign
	}
	_, boot, ok := splitName(name)
	if !ok {
		return meta{}, errNameOrBoot
	}
	if boot != bootOf(other.public) {
		return meta{}, errNotItsKey
	}
	return other, nil
}

// signed returns what a signature of a report covers: also the cluster, so that
// nothing can be carried over from another one.
func signed(label string, body []byte) []byte {
	b := make([]byte, 0, len(label)+len(body)+32)
	b = append(b, "stampgate gossip report\x00"...)
	b = append(b, label...)
	b = append(b, 0)
	return append(b, body...)
}
