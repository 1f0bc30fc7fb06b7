package credential

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A Set holds one source for each distinct credential and scope of a policy.
type Set struct {
	cfg     Config
	sources atomic.Pointer[map[identity]*source] // never changed once stored
	mu      sync.Mutex                           // orders changes of sources
	changed chan struct{}                        // wakes Run; holds one
	// numbers are the generations of all sources: one that is dropped and made
	// anew goes on above where it was. A pointer, so that %v does not walk into it.
	numbers *atomic.Uint64
}

// New returns a set without sources. It starts nothing.
func New(cfg Config) *Set {
	if cfg.KeyFilePoll <= 0 {
		cfg.KeyFilePoll = 5 * time.Second
	}
	if cfg.TokenTimeout <= 0 {
		cfg.TokenTimeout = 30 * time.Second
	}
	if cfg.NewToken == nil {
		cfg.NewToken = azureToken(cfg.DisableInstanceDiscovery)
	}
	s := &Set{cfg: cfg, changed: make(chan struct{}, 1), numbers: new(atomic.Uint64)}
	s.sources.Store(&map[identity]*source{})
	return s
}

// Run keeps the credentials fresh. It owns every goroutine that it starts and
// returns only when all have ended, after ctx is done.
func (s *Set) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := make(map[*source]context.CancelFunc)
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		wanted := *s.sources.Load()
		for src, stop := range running {
			if wanted[src.id] != src {
				stop()
				delete(running, src)
			}
		}
		for _, src := range wanted {
			if running[src] == nil {
				keepCtx, stop := context.WithCancel(ctx)
				running[src] = stop
				wg.Go(func() { src.keep(keepCtx) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		}
	}
}

// Prepare makes sources for the credentials of a snapshot that is about to be in
// force. Keys are read before it returns; tokens are fetched by Run. The sources that
// only the snapshot before needs go when retire is called, once no new request sees
// that one.
func (s *Set) Prepare(snap *policy.Snapshot) (retire func()) {
	users := make(map[identity]map[string]bool)
	credentials := make(map[identity]policy.Credential)
	for t := range snap.Targets() {
		id := identify(t)
		if users[id] == nil {
			users[id] = make(map[string]bool)
			credentials[id] = t.Credential
		}
		users[id][t.Backend] = true
	}
	return s.prepare(credentials, users)
}

func (s *Set) prepare(credentials map[identity]policy.Credential, users map[identity]map[string]bool) (retire func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.sources.Load())
	for id, backends := range users {
		src := next[id]
		if src == nil {
			src = newSource(id, credentials[id], &s.cfg, s.numbers)
			src.firstRead()
			next[id] = src
		}
		src.setBackends(slices.Sorted(maps.Keys(backends)))
	}
	s.use(next)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		rest := maps.Clone(*s.sources.Load())
		maps.DeleteFunc(rest, func(id identity, _ *source) bool { return users[id] == nil })
		s.use(rest)
	}
}

// use puts a set of sources in place of the one before. The caller holds mu.
func (s *Set) use(sources map[identity]*source) {
	s.sources.Store(&sources)
	select {
	case s.changed <- struct{}{}:
	default: // Run has not looked since the last change, and will see this one too
	}
}

// For returns the source for a target; it is never nil. The source of a target
// that the set does not know refuses to apply.
func (s *Set) For(t *policy.Target) Source {
	id := identify(t)
	if src := (*s.sources.Load())[id]; src != nil {
		return src
	}
	return newSource(id, t.Credential, &s.cfg, s.numbers)
}

// Apply puts our proof for a target into a request's header. It does not block. The
// generation grows with each renewal of the credential.
func (s *Set) Apply(t *policy.Target, h http.Header) (generation uint64, err error) {
	return s.For(t).Apply(h)
}

// Rejected tells that a target's backend refused our credential: it is renewed soon,
// and counts as a problem for a while.
func (s *Set) Rejected(t *policy.Target) {
	if src, ok := s.For(t).(*source); ok {
		src.reject(time.Now())
	}
}

// Unusable returns the credentials with which nothing can be sent.
func (s *Set) Unusable() []Problem {
	return slices.DeleteFunc(s.Problems(), func(p Problem) bool { return !p.Unusable })
}

// Reaches reports whether at least one backend of the snapshot can be spoken to:
// with the others' credentials broken, a gateway still serves.
func (s *Set) Reaches(snap *policy.Snapshot) bool {
	broken := make(map[string]bool)
	for _, p := range s.Unusable() {
		for _, b := range p.Backends {
			broken[b] = true
		}
	}
	for t := range snap.Targets() {
		if !broken[t.Backend] {
			return true
		}
	}
	return false
}

// Problems returns every credential that needs an operator, usable or not.
func (s *Set) Problems() []Problem {
	var all []Problem
	now := time.Now()
	for _, src := range *s.sources.Load() {
		if p, ok := src.problem(now); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Problem) int {
		return strings.Compare(a.Credential+a.Scope, b.Credential+b.Scope)
	})
	return all
}
