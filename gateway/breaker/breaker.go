// Package breaker decides when failures of a target mean that it should be left
// alone, and how it comes back: closed → open → half-open → closed with a slow
// start.
//
// It is the one rule for everything that sets a target aside: failures, a
// refused credential, a forbidden operation, a missing deployment, a retired
// model. The configurations differ, the rule does not: what one client alone can
// cause changes only what that client gets. What a request could have caused
// (Content, Weak) therefore opens the breaker only on evidence from two clients
// without a success between; one client alone opens a circuit of its own, which
// keeps that client away and no other. Failures to connect (Hard) count whoever
// sees them. The first time open is short, each further one longer, and one
// success closes the breaker.
//
// The package is pure: time and random draws are passed in, there is no I/O, no
// clock and no lock. Package targets owns the breakers and guards them. Memory
// is bounded: a breaker tells maxClients clients apart and never grows.
package breaker

import (
	"fmt"
	"time"
)

// State is what a breaker lets through.
type State uint8

// The states.
const (
	Closed   State = iota // everything
	Open                  // nothing
	HalfOpen              // one real request at a time, as a test
)

// String returns the state as logs, metrics and status name it.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	case Closed:
	}
	return "closed"
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) error {
	for _, known := range [...]State{Closed, Open, HalfOpen} {
		if string(text) == known.String() {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a breaker", text)
}

// A Ticket is proof of admission. The epochs tell whether an outcome belongs to
// the state that admitted it.
type Ticket struct {
	client      uint64
	epoch       uint32
	clientEpoch uint32
	probe       bool
	clientProbe bool
	forced      bool // let through while open
	lease       uint32
	clientLease uint32
}

// Probe reports whether the attempt tests a target that failed.
func (t Ticket) Probe() bool { return t.probe || t.clientProbe }

// Forced reports whether the attempt was let through an open breaker.
func (t Ticket) Forced() bool { return t.forced }

// A Breaker watches one target. It is not safe for concurrent use; its owner
// guards it.
type Breaker struct {
	cfg    Config
	whole  circuit // for everyone
	window window
	run    int    // halves of failures in a row, a client's own capped
	runID  uint32 // changes with each run, so that a client's part of an old run is known as such
	doubt  uint64 // the client whose probe failed last by something its content may have caused
	// Clients by the hash of their name; 0 marks a free slot. Apart from the slots
	// so that a lookup touches two cache lines.
	names [maxClients]uint64
	slots [maxClients]client
}

// maxClients is how many clients a breaker tells apart: with more, the one that
// was silent longest is forgotten, and what it did counts as others' evidence.
const maxClients = 16

// A client is what one client has seen of the target.
type client struct {
	own    circuit
	window window
	last   time.Time // its last outcome
	run    int       // halves of its failures in a row
	part   int       // of Breaker.run, while partOf is the current run
	partOf uint32
}

// New returns a closed breaker.
func New(cfg Config) Breaker { return Breaker{cfg: cfg} }

// Admit asks whether the client may make an attempt. forced, if not 0, also passes
// an open breaker, so many unanswered attempts at a time: for when nothing else is
// left.
func (b *Breaker) Admit(now time.Time, name uint64, forced int) (Ticket, bool) {
	name = nonzero(name)
	b.whole.settle(now)
	t := Ticket{client: name, epoch: b.whole.epoch}
	ok, probe := b.whole.allows(now, forced)
	if !ok {
		return Ticket{}, false
	}
	t.probe = probe
	c := b.find(name)
	if c != nil {
		c.own.settle(now)
		t.clientEpoch = c.own.epoch
		if ok, t.clientProbe = c.own.allows(now, forced); !ok {
			return Ticket{}, false
		}
	}
	if t.probe {
		t.forced = b.whole.at(now) == Open
		b.whole.probe(now)
		t.lease = b.whole.leases
	}
	if t.clientProbe {
		t.forced = t.forced || c.own.at(now) == Open
		c.own.probe(now)
		t.clientLease = c.own.leases
	}
	return t, true
}

// Answer records that a good answer has begun. A probe need not wait for the end
// of a long stream: its target is readmitted now.
func (b *Breaker) Answer(now time.Time, t *Ticket) {
	if t.probe && t.epoch == b.whole.epoch {
		b.readmit(now)
		t.epoch, t.probe = b.whole.epoch, false
	}
	if c := b.find(t.client); c != nil && t.clientProbe && t.clientEpoch == c.own.epoch {
		c.readmit(now)
		t.clientEpoch, t.clientProbe = c.own.epoch, false
	}
}

// Observe records how an attempt ended. draw is uniform in [0, 1) and serves the
// jitter. An outcome that belongs to an earlier state is ignored.
func (b *Breaker) Observe(now time.Time, t Ticket, e Evidence, draw float64) {
	c := b.find(t.client)
	if c == nil && e >= Good {
		c = b.slot(now, t.client)
	}
	if c != nil && e != None {
		c.last = now
	}
	if t.epoch == b.whole.epoch {
		b.observeWhole(now, t, e, draw)
	}
	if c != nil && t.clientEpoch == c.own.epoch {
		b.observeClient(now, c, t, e, draw)
	}
}

// Note records evidence of an attempt that was not admitted here, for the breaker
// did not concern it when it began.
func (b *Breaker) Note(now time.Time, name uint64, e Evidence, draw float64) {
	t := Ticket{client: nonzero(name), epoch: b.whole.epoch}
	if c := b.find(t.client); c != nil {
		t.clientEpoch = c.own.epoch
	}
	b.Observe(now, t, e, draw)
}

func (b *Breaker) observeWhole(now time.Time, t Ticket, e Evidence, draw float64) {
	if t.probe {
		b.observeProbe(now, t, e, draw)
		return
	}
	if b.whole.state != Closed {
		return
	}
	switch e {
	case Good:
		b.endRun()
	case Hard:
		b.run += e.halves()
	case Content, Weak:
		b.addToRun(t.client, e.halves())
	case None:
		return
	}
	b.window.add(now, e)
	if c := b.find(t.client); c != nil && e != Hard {
		c.window.add(now, e)
	}
	if e != Good && (b.run >= 2*b.cfg.Consecutive || b.ratioExceeded(now)) {
		b.open(now, draw)
	}
}

// observeProbe ends the one probe. A content failure does not lengthen the wait
// unless another client's probe failed before: else one client with bad requests
// could hold a sound target out by taking every probe.
func (b *Breaker) observeProbe(now time.Time, t Ticket, e Evidence, draw float64) {
	b.whole.release(t.lease)
	if t.forced && e > Good && b.whole.at(now) == Open {
		return // it taught nothing that the time open does not already say
	}
	switch e {
	case Good:
		b.readmit(now)
	case Hard:
		b.open(now, draw)
	case Content, Weak:
		if b.doubt != 0 && b.doubt != t.client {
			b.open(now, draw)
			return
		}
		b.doubt = t.client
		b.whole.reopen(now)
	case None:
	}
}

func (b *Breaker) observeClient(now time.Time, c *client, t Ticket, e Evidence, draw float64) {
	if t.clientProbe {
		c.own.release(t.clientLease)
		if t.forced && e > Good && c.own.at(now) == Open {
			return
		}
		switch e {
		case Good:
			c.readmit(now)
		case Content, Weak:
			c.own.open(now, b.cfg, draw)
		case None, Hard:
		}
		return
	}
	if c.own.state != Closed {
		return
	}
	switch e {
	case Good:
		c.run = 0
	case Content, Weak:
		c.run += e.halves()
		if c.run >= 2*b.cfg.ClientConsecutive || c.tooMany(now, b.cfg) {
			c.own.open(now, b.cfg, draw)
			c.run = 0
		}
	case None, Hard:
	}
}

// addToRun counts a failure, or half of one, of each client at most PerClient.
func (b *Breaker) addToRun(name uint64, halves int) {
	c := b.find(name)
	if c == nil {
		return
	}
	if c.partOf != b.runID {
		c.part, c.partOf = 0, b.runID
	}
	halves = min(halves, 2*b.cfg.PerClient-c.part)
	c.part += halves
	b.run += halves
}

func (b *Breaker) endRun() { b.run, b.runID = 0, b.runID+1 }

// othersAgree is how many failures the clients beside the worst must have seen,
// in halves.
const othersAgree = 2 * 2

// ratioExceeded: too many failures in the window, and still too many with
// everything left out that the client with the most content failures did.
func (b *Breaker) ratioExceeded(now time.Time) bool {
	all := b.window.sum(now)
	if !b.cfg.tooMany(all.content+all.hard, all.total) {
		return false
	}
	if b.cfg.tooMany(all.hard, all.total) {
		return true
	}
	var worst counts
	for i := range b.slots {
		if b.names[i] == 0 {
			continue
		}
		if n := b.slots[i].window.sum(now); n.content > worst.content {
			worst = n
		}
	}
	failed := all.content + all.hard - worst.content
	return failed >= othersAgree && float64(failed) >= b.cfg.Ratio*float64(all.total-worst.total)
}

// tooMany compares halves of failures with halves of outcomes.
func (c Config) tooMany(failed, total int) bool {
	return c.MinSamples > 0 && total >= 2*c.MinSamples && float64(failed) >= c.Ratio*float64(total)
}

func (b *Breaker) open(now time.Time, draw float64) {
	b.whole.open(now, b.cfg, draw)
	b.window.reset()
	b.doubt = 0
	b.endRun()
	for i := range b.slots {
		b.slots[i].window.reset()
		b.slots[i].run = 0
	}
}

func (b *Breaker) readmit(now time.Time) {
	b.whole.readmit(now)
	b.doubt = 0
	b.endRun()
}

// tooMany applies the rule of shares to the client's own outcomes. The window
// outlives a time open, for ratioExceeded has to know what the client did; so
// that it does not count twice, the rule rests until the window is newer than the
// readmission.
func (c *client) tooMany(now time.Time, cfg Config) bool {
	if r := c.own.readmitted; !r.IsZero() && now.Sub(r) < window30 {
		return false
	}
	n := c.window.sum(now)
	return cfg.tooMany(n.content, n.total)
}

func (c *client) readmit(now time.Time) {
	c.own.readmit(now)
	c.run = 0
}

func (b *Breaker) find(name uint64) *client {
	for i, n := range b.names {
		if n == name {
			return &b.slots[i]
		}
	}
	return nil
}

// slot makes room for a client: a free slot, else that of the client silent
// longest, one whose own circuit is closed if there is any.
func (b *Breaker) slot(now time.Time, name uint64) *client {
	best := 0
	for i := range b.slots {
		if b.names[i] == 0 {
			best = i
			break
		}
		c, o := &b.slots[i], &b.slots[best]
		closed, other := c.own.at(now) == Closed, o.own.at(now) == Closed
		if closed && !other || closed == other && c.last.Before(o.last) {
			best = i
		}
	}
	b.names[best] = name
	b.slots[best] = client{}
	return &b.slots[best]
}

// nonzero keeps 0 free as the mark of an empty slot.
func nonzero(name uint64) uint64 {
	if name == 0 {
		return 1
	}
	return name
}
