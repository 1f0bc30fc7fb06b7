package membership

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Member is a live gateway of the stamp.
type Member struct {
	Name    string         `json:"name"`    // unique to a boot
	Gateway string         `json:"gateway"` // as configured
	Boot    string         `json:"boot"`
	Version string         `json:"version,omitempty"`
	Addr    netip.AddrPort `json:"addr"`
	Since   time.Time      `json:"since"` // when we took it for live
}

// A Peer is the latest report of another live member.
type Peer struct {
	Member Member
	Report Report
	At     time.Time // on our clock: when the report's remaining times held
}

// Until returns the moment, on our clock, at which a remaining time ends.
func (p Peer) Until(remaining time.Duration) time.Time { return p.At.Add(remaining) }

// A View is what is known of the stamp at one moment. It never changes, so any
// number of goroutines may read it.
type View struct {
	Generation uint64 // grows with each change
	Self       Member
	Members    []Member // the live ones, ourselves included, sorted by name
	Peers      []Peer   // those of the others that have reported, sorted by name
}

// table is what this gateway knows of its stamp. A member's report is kept
// exactly as long as the member.
type table struct {
	id    identity
	label string
	drops *drops

	mu      sync.Mutex         // guards the fields below; never held across a call out
	members map[string]*member // by name, ourselves included once we listen
	reports map[string]entry   // the latest by member name, ours included once published
	bytes   int                // of all reports, signed
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

func newTable(id identity, label string, d *drops) *table {
	return &table{
		id: id, label: label, drops: d,
		members: make(map[string]*member), reports: make(map[string]entry), changed: make(chan struct{}),
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
	since := time.Now()
	if old := t.members[name]; old != nil {
		since = old.Since
	}
	t.members[name] = &member{Member{name, gateway, boot, m.version, addr, since}, m.public}
	t.touch()
}

// leave forgets a member and all that it said.
func (t *table) leave(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.members, name)
	t.bytes -= len(t.reports[name].raw)
	delete(t.reports, name)
	t.touch()
}

// close forgets everybody: without gossip, what was heard gets older and nobody
// takes it back.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.bytes = true, 0
	clear(t.members)
	clear(t.reports)
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

// size is that of all reports, signed, in bytes.
func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// own returns our latest report.
func (t *table) own() entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reports[t.id.name()]
}

func (t *table) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// view builds a snapshot only if something has changed since the last one, so
// that a burst of reports costs one copy.
func (t *table) view() *View {
	if v := t.snapshot.Load(); v != nil && v.Generation == t.generation.Load() {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &View{
		Generation: t.generation.Load(),
		Self:       Member{Name: t.id.name(), Gateway: t.id.gateway, Boot: t.id.boot, Version: t.id.meta.version},
		Members:    make([]Member, 0, len(t.members)),
	}
	for name, m := range t.members {
		v.Members = append(v.Members, m.Member)
		if name == v.Self.Name {
			v.Self = m.Member
			continue
		}
		if e, ok := t.reports[name]; ok {
			v.Peers = append(v.Peers, Peer{m.Member, e.report, e.at})
		}
	}
	slices.SortFunc(v.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(v.Peers, func(a, b Peer) int { return cmp.Compare(a.Member.Name, b.Member.Name) })
	t.snapshot.Store(v)
	return v
}

// An entry is a report as it is kept: read, and in the bytes that its gateway
// signed, so that it can be passed on.
type entry struct {
	report Report
	raw    []byte    // signature and body
	at     time.Time // on our clock: when the report's remaining times held
}

// replaces reports whether e takes the place of another report of the same
// member, boot included. The order is total, so that all who have received the
// same reports hold the same one, whichever came first. A gateway never makes
// two with one sequence; should one do so, the bytes decide. Of two copies of one
// report the table keeps the earlier moment: waiting is measured on the way,
// travelling is not, so the earlier is closer to the truth.
func (e entry) replaces(old entry) bool {
	return cmp.Or(cmp.Compare(e.report.Seq, old.report.Seq), bytes.Compare(e.raw, old.raw)) > 0
}

// An envelope carries a report: four bytes for how long it has waited with
// gateways on its way, in milliseconds, then the signature, then the body.
const envelopeHead = 4 + ed25519.SignatureSize

func appendEnvelope(b []byte, e entry, now time.Time) []byte {
	age := min(max(now.Sub(e.at), 0), maxRemaining)
	b = binary.BigEndian.AppendUint32(b, uint32(age/time.Millisecond))
	return append(b, e.raw...)
}

// say makes our own next report. It returns what goes out.
func (t *table) say(r Report, at time.Time) (entry, error) {
	r.Node, r.Boot = t.id.gateway, t.id.boot
	body, err := encodeReport(r)
	if err != nil {
		return entry{}, err
	}
	raw := append(ed25519.Sign(t.id.private, signed(t.label, body)), body...)
	e := entry{r, raw, at}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(t.id.name(), e)
	return e, nil
}

// put must be called with mu held.
func (t *table) put(name string, e entry) {
	t.bytes += len(e.raw) - len(t.reports[name].raw)
	t.reports[name] = e
}

// hear takes in an envelope. It returns the entry if it is news that should be
// passed on. The signature is checked outside the lock, and only for what is
// newer than what is known, which most of gossip is not.
func (t *table) hear(envelope []byte, now time.Time) (entry, bool) {
	if len(envelope) > MaxReportBytes+envelopeHead {
		t.drops.add(dropOversize)
		return entry{}, false
	}
	if len(envelope) <= envelopeHead {
		t.drops.add(dropMalformed)
		return entry{}, false
	}
	age := min(time.Duration(binary.BigEndian.Uint32(envelope))*time.Millisecond, maxRemaining)
	raw, body := envelope[4:], envelope[envelopeHead:]
	head, err := decodeHead(body)
	if err != nil {
		t.drops.add(dropMalformed)
		return entry{}, false
	}
	name := memberName(head.Node, head.Boot)
	e := entry{head, raw, now.Add(-age)}
	public, known := t.lookup(name, e)
	if known {
		return entry{}, false
	}
	if public == nil || !ed25519.Verify(public, signed(t.label, body), raw[:ed25519.SignatureSize]) {
		if public != nil {
			t.drops.add(dropForged)
		}
		return entry{}, false
	}
	if e.report, err = decodeReport(body); err != nil {
		t.drops.add(dropMalformed)
		return entry{}, false
	}
	e.raw = bytes.Clone(raw) // memberlist may use its buffer again
	return e, t.take(name, e)
}

// lookup returns the key that must have signed a report, or that it is known
// already. Who is not a member has no key, and nobody speaks in our name.
func (t *table) lookup(name string, e entry) (public ed25519.PublicKey, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, reported := t.reports[name]
	if reported && !e.replaces(old) {
		if name != t.id.name() && e.at.Before(old.at) && bytes.Equal(e.raw, old.raw) {
			old.at = e.at
			t.reports[name] = old
			t.generation.Add(1) // the next view has it; nobody is woken for it
		}
		return nil, true
	}
	m := t.members[name]
	switch {
	case name == t.id.name():
		t.drops.add(dropOwnName)
	case m == nil:
		t.drops.add(dropUnknown)
	default:
		return m.public, false
	}
	return nil, false
}

// take keeps a checked report if its member still lives, it is still the
// newest, and there is room.
func (t *table) take(name string, e entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, reported := t.reports[name]
	if t.members[name] == nil {
		t.drops.add(dropUnknown)
		return false
	}
	if reported && !e.replaces(old) {
		return false
	}
	if t.bytes+len(e.raw)-len(old.raw) > MaxStateBytes-stateOverhead {
		t.drops.add(dropOversize)
		return false
	}
	t.put(name, e)
	t.touch()
	return true
}

// stateOverhead is the most that an exchange needs beside the reports: a length
// and an age for each, and the head.
const stateOverhead = MaxMembers*(4+4) + 512

// state encodes all that is known, for an exchange with another gateway.
func (t *table) state(now time.Time) []byte {
	t.mu.Lock()
	list := slices.Collect(maps.Values(t.reports))
	size := t.bytes
	t.mu.Unlock()
	b := make([]byte, 0, size+stateOverhead)
	b = append(b, kindState)
	b = appendString(b, t.label)
	for _, e := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.raw)+4))
		b = appendEnvelope(b, e, now)
	}
	return b
}

// splitState calls use for each envelope of an exchange.
func splitState(b []byte, label string, use func(envelope []byte)) (reason, bool) {
	if len(b) > MaxStateBytes {
		return dropOversize, false
	}
	d := decoder{rest: b}
	d.check(d.byte() == kindState, errVersion)
	from := d.str(maxLabel)
	if d.err != nil {
		return dropMalformed, false
	}
	if from != label {
		return dropForeign, false
	}
	for count := 0; len(d.rest) > 0; count++ {
		if count == MaxMembers {
			return dropOversize, false
		}
		head := d.take(4)
		if d.err != nil {
			return dropMalformed, false
		}
		n := binary.BigEndian.Uint32(head)
		if n > MaxReportBytes+envelopeHead {
			return dropOversize, false
		}
		envelope := d.take(int(n))
		if d.err != nil {
			return dropMalformed, false
		}
		use(envelope)
	}
	return 0, true
}

const maxLabel = 3 + 64 + 1 + 64 // of gw/<boundary>/<region>
