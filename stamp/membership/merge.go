package membership

import (
	"bytes"
	"maps"
	"time"
)

// An entry is a report as it is kept: read, and in the bytes that its gateway
// signed, so that it can be passed on.
type entry struct {
	report Report
	raw    []byte    // signature and body
	at     time.Time // on our clock: when the report's remaining times held
}

// newer returns which of two entries of one member holds. The order is total,
// so the result does not depend on who comes first. A gateway never makes two
// reports with the same boot and sequence; should one do so, the bytes decide.
// Of two copies of the same report the one that came faster has the better
// moment: waiting is measured on the way, travelling is not, so the earlier is
// closer to the truth.
func newer(a, b entry) entry {
	switch {
	case a.report.Seq != b.report.Seq:
		if a.report.Seq > b.report.Seq {
			return a
		}
		return b
	case !bytes.Equal(a.raw, b.raw):
		if bytes.Compare(a.raw, b.raw) > 0 {
			return a
		}
		return b
	case b.at.Before(a.at):
		return b
	}
	return a
}

// entries are the latest reports by member name, which names a gateway and one
// boot of it.
type entries map[string]entry

// merge joins two states. Gossip repeats, reorders and loses messages, so merge
// must be idempotent, commutative and associative.
func (e entries) merge(o entries) entries {
	out := maps.Clone(e)
	if out == nil {
		out = make(entries, len(o))
	}
	for name, b := range o {
		if a, ok := out[name]; ok {
			b = newer(a, b)
		}
		out[name] = b
	}
	return out
}
