package membership

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

const (
	maxPeers     = 256
	maxPeersFile = 64 << 10 // 256 lines of about 80 bytes
	// peerMemory is how long a member that is gone is still looked for: longer
	// than a day, so that a partition over a weekend's night still heals.
	peerMemory = 72 * time.Hour
	// peersFresh is how old the file's times may become while the members stay
	// the same.
	peersFresh = 10 * time.Minute
)

// peers remembers where members were, so that a partition heals and a restart
// finds the stamp while the name server is away. An address proves nothing: who
// answers there must still have the key, the label and the right metadata.
type peers struct {
	path string // empty = in memory only

	mu    sync.Mutex // guards the fields below; never held across I/O
	seen  map[netip.AddrPort]time.Time
	dirty bool
	saved time.Time
}

// The times in the file are compared with the clock of the same machine only.
type peersDocument struct {
	Version int          `json:"version"`
	Peers   []peerRecord `json:"peers"`
}

type peerRecord struct {
	Addr netip.AddrPort `json:"addr"`
	Seen time.Time      `json:"seen"`
}

func newPeers(path string) *peers {
	return &peers{path: path, seen: make(map[netip.AddrPort]time.Time)}
}

// load reads the file. Without one, or with one that cannot be read, it starts
// empty: the file is a convenience and will be written again.
func (p *peers) load(now time.Time) error {
	if p.path == "" {
		return nil
	}
	b, err := readBounded(p.path, maxPeersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read remembered peers: %w", err)
	}
	list, err := decodePeers(b)
	if err != nil {
		return fmt.Errorf("read remembered peers: %s: %w", p.path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range list {
		if r.Seen.After(now) {
			r.Seen = now // the clock was set back
		}
		p.seen[r.Addr] = r.Seen
	}
	p.prune(now)
	return nil
}

func decodePeers(b []byte) ([]peerRecord, error) {
	var doc peersDocument
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Version != 1 || len(doc.Peers) > maxPeers {
		return nil, fmt.Errorf("version %d with %d peers, want version 1 with at most %d", doc.Version, len(doc.Peers), maxPeers)
	}
	return slices.DeleteFunc(doc.Peers, func(r peerRecord) bool { return !dialable(r.Addr) }), nil
}

// saw notes that a member lives at an address.
func (p *peers) saw(a netip.AddrPort, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.seen[a]; !ok {
		p.dirty = true
	}
	p.seen[a] = now
	p.prune(now)
}

// prune must be called with mu held.
func (p *peers) prune(now time.Time) {
	for a, seen := range p.seen {
		if now.Sub(seen) > peerMemory {
			delete(p.seen, a)
			p.dirty = true
		}
	}
	if len(p.seen) <= maxPeers {
		return
	}
	for _, r := range p.sorted()[maxPeers:] {
		delete(p.seen, r.Addr)
	}
}

// sorted must be called with mu held. The latest come first.
func (p *peers) sorted() []peerRecord {
	list := make([]peerRecord, 0, len(p.seen))
	for a, seen := range p.seen {
		list = append(list, peerRecord{a, seen})
	}
	slices.SortFunc(list, func(a, b peerRecord) int {
		return cmp.Or(b.Seen.Compare(a.Seen), a.Addr.Compare(b.Addr))
	})
	return list
}

// addrs returns what is remembered, after the live members were noted again.
func (p *peers) addrs(live []Member, self string, now time.Time) []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range live {
		if _, ok := p.seen[m.Addr]; m.Name != self && ok {
			p.seen[m.Addr] = now
		}
	}
	p.prune(now)
	out := make([]netip.AddrPort, 0, len(p.seen))
	for a := range p.seen {
		out = append(out, a)
	}
	return out
}

// save writes the file if there is something to write. It replaces the file in
// one step: a crash leaves the old one.
func (p *peers) save(now time.Time) error {
	p.mu.Lock()
	doc := peersDocument{Version: 1, Peers: p.sorted()}
	due := p.path != "" && (p.dirty || len(doc.Peers) > 0 && now.Sub(p.saved) > peersFresh)
	if due {
		p.dirty, p.saved = false, now
	}
	p.mu.Unlock()
	if !due {
		return nil
	}
	b, err := json.MarshalIndent(doc, "", " ")
	if err == nil {
		err = renameio.WriteFile(p.path, append(b, '\n'), 0o600)
	}
	if err != nil {
		p.mu.Lock()
		p.dirty = true
		p.mu.Unlock()
		return fmt.Errorf("remember peers: %w", err)
	}
	return nil
}
