package membership

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/stamp/wire"
)

const (
	maxChannels    = 8  // of one member
	maxChannelName = 16 // bytes
	maxVersions    = 8  // of one channel at a time
	maxVersion     = 127
)

// ChannelVersions names a channel and the versions of its payload that a member
// reads and writes, in ascending order. A field that is added to a payload needs
// no new version: readers skip what they do not know. A payload that old readers
// would take for something else does.
type ChannelVersions struct {
	Name     string   `json:"name"`
	Versions []uint64 `json:"versions"`
}

func (c ChannelVersions) encode() []byte {
	return wire.AppendUints(wire.AppendBytes(nil, 1, c.Name), 2, c.Versions)
}

func decodeChannel(b []byte) (ChannelVersions, bool) {
	var c ChannelVersions
	for f, err := range wire.Fields(b) {
		if err == nil && f.ID == 2 {
			c.Versions, err = wire.Uints(f.Bytes, maxVersions)
		}
		if err != nil {
			return c, false
		}
		if f.ID == 1 {
			c.Name = string(f.Bytes)
		}
	}
	return c, c.Name != "" && len(c.Name) <= maxChannelName && len(c.Versions) > 0
}

func hasChannel(list []ChannelVersions, name string) bool {
	return slices.ContainsFunc(list, func(c ChannelVersions) bool { return c.Name == name })
}

// validChannels checks what this build registers.
func validChannels(list []ChannelVersions) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if len(list) > maxChannels {
		return fmt.Errorf("%d channels, want at most %d", len(list), maxChannels)
	}
	for i, c := range list {
		switch {
		case c.Name == "" || len(c.Name) > maxChannelName || strings.Trim(c.Name, allowed) != "":
			return fmt.Errorf("channel %q: want 1 to %d small letters, digits or hyphens", c.Name, maxChannelName)
		case hasChannel(list[:i], c.Name):
			return fmt.Errorf("channel %q is registered twice", c.Name)
		case len(c.Versions) == 0 || len(c.Versions) > maxVersions || !slices.IsSorted(c.Versions) ||
			c.Versions[0] == 0 || c.Versions[len(c.Versions)-1] > maxVersion:
			return fmt.Errorf("channel %q: versions = %v, want 1 to %d of 1 to %d, ascending", c.Name, c.Versions, maxVersions, maxVersion)
		}
	}
	return nil
}

// An Urgency says how soon a payload goes out.
type Urgency uint8

// The urgencies.
const (
	// Routine payloads may come late: they go out at most every second, less often
	// in a large stamp.
	Routine Urgency = iota
	// Urgent ones are for peers to act on at once: they go out at most every 100 ms,
	// directly to peers, and are repeated against loss.
	Urgent
)

// A Channel carries one kind of state: of each member its latest payload. What the
// bytes mean is its owner's matter. Its methods may be called by any number of
// goroutines, before, during and after Run.
type Channel struct {
	m *Membership
	ChannelVersions

	mu   sync.Mutex // guards next; never held across a call out
	next *payload   // what was broadcast and has not been sent yet

	sender
	streamed atomic.Pointer[entry] // our latest message that was to go by stream
}

// A payload waits to be sent.
type payload struct {
	version uint64
	bytes   []byte
	urgency Urgency
	at      time.Time
}

// A Message is the latest that another live member has broadcast on a channel.
type Message struct {
	Member  Member
	Version uint64    // of the payload
	Seq     uint64    // grows with each message of the member on the channel
	Payload []byte    // must not be changed
	At      time.Time // on our clock: when remaining times in the payload held
}

// Broadcast replaces what this gateway tells its stamp on the channel. It never
// blocks. Payload must not be changed afterwards; remaining times in it must hold
// now. It is sent again now and then, so that there is no need to broadcast what has
// not changed. A payload beyond MaxPayloadBytes is dropped and counted.
func (c *Channel) Broadcast(version uint64, bytes []byte, u Urgency) {
	if len(bytes) > MaxPayloadBytes {
		c.m.drops.add(dropOversize)
		return
	}
	c.mu.Lock()
	if c.next != nil {
		u = max(u, c.next.urgency)
	}
	c.next = &payload{version, bytes, u, time.Now()}
	c.mu.Unlock()
	c.m.broadcaster.awake()
}

// Version returns the version to broadcast: the highest of ours that all live
// members read which have the channel. If there is none it is our highest, and the
// members that cannot read it work on what they see themselves.
func (c *Channel) Version() uint64 {
	members := c.m.View().Members
	for _, v := range slices.Backward(c.Versions) {
		if !slices.ContainsFunc(members, func(m Member) bool { return m.cannotRead(c.Name, v) }) {
			return v
		}
	}
	return c.Versions[len(c.Versions)-1]
}

// cannotRead reports whether a member has the channel, but not this version.
func (m Member) cannotRead(channel string, version uint64) bool {
	return slices.ContainsFunc(m.Channels, func(c ChannelVersions) bool {
		return c.Name == channel && !slices.Contains(c.Versions, version)
	})
}

// Messages returns the latest message of each other live member that has sent one,
// in the order of their names. The slice must not be changed.
func (c *Channel) Messages() []Message { return c.m.View().messages[c.Name] }

// Dropped counts what the channel's owner could not use.
func (c *Channel) Dropped(why Drop, count int) {
	if count > 0 {
		c.m.drops[why.reason()].Add(uint64(count))
	}
}

// A Drop is why the owner of a channel drops something.
type Drop uint8

// The reasons of owners.
const (
	Malformed Drop = iota // a peer's payload that cannot be read
	Cut                   // a part of our own state that did not fit a payload
)

func (d Drop) reason() reason {
	if d == Cut {
		return dropCut
	}
	return dropMalformed
}

// Channel returns a channel that the configuration registers. It panics if there is
// none: its owner, who registers it, has misspelt it.
func (m *Membership) Channel(name string) *Channel {
	for _, c := range m.channels {
		if c.Name == name {
			return c
		}
	}
	panic(errors.New("membership: channel " + name + " is not registered"))
}
