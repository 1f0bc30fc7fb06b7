// Package running knows the calls that are being served, so that those which a
// new policy does not allow can be ended: an open session or stream must not
// outlive the grant, the route or the backend that it was opened with.
//
// It decides which calls end and why; what their clients are told is the table of
// refusals to say. It does no I/O, and no lock of it is held while anything else is
// called. The gateway's wiring advances it, serve enters calls, relay says where
// each one is.
package running

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// The reasons for which a call is ended, as the cause of its context.
var (
	// ErrTarget: the policy no longer has the backend, or its fence no longer
	// admits it.
	ErrTarget = errors.New("the policy no longer has the backend that serves this")
	// ErrClient: the client, or the key that it came with, is gone.
	ErrClient = errors.New("the policy no longer has the client, or its key")
	// ErrRoute: there is no such route any more.
	ErrRoute = errors.New("the policy no longer has the route")
	// ErrGrant: the route is no longer granted to the client.
	ErrGrant = errors.New("the policy no longer grants the route to the client")
)

// Ended returns the reason for which a call's context was ended; nil if it was
// not, or by something else.
func Ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	for _, e := range [...]error{ErrTarget, ErrClient, ErrRoute, ErrGrant} {
		if errors.Is(cause, e) {
			return e
		}
	}
	return nil
}

// LastWords is how long an ended call may take to tell its client so: a client
// that does not read must not hold it open. It leaves half of the second within
// which a policy has to be followed.
const LastWords = 500 * time.Millisecond

// shards keep calls that begin and end at once out of each other's way.
const shards = 32

// A Client is the side that a call came from.
type Client interface {
	// SetWriteDeadline bounds the writes from now on. It does not block.
	SetWriteDeadline(t time.Time) error
}

// A Set holds the calls that run. The zero Set is ready for use.
type Set struct {
	latest atomic.Pointer[policy.Snapshot] // that Advance was given
	parts  [shards]part

	advancing sync.Mutex // orders whole sweeps, and guards expiry; no call takes it
	expiry    time.Time  // when the next key of the latest policy expires; zero: none does
}

type part struct {
	mu    sync.Mutex // guards the list; never held across a call out
	first *Call
	_     [48]byte // a cache line each
}

// A Call is one call that runs. A nil one is never ended.
type Call struct {
	ctx    context.Context //nolint:containedctx // what the registry is for: it ends the call
	end    context.CancelCauseFunc
	client Client // whose connection it is until left
	caller policy.Caller
	route  string
	target atomic.Pointer[policy.Target] // that is asked now; nil between attempts

	set        *Set
	part       *part
	next, prev *Call // guarded by part.mu

	mu   sync.Mutex // guards left; held while a deadline is set, which does not block
	left bool
}

// Enter notes a call that is about to be served. If a newer policy
// that does not allow it is coming into force, it is ended from the start.
func (s *Set) Enter(ctx context.Context, client Client, caller policy.Caller, route string) *Call {
	c := &Call{set: s, client: client, caller: caller, route: route}
	c.ctx, c.end = context.WithCancelCause(ctx)
	c.part = &s.parts[rand.Uint32()%shards] // it spreads, and guards nothing
	c.part.mu.Lock()
	c.next = c.part.first
	if c.next != nil {
		c.next.prev = c
	}
	c.part.first = c
	c.part.mu.Unlock()
	// After it can be found: whoever advances meanwhile either finds it or is seen.
	if latest := s.latest.Load(); latest != nil {
		_ = c.check(latest, time.Now()) // the call's context tells
	}
	return c
}

// Context is the call's own: the one that it was entered with, and ended with one
// of the reasons above.
func (c *Call) Context() context.Context { return c.ctx }

// At notes which target is about to be asked, nil for none, and reports whether
// the call may go on. Nothing may be sent to the target unless it may.
func (c *Call) At(t *policy.Target) bool {
	if c == nil {
		return true
	}
	c.target.Store(t)
	if t != nil && !serves(c.set.latest.Load(), t) {
		c.stop(ErrTarget)
	}
	return c.ctx.Err() == nil
}

// Policy returns the policy that is in force or about to be; nil if none is known.
func (c *Call) Policy() *policy.Snapshot {
	if c == nil {
		return nil
	}
	return c.set.latest.Load()
}

// Leave ends the call's note. Nothing is done to its connection after that.
func (c *Call) Leave() {
	if c == nil {
		return
	}
	c.part.mu.Lock()
	if c.prev == nil {
		c.part.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.part.mu.Unlock()
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.end(nil)
}

// stop ends the call for a reason, once.
func (c *Call) stop(why error) bool {
	if c.ctx.Err() != nil {
		return false
	}
	c.end(why)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left {
		_ = c.client.SetWriteDeadline(time.Now().Add(LastWords)) // in-memory writers of tests have none
	}
	return true
}

// check ends the call if the snapshot does not allow it, and returns why if it was
// this that ended it.
func (c *Call) check(s *policy.Snapshot, now time.Time) error {
	if t := c.target.Load(); t != nil && !serves(s, t) {
		return c.because(ErrTarget)
	}
	if err := allows(s, c.caller, c.route, now); err != nil {
		return c.because(err)
	}
	return nil
}

func (c *Call) because(why error) error {
	if c.stop(why) {
		return why
	}
	return nil
}

// serves reports whether the snapshot still has the target, reached no more
// widely than its fence admits now.
func serves(s *policy.Snapshot, t *policy.Target) bool {
	if s == nil {
		return true
	}
	now, ok := s.Target(t.Key)
	return ok && (now == t || now.Covers(t.Target))
}

func allows(s *policy.Snapshot, caller policy.Caller, route string, now time.Time) error {
	client, ok := s.Admits(caller, now)
	if !ok {
		return ErrClient
	}
	if _, ok := s.Route(route); !ok {
		return ErrRoute
	}
	if !client.May(route) {
		return ErrGrant
	}
	return nil
}

// Count is how many calls were ended for what.
type Count struct{ Target, Client, Route int }

// Advance ends every call that the snapshot does not allow: those on targets
// that it does not have first, so that nothing else delays that. When it has
// returned, nothing more is sent to such a target, nor for such a client. Advance
// must be told of every policy before it is in force.
func (s *Set) Advance(snapshot *policy.Snapshot, now time.Time) Count {
	s.advancing.Lock()
	defer s.advancing.Unlock()
	s.latest.Store(snapshot)
	s.expiry, _ = snapshot.NextExpiry(now)
	return s.sweep(snapshot, now)
}

// Expire ends the calls of clients whose key's time has passed, for nothing
// arrives then. It looks at calls only when a key has expired since.
func (s *Set) Expire(now time.Time) Count {
	s.advancing.Lock()
	defer s.advancing.Unlock()
	if s.expiry.IsZero() || now.Before(s.expiry) {
		return Count{}
	}
	latest := s.latest.Load()
	s.expiry, _ = latest.NextExpiry(now)
	return s.sweep(latest, now)
}

func (s *Set) sweep(snapshot *policy.Snapshot, now time.Time) Count {
	calls := s.all()
	var n Count
	for _, c := range calls {
		if t := c.target.Load(); t != nil && !serves(snapshot, t) && c.stop(ErrTarget) {
			n.Target++
		}
	}
	for _, c := range calls {
		switch why := c.check(snapshot, now); {
		case why == nil:
		case errors.Is(why, ErrTarget):
			n.Target++
		case errors.Is(why, ErrClient):
			n.Client++
		default:
			n.Route++
		}
	}
	return n
}

func (s *Set) all() []*Call {
	var calls []*Call
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		for c := p.first; c != nil; c = c.next {
			calls = append(calls, c)
		}
		p.mu.Unlock()
	}
	return calls
}
