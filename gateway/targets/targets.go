// Package targets keeps what a gateway has learned about each target and makes
// every routing decision of a request: which target next, whether to try again,
// and what to answer when nothing is left.
//
// State is kept by policy.Key, outside any snapshot, so that it survives a
// change of policy. The decisions are pure: time and randomness are passed in,
// there is no I/O and no goroutine here. The proxy is the main user; health,
// gossip and status read from it.
package targets

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// Kind is how an attempt ended, as far as the target is concerned.
type Kind uint8

// The kinds. The comment says what each does to the target.
const (
	// Success: a complete answer, or a stream that ended as it should.
	Success Kind = iota
	// Throttled: 429, or 503 that names a time. Gates; never a failure.
	Throttled
	// ConnectFailed: no TCP connection. Counts whoever sees it; cost nothing.
	ConnectFailed
	// TLSFailed: no TLS session, such as a wrong certificate. Counts whoever sees it.
	TLSFailed
	// ServerError: 500, 502, 504, or 503 without a time, or an error event that
	// opened a 200 stream. Needs evidence from two clients.
	ServerError
	// FirstByteTimeout: sent, but no answer in time. Needs evidence from two clients.
	FirstByteTimeout
	// Broken: a malformed, truncated, stalled or broken-off answer, or a
	// connection lost after the request was sent. Needs evidence from two clients.
	Broken
	// IdentityRefused: 401 or 403 for our own credential. An alarm of its own.
	IdentityRefused
	// DeploymentMissing: 404 DeploymentNotFound.
	DeploymentMissing
	// Rejected: another 4xx, a content filter: the target works, the request does not.
	Rejected
	// Canceled: the client went away. Says nothing about the target.
	Canceled
)

// An Outcome is what one attempt taught.
type Outcome struct {
	Kind      Kind
	FirstByte time.Duration // from sending to the first byte of the answer; 0 if none came
	Signals   Signals
	// Sent: the request may have reached the backend in full. A failure of such
	// an attempt is ambiguous: the backend may have done the work.
	Sent bool
}

// Signals are what a backend said about its limits, read from headers.
type Signals struct {
	RetryAfter    time.Duration // 0 if it did not say
	HasRetryAfter bool
	// Shares of the limits that are left, 0…1; negative where not said.
	RemainingRequests float64
	RemainingTokens   float64
	Utilization       float64 // of a provisioned deployment, 0…1 and beyond; negative where not said
}

// A Registry holds the state of every target.
type Registry struct {
	mu     sync.Mutex // guards states; never held across a call out
	states map[policy.Key]*state
}

type state struct {
	mu       sync.Mutex // guards the fields below
	gate     time.Time
	inFlight int
}

// New returns a registry that knows no target.
func New() *Registry { return &Registry{states: make(map[policy.Key]*state)} }

// Advance makes state for the targets of a new snapshot, and drops the state of
// those that it no longer names.
func (r *Registry) Advance(s *policy.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[policy.Key]*state)
	for t := range s.Targets() {
		st := r.states[t.Key]
		if st == nil {
			st = &state{}
		}
		next[t.Key] = st
	}
	r.states = next
}

func (r *Registry) state(k policy.Key) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.states[k]
	if st == nil {
		st = &state{}
		r.states[k] = st
	}
	return st
}

// A Request is what picking needs to know of a call.
type Request struct {
	Route     *policy.CompiledRoute
	Stamp     *policy.StampRules
	Region    geo.RegionID
	Client    string // the client's name: evidence of a failure is counted by client
	Stateless bool   // repeating it does no harm but cost
}

// A Selection walks through the targets of one request, each at most once. It
// is used by one goroutine.
type Selection struct {
	reg    *Registry
	req    Request
	tried  []*policy.Target
	costly int
}

// Begin starts the selection of a request.
func (r *Registry) Begin(req Request) Selection { return Selection{reg: r, req: req} }

// Next picks the target of the next attempt. It returns false when nothing is
// left: then Verdict says what to answer. Every Ticket must be given back by
// exactly one call of Observe.
func (s *Selection) Next(now time.Time, rng *rand.Rand) (Ticket, bool) {
	for i, tier := range s.req.Route.Tiers(s.req.Region) {
		for _, t := range tier.Targets {
			if slices.Contains(s.tried, t) {
				continue
			}
			st := s.reg.state(t.Key)
			st.mu.Lock()
			open := !now.Before(st.gate)
			if open {
				st.inFlight++
			}
			st.mu.Unlock()
			if !open {
				continue
			}
			s.tried = append(s.tried, t)
			return Ticket{Target: t, Connect: s.req.Route.Connect, FirstByte: s.req.Route.FirstByte, Passive: tier.Passive, Tier: i, state: st}, true
		}
	}
	return Ticket{}, false
}

// MayRetry reports whether another attempt may follow one that ended with o:
// by the kind of the outcome, by the attempts already made, and by the retry
// budget of the route, from which it withdraws.
func (s *Selection) MayRetry(now time.Time, o Outcome) bool {
	switch o.Kind {
	case Throttled, ConnectFailed, TLSFailed, IdentityRefused, DeploymentMissing:
		return true
	case ServerError, FirstByteTimeout, Broken:
		s.costly++
		return s.costly < s.req.Route.MaxAttempts && (s.req.Stateless || !o.Sent)
	case Success, Rejected, Canceled:
	}
	return false
}

// A Verdict says why nothing is left.
type Verdict struct {
	// AllThrottled: every target that could serve is gated; else none is available.
	AllThrottled bool
	// RetryAfter is the soonest moment at which a target may be free again,
	// 1 ms … 60 s.
	RetryAfter time.Duration
}

// Verdict tells what to answer after Next returned false.
func (s *Selection) Verdict(now time.Time) Verdict {
	v := Verdict{AllThrottled: true, RetryAfter: time.Minute}
	for _, tier := range s.req.Route.Tiers(s.req.Region) {
		for _, t := range tier.Targets {
			st := s.reg.state(t.Key)
			st.mu.Lock()
			wait := st.gate.Sub(now)
			st.mu.Unlock()
			if wait <= 0 {
				v.AllThrottled = false
				wait = time.Second
			}
			v.RetryAfter = max(time.Millisecond, min(v.RetryAfter, wait))
		}
	}
	return v
}

// A Ticket is the right to make one attempt on one target.
type Ticket struct {
	Target *policy.Target
	// Probe: this attempt tests a target that failed. Connect and FirstByte are
	// then shorter than the route's.
	Probe     bool
	Connect   time.Duration
	FirstByte time.Duration
	Passive   bool
	Tier      int
	state     *state
}

// Answered tells that the first byte has come, so that load and averages are
// right while a long stream still runs. At most once, before Observe.
func (t *Ticket) Answered(now time.Time, firstByte time.Duration) {}

// Observe records how the attempt ended and gives the ticket back.
func (t *Ticket) Observe(now time.Time, o Outcome) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	t.state.inFlight--
	if o.Kind == Throttled {
		if until := now.Add(max(o.Signals.RetryAfter, time.Second)); until.After(t.state.gate) {
			t.state.gate = until
		}
	}
}
