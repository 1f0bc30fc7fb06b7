package membership

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Member is a live gateway of the stamp.
type Member struct {
	Name     string            `json:"name"`    // unique to a boot
	Gateway  string            `json:"gateway"` // as configured
	Boot     string            `json:"boot"`
	Version  string            `json:"version,omitempty"` // of the build
	Channels []ChannelVersions `json:"channels,omitempty"`
	Addr     netip.AddrPort    `json:"addr"`
	Since    time.Time         `json:"since"` // when we took it for live
}

// A View is what is known of the stamp at one moment. It never changes, so any
// number of goroutines may read it.
type View struct {
	Generation uint64 // grows with each change
	Self       Member
	Members    []Member // the live ones, ourselves included, sorted by name

	messages map[string][]Message // by channel, of the others, sorted by name
}

// table is what this gateway knows of its stamp. A member's messages are kept
// exactly as long as the member, on the channels that it shows, whether we have
// those channels or not: members of a later build reach each other through us.
type table struct {
	id    identity
	label string
	drops *drops

	mu      sync.Mutex         // guards the fields below; never held across a call out
	members map[string]*member // by name, ourselves included once we listen
	entries map[key]entry      // the latest, ours included once broadcast
	bytes   int                // of all entries, signed
	own     int                // of these, ours
	closed  bool               // nobody is taken in any more
	changed chan struct{}      // closed at the next change

	count      atomic.Int64 // of members, for readers that must not wait
	generation atomic.Uint64
	snapshot   atomic.Pointer[View]
}

type member struct {
	Member
	public ed25519.PublicKey
}

func (m *member) has(channel string) bool { return hasChannel(m.Channels, channel) }

func newTable(id identity, label string, d *drops) *table {
	return &table{
		id: id, label: label, drops: d,
		members: make(map[string]*member), entries: make(map[key]entry), changed: make(chan struct{}),
	}
}

// join takes a live member in, or takes over what has changed of it.
func (t *table) join(name string, m meta, addr netip.AddrPort) {
	gateway, boot, ok := splitName(name)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	joined := &member{Member{name, gateway, boot, m.build, m.channels, addr, time.Now()}, m.public}
	if old := t.members[name]; old != nil {
		joined.Since = old.Since
		for _, c := range old.Channels {
			if !joined.has(c.Name) {
				t.remove(key{name, c.Name})
			}
		}
	}
	t.members[name] = joined
	t.touch()
}

// leave forgets a member and all that it sent.
func (t *table) leave(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.members[name]; m != nil {
		for _, c := range m.Channels {
			t.remove(key{name, c.Name})
		}
		delete(t.members, name)
	}
	t.touch()
}

// remove must be called with mu held.
func (t *table) remove(k key) {
	t.bytes -= len(t.entries[k].raw)
	delete(t.entries, k)
}

// close forgets everybody: without gossip, what was received gets older and nobody
// takes it back.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.bytes, t.own = true, 0, 0
	clear(t.members)
	clear(t.entries)
	t.touch()
}

// has reports whether a name is that of a live member, and how many there are.
func (t *table) has(name string) (known bool, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.members[name] != nil, len(t.members)
}

// touch must be called with mu held, after each change.
func (t *table) touch() {
	t.count.Store(int64(len(t.members)))
	t.generation.Add(1)
	close(t.changed)
	t.changed = make(chan struct{})
}

// size is that of all entries, signed, in bytes.
func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

func (t *table) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// view builds a snapshot only if something has changed since the last one, so
// that a burst of messages costs one copy.
func (t *table) view() *View {
	if v := t.snapshot.Load(); v != nil && v.Generation == t.generation.Load() {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &View{
		Generation: t.generation.Load(),
		Self:       Member{Name: t.id.name(), Gateway: t.id.gateway, Boot: t.id.boot, Version: t.id.meta.build, Channels: t.id.meta.channels},
		Members:    make([]Member, 0, len(t.members)),
		messages:   make(map[string][]Message),
	}
	for name, m := range t.members {
		v.Members = append(v.Members, m.Member)
		if name == v.Self.Name {
			v.Self = m.Member
			continue
		}
		for _, c := range m.Channels {
			if e, ok := t.entries[key{name, c.Name}]; ok {
				v.messages[c.Name] = append(v.messages[c.Name], Message{m.Member, e.version, e.seq, e.payload, e.at})
			}
		}
	}
	slices.SortFunc(v.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	for _, list := range v.messages {
		slices.SortFunc(list, func(a, b Message) int { return cmp.Compare(a.Member.Name, b.Member.Name) })
	}
	t.snapshot.Store(v)
	return v
}

// keepOwn keeps our own next message, for which there is always room: others are not
// let into it.
func (t *table) keepOwn(e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own += len(e.raw) - len(t.entries[e.key].raw)
	t.put(e)
}

// put must be called with mu held.
func (t *table) put(e entry) {
	t.bytes += len(e.raw) - len(t.entries[e.key].raw)
	t.entries[e.key] = e
}

// receive takes in an envelope. It returns the entry if it is news that should be
// passed on. The signature is checked outside the lock, and only for what replaces
// what is known, which most of gossip does not.
func (t *table) receive(envelope []byte, now time.Time) (entry, bool) {
	e, why, ok := openEnvelope(envelope, now)
	if !ok {
		t.drops.add(why)
		return entry{}, false
	}
	public, known := t.lookup(e)
	if known || public == nil {
		return entry{}, false
	}
	if !e.signedBy(public, t.label) {
		t.drops.add(dropForged)
		return entry{}, false
	}
	e.raw = bytes.Clone(e.raw) // memberlist may use its buffer again
	e.body, _ = decodeBody(e.raw[ed25519.SignatureSize:])
	return e, t.take(e)
}

// lookup returns the key that must have signed a message, or that it is known
// already. Who is not a member has no key, nobody signs in our name, and on a
// channel that its member does not show nothing is taken: what a member can make us
// hold is bounded by its metadata.
func (t *table) lookup(e entry) (public ed25519.PublicKey, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := e.member == t.id.name()
	if old, ok := t.entries[e.key]; ok && (!e.replaces(old) || own && e.seq <= old.seq) {
		if !own && e.at.Before(old.at) && bytes.Equal(e.raw, old.raw) {
			old.at = e.at
			t.entries[e.key] = old
			t.generation.Add(1) // the next view has it; nobody is woken for it
		}
		return nil, true
	}
	m := t.members[e.member]
	switch {
	case own:
		t.drops.add(dropOwnName)
	case m == nil:
		t.drops.add(dropUnknown)
	case !m.has(e.channel):
		t.drops.add(dropChannel)
	default:
		return m.public, false
	}
	return nil, false
}

// take keeps a checked entry if its member still lives and has the channel, it still
// replaces what is known, and there is room.
func (t *table) take(e entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.entries[e.key]
	if m := t.members[e.member]; m == nil || !m.has(e.channel) {
		t.drops.add(dropUnknown)
		return false
	}
	if known && !e.replaces(old) {
		return false
	}
	if t.bytes-t.own+len(e.raw)-len(old.raw) > maxOthers {
		t.drops.add(dropOversize)
		return false
	}
	t.put(e)
	t.touch()
	return true
}

// state encodes all that is known, for an exchange with another gateway.
func (t *table) state(now time.Time) []byte {
	t.mu.Lock()
	list := slices.Collect(maps.Values(t.entries))
	size := t.bytes
	t.mu.Unlock()
	return encodeState(t.label, list, size, now)
}

const maxLabel = 3 + 64 + 1 + 64 // of gw/<boundary>/<region>
