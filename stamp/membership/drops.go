package membership

import "sync/atomic"

// A reason says why something was not taken in. The names are labels of the
// metric and keys of the status: a closed set.
type reason int

const (
	dropMalformed reason = iota // cannot be read
	dropOversize                // beyond a bound
	dropForged                  // the signature is not the named gateway's
	dropOwnName                 // somebody signs in our name
	dropUnknown                 // of a gateway that is not a member
	dropChannel                 // on a channel that its member does not show
	dropForeign                 // of another boundary or region
	dropRefused                 // a member refused: name, key or metadata
	dropConflict                // a second address for a member's name
	dropFull                    // more members than MaxMembers
	dropCut                     // own state that did not fit a payload
	dropQueue                   // a large message not sent to a slow peer
	dropPacket                  // a packet of the TCP-only transport not sent
	dropLabel                   // memberlist: other label
	dropKey                     // memberlist: not decrypted
	dropLibrary                 // memberlist: other
	dropLogLine                 // memberlist's log lines beyond the rate
	reasons
)

func (r reason) String() string {
	return [reasons]string{
		"malformed", "oversize", "forged", "own_name", "unknown_member", "unknown_channel", "foreign", "refused_member", "name_conflict",
		"members_full", "cut", "send_queue", "packet_queue", "label", "key", "library", "log_lines",
	}[r]
}

// drops counts what was dropped, by reason.
type drops [reasons]atomic.Uint64

func (d *drops) add(r reason) { d[r].Add(1) }

func (d *drops) byName() map[string]uint64 {
	out := make(map[string]uint64)
	for r := range reasons {
		if n := d[r].Load(); n > 0 {
			out[r.String()] = n
		}
	}
	return out
}
