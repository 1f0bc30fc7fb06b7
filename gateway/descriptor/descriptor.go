// Package descriptor keeps file descriptors back, so that a gateway that runs out
// of them still answers health checks and its operator, and sheds the rest.
//
// A Plan divides what the process may open; Slots count what one purpose has open;
// a Listener lets ordinary connections in while there are slots, and a few more for
// health alone. The package knows nothing of requests. The gateway's wiring makes
// the plan; the listeners and the dialer use it.
package descriptor

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
)

// ErrNone says that no descriptor is left for a purpose, or in the whole process.
var ErrNone = errors.New("this machine has no file descriptor left for it")

// A Plan says how many descriptors each purpose may have open at once.
type Plan struct {
	In    int // connections of clients
	Out   int // connections to backends; as many as In, so that who is let in can be served
	Extra int // connections beyond In, for health checks; the oldest makes room for a newer one
	Admin int // connections of operators; likewise
	// What is left of the limit is for all else: files, name look-ups, etcd, gossip.
}

const (
	// keptShare of the limit is kept back for all but clients and backends, within
	// these bounds; of a very small limit it is half.
	keptShare           = 16
	leastKept, mostKept = 48, 1024
	// extraShare of what is kept back is for health, and as much for operators.
	extraShare = 8
	leastExtra = 4
)

// PlanFor divides the limit. 0, which means that it is not known, gives the zero
// plan, which limits nothing.
func PlanFor(limit uint64) Plan {
	if limit == 0 {
		return Plan{}
	}
	all := int(min(limit, 1<<30))
	kept := min(max(all/keptShare, leastKept), mostKept, all/2)
	extra := max(kept/extraShare, leastExtra)
	each := max((all-kept)/2, 1)
	return Plan{In: each, Out: each, Extra: extra, Admin: extra}
}

// Slots count what is open for one purpose. A nil *Slots has room for everything.
type Slots struct {
	most int64
	used atomic.Int64
}

// NewSlots returns slots for so many at once; nil, for any number, if most is 0.
func NewSlots(most int) *Slots {
	if most <= 0 {
		return nil
	}
	return &Slots{most: int64(most)}
}

// Take takes a slot, and reports false if there is none.
func (s *Slots) Take() bool {
	if s == nil {
		return true
	}
	if s.used.Add(1) > s.most {
		s.used.Add(-1)
		return false
	}
	return true
}

// Give gives a slot back.
func (s *Slots) Give() {
	if s != nil {
		s.used.Add(-1)
	}
}

// Used returns how many slots are taken.
func (s *Slots) Used() int {
	if s == nil {
		return 0
	}
	return int(s.used.Load())
}

// Short reports whether the process can open nothing at this moment. Some errors
// are only texts when they arrive, such as those of a name look-up: ask then.
func Short() bool {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return Exhausted(err)
	}
	_ = f.Close()
	return false
}

// Exhausted reports whether an error says that the process or the machine has no
// descriptor left.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
