package azuresim

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// maxFaults bounds an instance's list; ended ones make room first.
const maxFaults = 100

// A faultSet holds an instance's faults and decides which of them strikes.
type faultSet struct {
	random func() float64

	mu     sync.Mutex // guards the fields below
	list   []*setFault
	lastID int
}

// A setFault is a fault in force, or one that was.
type setFault struct {
	Fault
	id    string
	until time.Time // zero: no end
	fired uint64
	ended bool
}

// A situation is what a fault may strike in.
type situation struct {
	phase      phase
	deployment string
	operation  string
	form       string // OnlyPlain, OnlyStream or OnlySession
}

func newFaultSet(random func() float64) *faultSet { return &faultSet{random: random} }

// matches tells whether the fault is meant for the situation.
func (f Fault) matches(s situation) bool {
	switch {
	case f.Kind.phase() != s.phase:
		return false
	case f.Deployment != "" && f.Deployment != s.deployment:
		return false
	case f.Operation != "" && f.Operation != s.operation:
		return false
	case f.Only != "" && f.Only != s.form:
		return false
	case s.phase >= phaseInstead && !f.Kind.shapes(s.form):
		return false
	}
	return true
}

// take returns the first fault that strikes now and counts it.
func (s *faultSet) take(at situation) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return Fault{}, false
	}
	s.expire(time.Now())
	for _, f := range s.list {
		if f.ended || !f.matches(at) || (f.Share > 0 && s.random() >= f.Share) {
			continue
		}
		f.fired++
		f.ended = f.Count > 0 && f.fired >= uint64(f.Count)
		return f.Fault, true
	}
	return Fault{}, false
}

// listening returns which listener fault is in force, or "" for none.
func (s *faultSet) listening() FaultKind {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	var kind FaultKind
	for _, f := range s.list {
		if !f.ended && f.Kind.phase() == phaseListen && kind != FaultDown {
			kind = f.Kind
		}
	}
	return kind
}

// expire ends what is over. The caller holds mu.
func (s *faultSet) expire(now time.Time) {
	for _, f := range s.list {
		if !f.until.IsZero() && !now.Before(f.until) {
			f.ended = true
		}
	}
}

// add puts f in force behind the others and returns its id.
func (s *faultSet) add(f Fault) (string, error) {
	if err := f.Validate(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= maxFaults {
		s.list = slices.DeleteFunc(s.list, func(f *setFault) bool { return f.ended })
	}
	if len(s.list) >= maxFaults {
		return "", fmt.Errorf("more than %d faults in force", maxFaults)
	}
	s.lastID++
	set := &setFault{Fault: f, id: "f" + strconv.Itoa(s.lastID)}
	if f.For > 0 {
		set.until = time.Now().Add(f.For)
	}
	if f.Kind.phase() == phaseListen {
		set.fired = 1 // it strikes by being there; the refusals themselves are the kernel's
	}
	s.list = append(s.list, set)
	return set.id, nil
}

// remove takes a fault away and tells whether it was there.
func (s *faultSet) remove(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.list)
	s.list = slices.DeleteFunc(s.list, func(f *setFault) bool { return f.id == id })
	return len(s.list) < n
}

func (s *faultSet) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// status lists the faults in the order in which they are tried.
func (s *faultSet) status() []FaultState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	out := make([]FaultState, 0, len(s.list))
	for _, f := range s.list {
		out = append(out, FaultState{ID: f.id, Fault: f.Fault, Fired: f.fired, Ended: f.ended})
	}
	return out
}

// SetFault replaces all faults of the instance by the given ones.
func (i *Instance) SetFault(faults ...Fault) error {
	for n, f := range faults {
		if err := f.Validate(); err != nil {
			return fmt.Errorf("faults[%d]: %w", n, err)
		}
	}
	i.faults.clear()
	for _, f := range faults {
		if _, err := i.faults.add(f); err != nil {
			return err
		}
	}
	return i.adaptListener()
}

// AddFault puts one more fault in force, tried after the others, and returns
// the id by which it can be removed.
func (i *Instance) AddFault(f Fault) (id string, err error) {
	if id, err = i.faults.add(f); err != nil {
		return "", err
	}
	return id, i.adaptListener()
}

// RemoveFault ends one fault and tells whether it was there.
func (i *Instance) RemoveFault(id string) (bool, error) {
	found := i.faults.remove(id)
	return found, i.adaptListener()
}

// ClearFaults ends all faults; a refusing instance accepts again on return.
func (i *Instance) ClearFaults() {
	i.faults.clear()
	if err := i.adaptListener(); err != nil {
		i.log.Error().Err(err).Msg("instance stays shut")
	}
}

// Faults lists the faults, also the ended ones, with how often each struck.
func (i *Instance) Faults() []FaultState { return i.faults.status() }

// screen decides what happens to a new connection.
func (i *Instance) screen() screening {
	f, ok := i.faults.take(situation{phase: phaseAccept})
	switch {
	case !ok:
		return letIn
	case f.Kind == FaultHangConnect:
		return holdSilent
	default:
		return resetAtOnce
	}
}

// adaptListener shuts or opens the instance as its faults want it, and comes
// back when the next of them is over.
func (i *Instance) adaptListener() error {
	i.listenMu.Lock()
	defer i.listenMu.Unlock()
	kind := i.faults.listening()
	if kind == "" {
		i.server.SetKeepAlivesEnabled(true)
		if err := i.gate.open(i.sim.stopping); err != nil {
			i.timers.after(reopenPause, i.readapt)
			return err
		}
		return nil
	}
	i.gate.shutDown()
	i.server.SetKeepAlivesEnabled(false) // connections in use end after their request
	if kind == FaultDown {
		i.gate.resetAll()
	} else {
		i.gate.closeIdle()
	}
	if d, ok := i.faults.nextEnd(time.Now()); ok {
		i.timers.after(d, i.readapt)
	}
	return nil
}

// readapt is adaptListener for timers.
func (i *Instance) readapt() {
	if err := i.adaptListener(); err != nil {
		i.log.Error().Err(err).Msg("instance stays shut")
	}
}

// nextEnd is how long until the first listener fault in force is over.
func (s *faultSet) nextEnd(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var soonest time.Duration
	found := false
	for _, f := range s.list {
		if f.ended || f.until.IsZero() || f.Kind.phase() != phaseListen {
			continue
		}
		if d := f.until.Sub(now); !found || d < soonest {
			soonest, found = d, true
		}
	}
	return soonest, found
}
