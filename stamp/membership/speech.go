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
	// verdictEvery bounds how often verdicts go out.
	verdictEvery = 100 * time.Millisecond
	// loadEvery and loadPerMember bound how often mere load goes out. A gateway
	// sends at most 15 packets of gossip a second with four reports each, and
	// each report must find a place in the packets of all: 20 members make 20
	// reports a second, 500 members as many.
	loadEvery     = time.Second
	loadPerMember = 50 * time.Millisecond
	// repeatEvery and repeatPerMember: the last report goes out again even if
	// nothing has changed, so that the work does not grow with the trouble.
	repeatEvery     = 5 * time.Second
	repeatPerMember = 100 * time.Millisecond
	// maxPacket is the longest message that goes by packet: with label, key and
	// frame it stays under 1,400 bytes. What is longer goes by stream.
	maxPacket = 1000
	// directPeers is to how many members a verdict is sent without waiting for
	// the next round of gossip, 200 ms. A larger stamp hears it from those.
	directPeers   = 32
	streamWorkers = 4
	streamQueue   = 1024 // names of members; each waits at most once
)

// byStream reports whether an entry is too long for a packet.
func (e entry) byStream() bool { return len(e.raw)+messageHead > maxPacket }

const messageHead = 1 + 4 // what it is, and its age

// echoes says when a verdict is said again. memberlist repeats a message only
// four times in a stamp of up to nine: at 30 % loss one in thirty gets lost.
func echoes() []time.Duration {
	return []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}
}

// speech sends our reports, and those of others that we pass on.
type speech struct {
	m     *Membership
	queue *memberlist.TransmitLimitedQueue
	wake  chan struct{}

	mu   sync.Mutex // guards next; never held across a call out
	next *spoken    // what was published last

	// Used by run alone.
	said     spoken
	seq      uint64
	saidAt   time.Time
	repeatAt time.Time
	echo     []time.Duration // the pauses that are left
	echoing  bool            // what comes at repeatAt is an echo

	relayMu sync.Mutex        // orders relays: an older report must not push a newer one out
	relayed map[string]entry  // the last that was queued of each member

	streamed atomic.Pointer[entry] // our latest report that was to go by stream
	stream   chan string           // members that should get it
	waitMu   sync.Mutex            // guards waiting
	wait     map[string]bool       // members in stream
}

func newSpeech(m *Membership) *speech {
	s := &speech{
		m: m, wake: make(chan struct{}, 1), relayed: make(map[string]entry),
		stream: make(chan string, streamQueue), wait: make(map[string]bool),
	}
	s.queue = &memberlist.TransmitLimitedQueue{
		NumNodes:       func() int { return int(m.table.count.Load()) },
		RetransmitMult: 4,
	}
	return s
}

func (s *speech) publish(r Report, now time.Time) {
	r, cut := r.normalise()
	if cut > 0 {
		s.m.drops[dropTargets].Add(uint64(cut))
	}
	s.mu.Lock()
	s.next = &spoken{r, now}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already, and will find the latest
	}
}

// run decides when to speak. It owns the goroutines that send by stream.
func (s *speech) run(ctx context.Context, list *memberlist.Memberlist) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range streamWorkers {
		wg.Go(func() { s.sendStreams(ctx, list) })
	}
	timer := time.NewTimer(repeatEvery)
	defer timer.Stop()
	for {
		timer.Reset(s.step(time.Now(), list))
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// step says what is due and returns when to look again.
func (s *speech) step(now time.Time, list *memberlist.Memberlist) time.Duration {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	if next == nil {
		return repeatEvery
	}
	count := int(s.m.table.count.Load())
	what := newVerdict
	if s.seq > 0 {
		what = newsIn(s.said, *next)
	}
	due := s.repeatAt
	switch what {
	case newVerdict:
		due = s.saidAt.Add(verdictEvery)
	case newLoad:
		due = s.saidAt.Add(max(loadEvery, time.Duration(count)*loadPerMember))
		if s.m.table.own().byStream() { // a connection to each member
			due = s.saidAt.Add(max(repeatEvery, time.Duration(count)*repeatPerMember))
		}
		if s.repeatAt.Before(due) {
			due = s.repeatAt // it takes the place of a repetition
		}
	case nothingNew:
	}
	if now.Before(due) {
		return due.Sub(now)
	}
	if what == nothingNew {
		s.repeat(now, count, list)
		return s.repeatAt.Sub(now)
	}
	s.say(*next, what, list)
	s.saidAt = now
	if what == newVerdict {
		s.echo = echoes()
	}
	s.schedule(now, count)
	return s.repeatAt.Sub(now)
}

// schedule sets when the report is said again.
func (s *speech) schedule(now time.Time, count int) {
	pause := max(repeatEvery, time.Duration(count)*repeatPerMember)
	if s.echoing = len(s.echo) > 0; s.echoing {
		pause, s.echo = s.echo[0], s.echo[1:]
	}
	s.repeatAt = now.Add(pause)
}

// repeat says the last report again, unless it goes by stream: then it has
// arrived, or comes with the next exchange.
func (s *speech) repeat(now time.Time, count int, list *memberlist.Memberlist) {
	echo := s.echoing
	s.schedule(now, count)
	if e := s.m.table.own(); !e.byStream() {
		s.spread(e, echo, list)
	}
}

// spread sends a report by packet: into the next rounds of gossip, and directly
// as well if it cannot wait for one.
func (s *speech) spread(e entry, direct bool, list *memberlist.Memberlist) {
	b := &rumour{name: s.m.id.name(), entry: e}
	s.queue.QueueBroadcast(b)
	if !direct {
		return
	}
	for _, n := range s.some(directPeers) {
		_ = list.SendBestEffort(n, b.Message()) // it is repeated
	}
}

func (s *speech) say(r spoken, what news, list *memberlist.Memberlist) {
	s.seq++
	r.Seq = s.seq
	e, err := s.m.table.say(r.Report, r.at)
	s.said = r
	if err != nil { // our own fault: normalise promises that it fits
		s.m.log.Error().Err(err).Msg("gossip report not sent")
		return
	}
	s.m.metrics.said.Inc()
	if e.byStream() {
		s.sayByStream(e)
		return
	}
	s.spread(e, what == newVerdict, list)
	if what == newVerdict && s.m.udpBlocked(time.Now()) {
		s.sayByStream(e) // no packet arrives, and the next exchange is half a minute away
	}
}

// some returns random live peers, at most n.
func (s *speech) some(n int) []*memberlist.Node {
	v := s.m.table.view()
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

// relay passes a report of another gateway on.
func (s *speech) relay(e entry) {
	if e.byStream() {
		return // its gateway sends it to each member itself
	}
	name := memberName(e.report.Node, e.report.Boot)
	s.relayMu.Lock()
	defer s.relayMu.Unlock()
	if last, ok := s.relayed[name]; ok && !e.replaces(last) {
		return
	}
	if len(s.relayed) > 2*MaxMembers {
		clear(s.relayed) // of members long gone; at worst a report is passed on twice
	}
	s.relayed[name] = e
	s.queue.QueueBroadcast(&rumour{name: name, entry: e})
}

// forget lets the report of a member that comes back be passed on again.
func (s *speech) forget(name string) {
	s.relayMu.Lock()
	defer s.relayMu.Unlock()
	delete(s.relayed, name)
}

// sayByStream hands a report to the workers. A member that is slow to
// take the last one gets only the latest when its turn comes.
func (s *speech) sayByStream(e entry) {
	s.streamed.Store(&e)
	v := s.m.table.view()
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	for _, m := range v.Members {
		if m.Name == v.Self.Name {
			continue
		}
		if s.wait[m.Name] {
			s.m.drops.add(dropQueue) // the older report: it will get this one instead
			continue
		}
		select {
		case s.stream <- m.Name:
			s.wait[m.Name] = true
		default:
			s.m.drops.add(dropQueue)
		}
	}
}

func (s *speech) sendStreams(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-s.stream:
			s.waitMu.Lock()
			delete(s.wait, name)
			s.waitMu.Unlock()
			s.sendStream(name, list)
		}
	}
}

func (s *speech) sendStream(name string, list *memberlist.Memberlist) {
	e := s.streamed.Load()
	for _, m := range s.m.table.view().Members {
		if m.Name != name {
			continue
		}
		if err := list.SendReliable(node(m), (&rumour{entry: *e}).Message()); err != nil {
			s.m.drops.add(dropQueue)
		}
	}
}

// A rumour is a report on its way. Of one member only the latest is queued.
type rumour struct {
	name string
	entry
	built atomic.Pointer[builtMessage]
}

type builtMessage struct {
	age  time.Duration
	text []byte
}

// Name implements memberlist.NamedBroadcast.
func (r *rumour) Name() string { return r.name }

// Invalidates implements memberlist.Broadcast.
func (r *rumour) Invalidates(b memberlist.Broadcast) bool {
	other, ok := b.(memberlist.NamedBroadcast)
	return ok && other.Name() == r.name
}

// Message writes the age of the moment, so that waiting in the queue counts.
// memberlist asks several times for one sending, so what was built within the
// same millisecond is used again; it is never changed once built.
func (r *rumour) Message() []byte {
	now := time.Now()
	age := now.Sub(r.at).Truncate(time.Millisecond)
	if b := r.built.Load(); b != nil && b.age == age {
		return b.text
	}
	text := append(make([]byte, 0, messageHead+len(r.raw)), kindReport)
	text = appendEnvelope(text, r.entry, now)
	r.built.Store(&builtMessage{age, text})
	return text
}

// Finished implements memberlist.Broadcast.
func (r *rumour) Finished() {}
