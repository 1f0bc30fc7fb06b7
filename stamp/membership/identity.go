package membership

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/stampgate/stampgate/stamp/wire"
)

// An identity is who this gateway is for one boot: a key made at start that is
// never written down. The boot id is the front of the public key's digest, and
// part of the member's name, so a name proves which key signs for it. Two names
// that match would take 2^64 keys to find.
type identity struct {
	gateway string
	boot    string // 16 hexadecimal digits
	private ed25519.PrivateKey
	meta    meta
}

const bootBytes = 8 // of the digest that names a boot

// meta is what a member shows to all: at most 512 bytes, memberlist's limit. It is
// the message of fields
//
//	1 version, 2 public key, 3 boundary, 4 region, 5 version of the build,
//	6 a channel, any number of times: 1 name, 2 versions of its payload
//
// A reader refuses no version and skips the fields that it does not know: fields 2
// to 4 mean the same in all versions. The longest of ours is 474 bytes.
type meta struct {
	version  uint64
	public   ed25519.PublicKey
	boundary string
	region   string
	build    string
	channels []ChannelVersions
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
	build := cfg.Version
	if len(build) > maxMetaText {
		build = build[:maxMetaText]
	}
	return identity{
		gateway: cfg.Name,
		boot:    bootOf(public),
		private: private,
		meta:    meta{metaVersion, public, string(cfg.Boundary), string(cfg.Region), build, cfg.Channels},
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
	b := wire.AppendUint(nil, 1, m.version)
	b = wire.AppendBytes(b, 2, m.public)
	b = wire.AppendBytes(b, 3, m.boundary)
	b = wire.AppendBytes(b, 4, m.region)
	b = wire.AppendBytes(b, 5, m.build)
	for _, c := range m.channels {
		b = wire.AppendBytes(b, 6, c.encode())
	}
	return b
}

func (m meta) has(channel string) bool { return hasChannel(m.channels, channel) }

var (
	errForeign     = errors.New("belongs to another boundary or region")
	errNotItsKey   = errors.New("has a name that is not its key's")
	errNameOrBoot  = errors.New("has a name without a boot id")
	errBadMetadata = errors.New("shows metadata that cannot be read")
)

// decodeMeta reads metadata of this and of later versions. Channels beyond
// maxChannels, those that are out of bounds, and a second one of a name it leaves
// out: what a member sends must not count twice.
func decodeMeta(b []byte) (meta, error) {
	var m meta
	for f, err := range wire.Fields(b) {
		if err != nil {
			return meta{}, err
		}
		switch f.ID {
		case 1:
			m.version = f.Uint
		case 2:
			m.public = append(ed25519.PublicKey(nil), f.Bytes...)
		case 3:
			m.boundary = string(f.Bytes)
		case 4:
			m.region = string(f.Bytes)
		case 5:
			m.build = string(f.Bytes[:min(len(f.Bytes), maxMetaText)])
		case 6:
			if c, ok := decodeChannel(f.Bytes); ok && len(m.channels) < maxChannels && !m.has(c.Name) {
				m.channels = append(m.channels, c)
			}
		}
	}
	if len(m.public) != ed25519.PublicKeySize {
		return meta{}, errors.New("has no public key")
	}
	return m, nil
}

// admit decides whether a node that claims to be a member may be one. It looks at
// nothing but what the node shows, so it is the same for everyone.
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
