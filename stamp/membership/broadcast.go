package membership

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// urgentEvery bounds how often urgent payloads of a channel go out.
	urgentEvery = 100 * time.Millisecond
	// routineEvery and routinePerMember bound how often routine ones go out. A
	// gateway sends at most 15 packets of gossip a second with four messages each,
	// and each message must find a place in the packets of all: 20 members make 20
	// messages a second, 500 members as many.
	routineEvery     = time.Second
	routinePerMember = 50 * time.Millisecond
	// repeatEvery and repeatPerMember: the last message goes out again even if
	// nothing has changed, so that the work does not grow with the trouble.
	repeatEvery     = 5 * time.Second
	repeatPerMember = 100 * time.Millisecond
	// maxPacket is the longest message that goes by packet: with label, key and
	// frame it stays under 1,400 bytes. What is longer goes by stream.
	maxPacket = 1000
	// directPeers is to how many members an urgent message is sent without waiting
	// for the next round of gossip, 200 ms. A larger stamp gets it from those.
	directPeers   = 32
	streamWorkers = 4
	streamQueue   = 1024 // keys; each waits at most once
)

// byStream reports whether an entry is too long for a packet.
func (e entry) byStream() bool { return len(e.raw)+messageHead > maxPacket }

const messageHead = 1 + ageBytes // what it is, and its age

// urgentRepeats says when an urgent message is repeated. memberlist repeats one only
// four times in a stamp of up to nine: at 30 % loss one in thirty gets lost.
func urgentRepeats() []time.Duration {
	return []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}
}

// A sender is the state of a channel's sending. Used by broadcaster.run alone.
type sender struct {
	last     entry // with sequence 0 before the first
	sentAt   time.Time
	repeatAt time.Time
	pauses   []time.Duration // of an urgent message, those that are left
	urgent   bool            // what is repeated at repeatAt
}

// broadcaster sends our messages, and passes those of others on.
type broadcaster struct {
	m     *Membership
	queue *memberlist.TransmitLimitedQueue
	wake  chan struct{}

	relayMu sync.Mutex    // guards relayed, and orders relays: an older message must not push a newer one out
	relayed map[key]entry // the last that was queued

	stream  chan streamTo
	waitMu  sync.Mutex        // guards waiting
	waiting map[streamTo]bool // what is in stream
}

// streamTo is a member that should get a channel's latest message by stream.
type streamTo struct {
	member  string
	channel *Channel
}

func newBroadcaster(m *Membership) *broadcaster {
	b := &broadcaster{
		m: m, wake: make(chan struct{}, 1), relayed: make(map[key]entry),
		stream: make(chan streamTo, streamQueue), waiting: make(map[streamTo]bool),
	}
	b.queue = &memberlist.TransmitLimitedQueue{
		NumNodes:       func() int { return int(m.table.count.Load()) },
		RetransmitMult: 4,
	}
	return b
}

func (b *broadcaster) awake() {
	select {
	case b.wake <- struct{}{}:
	default: // it is awake already, and will find the latest
	}
}

// run decides when to send. It owns the goroutines that send by stream.
func (b *broadcaster) run(ctx context.Context, list *memberlist.Memberlist) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range streamWorkers {
		wg.Go(func() { b.sendStreams(ctx, list) })
	}
	timer := time.NewTimer(repeatEvery)
	defer timer.Stop()
	for {
		pause := repeatEvery
		for _, c := range b.m.channels {
			pause = min(pause, b.step(time.Now(), c, list))
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// step sends what is due on a channel and returns when to look again.
func (b *broadcaster) step(now time.Time, c *Channel, list *memberlist.Memberlist) time.Duration {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	if next == nil && c.last.seq == 0 {
		return repeatEvery
	}
	count := int(b.m.table.count.Load())
	due := c.due(next, count)
	if now.Before(due) {
		return due.Sub(now)
	}
	if next == nil {
		b.repeat(now, count, c, list)
		return c.repeatAt.Sub(now)
	}
	c.mu.Lock()
	next, c.next = c.next, nil
	c.mu.Unlock()
	b.send(c, *next, list)
	c.sentAt = now
	if next.urgency == Urgent {
		c.pauses = urgentRepeats()
	}
	c.schedule(now, count)
	return c.repeatAt.Sub(now)
}

// due returns when a payload should go out, or the last message again if there is
// none, in a stamp of so many members.
func (c *Channel) due(next *payload, count int) time.Time {
	switch {
	case next == nil:
		return c.repeatAt
	case next.urgency == Urgent || c.last.seq == 0:
		return c.sentAt.Add(urgentEvery)
	}
	due := c.sentAt.Add(max(routineEvery, time.Duration(count)*routinePerMember))
	if c.last.byStream() { // a connection to each member
		due = c.sentAt.Add(max(repeatEvery, time.Duration(count)*repeatPerMember))
	}
	if c.repeatAt.Before(due) {
		return c.repeatAt // it takes the place of a repetition
	}
	return due
}

// schedule sets when the message is repeated.
func (s *sender) schedule(now time.Time, count int) {
	pause := max(repeatEvery, time.Duration(count)*repeatPerMember)
	if s.urgent = len(s.pauses) > 0; s.urgent {
		pause, s.pauses = s.pauses[0], s.pauses[1:]
	}
	s.repeatAt = now.Add(pause)
}

// repeat sends the last message again, unless it goes by stream: then it has
// arrived, or comes with the next exchange.
func (b *broadcaster) repeat(now time.Time, count int, c *Channel, list *memberlist.Memberlist) {
	direct := c.urgent
	c.schedule(now, count)
	if !c.last.byStream() {
		b.spread(c.last, direct, list)
	}
}

// spread sends a message by packet: into the next rounds of gossip, and directly
// as well if it cannot wait for one.
func (b *broadcaster) spread(e entry, direct bool, list *memberlist.Memberlist) {
	out := &broadcast{entry: e}
	b.queue.QueueBroadcast(out)
	if !direct {
		return
	}
	for _, n := range b.some(directPeers) {
		_ = list.SendBestEffort(n, out.Message()) // it is repeated
	}
}

func (b *broadcaster) send(c *Channel, p payload, list *memberlist.Memberlist) {
	m := b.m
	c.last = m.id.sign(m.label, body{key{m.id.name(), c.Name}, p.version, c.last.seq + 1, p.bytes}, p.at)
	m.table.keepOwn(c.last)
	m.metrics.published.Inc()
	if c.last.byStream() {
		b.sendByStream(c)
		return
	}
	b.spread(c.last, p.urgency == Urgent, list)
	if p.urgency == Urgent && m.udpBlocked(time.Now()) {
		b.sendByStream(c) // no packet arrives, and the next exchange is half a minute away
	}
}

// some returns random live peers, at most n.
func (b *broadcaster) some(n int) []*memberlist.Node {
	v := b.m.table.view()
	var out []*memberlist.Node
	for _, i := range rand.Perm(len(v.Members)) {
		if v.Members[i].Name != v.Self.Name && len(out) < n {
			out = append(out, node(v.Members[i]))
		}
	}
	return out
}

func node(m Member) *memberlist.Node {
	return &memberlist.Node{Name: m.Name, Addr: m.Addr.Addr().AsSlice(), Port: m.Addr.Port()}
}

// relay passes a message of another gateway on.
func (b *broadcaster) relay(e entry) {
	if e.byStream() {
		return // its gateway sends it to each member itself
	}
	b.relayMu.Lock()
	defer b.relayMu.Unlock()
	if last, ok := b.relayed[e.key]; ok && !e.replaces(last) {
		return
	}
	if len(b.relayed) >= maxEnvelopes {
		clear(b.relayed) // of channels long gone; at worst a message is passed on twice
	}
	b.relayed[e.key] = e
	b.queue.QueueBroadcast(&broadcast{entry: e})
}

// forget lets the messages of a member that comes back be passed on again.
func (b *broadcaster) forget(name string) {
	b.relayMu.Lock()
	defer b.relayMu.Unlock()
	for k := range b.relayed {
		if k.member == name {
			delete(b.relayed, k)
		}
	}
}

// sendByStream hands a channel's last message to the workers. A member that is slow
// to take the one before gets only the latest when its turn comes.
func (b *broadcaster) sendByStream(c *Channel) {
	last := c.last // its own copy: the workers read it while the next is made
	c.streamed.Store(&last)
	v := b.m.table.view()
	b.waitMu.Lock()
	defer b.waitMu.Unlock()
	for _, m := range v.Members {
		to := streamTo{m.Name, c}
		if m.Name == v.Self.Name {
			continue
		}
		if b.waiting[to] {
			b.m.drops.add(dropQueue) // the older message: it will get this one instead
			continue
		}
		select {
		case b.stream <- to:
			b.waiting[to] = true
		default:
			b.m.drops.add(dropQueue)
		}
	}
}

func (b *broadcaster) sendStreams(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case to := <-b.stream:
			b.waitMu.Lock()
			delete(b.waiting, to)
			b.waitMu.Unlock()
			b.sendStream(to, list)
		}
	}
}

func (b *broadcaster) sendStream(to streamTo, list *memberlist.Memberlist) {
	e := to.channel.streamed.Load()
	for _, m := range b.m.table.view().Members {
		if m.Name != to.member {
			continue
		}
		if err := list.SendReliable(node(m), (&broadcast{entry: *e}).Message()); err != nil {
			b.m.drops.add(dropQueue)
		}
	}
}

// A broadcast is a message on its way. Of one member and channel only the latest is
// queued.
type broadcast struct {
	entry
	built atomic.Pointer[builtMessage]
}

type builtMessage struct {
	age  time.Duration
	text []byte
}

// Name implements memberlist.NamedBroadcast.
func (b *broadcast) Name() string { return b.member + " " + b.channel }

// Invalidates implements memberlist.Broadcast.
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(memberlist.NamedBroadcast)
	return ok && o.Name() == b.Name()
}

// Message writes the age of the moment, so that waiting in the queue counts.
// memberlist asks several times for one sending, so what was built within the
// same millisecond is used again; it is never changed once built.
func (b *broadcast) Message() []byte {
	now := time.Now()
	age := now.Sub(b.at).Truncate(time.Millisecond)
	if m := b.built.Load(); m != nil && m.age == age {
		return m.text
	}
	text := append(make([]byte, 0, messageHead+len(b.raw)), kindMessage)
	text = appendEnvelope(text, b.entry, now)
	b.built.Store(&builtMessage{age, text})
	return text
}

// Finished implements memberlist.Broadcast.
func (b *broadcast) Finished() {}
