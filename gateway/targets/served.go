package targets

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A served is what a target's answers call their model, under one policy.
type served struct {
	target  *policy.Target // of the snapshot that it was learned under
	model   string         // as the last answer named it, bounded; "" if none did
	other   bool           // the last answer was not of the route's model
	avoided bool           // and the target is better avoided
	wait    time.Duration  // for how long, before one request finds out
	until   int64
	testing bool // it does
}

// The first time out is short and grows, as of every exclusion.
const (
	firstAvoid = time.Minute
	mostAvoid  = time.Hour
)

// testModel takes the one test that is due of a target which is avoided.
func (st *state) testModel(at int64) {
	known := st.served.Load()
	if known == nil || !known.avoided || at < known.until {
		return
	}
	next := *known
	next.until, next.testing = at+int64(firstAvoid), true // the time is for its answer
	st.served.Store(&next)
}

// noteModel takes in what an answer called its model. Only Azure decides that, no
// client, so that one answer is evidence enough. A name that nobody knows is a
// reason to stay away only once it has replaced another: else it may just be
// another way of writing. The caller holds mu.
func (st *state) noteModel(at int64, name string) {
	t := st.target.Load()
	if name == "" || t == nil {
		return
	}
	relation := t.Names(name)
	if !readable(name) {
		name = unreadable
	}
	old := st.served.Load()
	if old == nil || old.target != t {
		old = &served{target: t}
	}
	same := old.model == name
	if same && !old.testing {
		return
	}
	next := &served{target: t, model: name}
	switch relation {
	case policy.ModelUnsaid, policy.ModelRight:
	case policy.ModelUnknown:
		next.other = true
		next.avoided = t.AvoidMismatch && (old.avoided || old.model != "" && !same)
	case policy.ModelOther:
		next.other, next.avoided = true, t.AvoidMismatch
	}
	if next.avoided {
		next.wait = firstAvoid
		if old.avoided {
			next.wait = min(2*old.wait, mostAvoid)
		}
		next.until = at + int64(next.wait)
	}
	st.served.Store(next)
}

// unreadable stands for a name that is not shown: it is the backend's text.
const unreadable = "(unreadable)"

// readable reports whether a name may stand in a log or a document.
func readable(name string) bool {
	if len(name) > 64 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '<' {
			return false
		}
	}
	return true
}

// mismatched returns what is known, if the answers are not of the route's model.
func (st *state) mismatched() (served, bool) {
	if s := st.served.Load(); s != nil && s.other && s.target == st.target.Load() {
		return *s, true
	}
	return served{}, false
}
