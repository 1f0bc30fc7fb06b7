package credential

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/stamp/secret"
)

const (
	// A token is asked for at most this often, whatever happens: identity
	// endpoints throttle.
	minRenewal = 30 * time.Second
	// firstRetry is the wait after the first failure while there is nothing to
	// send; it doubles up to minRenewal.
	firstRetry = time.Second
	// A rejection counts as a problem for so long: a new role takes some five
	// minutes to reach every backend.
	rejectionLasts = 5 * time.Minute
)

// A grant is what Apply puts into a request. It never changes.
type grant struct {
	header     string
	value      secret.Secret
	expires    time.Time // zero: never
	generation uint64    // a later grant of the same source has a larger one
}

func (g *grant) usable(now time.Time) bool {
	return g != nil && (g.expires.IsZero() || now.Before(g.expires))
}

// A fetcher gets the current credential. fresh asks for one that no cache holds.
type fetcher interface {
	fetch(ctx context.Context, fresh bool) (fetched, error)
}

type fetched struct {
	grant   grant
	renewAt time.Time // zero: only when asked to
	// late says in words that the grant should have been renewed by now.
	late string
}

// A source keeps one credential fresh. Its owner runs keep.
type source struct {
	id      identity
	log     zerolog.Logger
	fetcher fetcher
	minGap  time.Duration // between two renewals
	local   bool          // fetching is a quick read on this machine
	numbers *atomic.Uint64

	current atomic.Pointer[grant]
	nudge   chan struct{} // asks keep for a fresh credential; holds one
	tried   chan struct{} // closed after the first fetch
	once    sync.Once

	mu         sync.Mutex // guards the fields below; never held across a call out
	backends   []string
	fault      string // why the last fetch brought nothing, or nothing new
	faultSince time.Time
	rejected   time.Time // the last time
	rejecting  time.Time // since when, without a gap of rejectionLasts
}

func newSource(id identity, c policy.Credential, cfg *Config, numbers *atomic.Uint64) *source {
	src := &source{
		id: id, log: cfg.Log, numbers: numbers,
		nudge: make(chan struct{}, 1), tried: make(chan struct{}),
		fault: "it has not been fetched yet", faultSince: time.Now(),
	}
	switch id.kind {
	case apiKeyFile, apiKeyEnv:
		src.fetcher, src.local, src.minGap = newKeyFetcher(id, cfg), true, time.Second
	default:
		src.fetcher = &tokenFetcher{credential: c, scope: id.scope, newToken: cfg.NewToken, timeout: cfg.TokenTimeout}
		src.minGap = minRenewal
	}
	return src
}

// String names the source. It keeps %v from walking into fields that change.
func (src *source) String() string { return "credential " + src.id.String() }

// GoString keeps %#v from it, too.
func (src *source) GoString() string { return src.String() }

// Apply is on the path of every request: one load of a pointer and one look at
// the clock.
func (src *source) Apply(h http.Header) (generation uint64, err error) {
	delete(h, "Authorization")
	delete(h, "Api-Key")
	g := src.current.Load()
	if !g.usable(time.Now()) {
		text, _ := src.state()
		if g != nil && text == "" {
			text = "it has expired"
		}
		return 0, &UnusableError{Credential: src.id.String(), Text: text}
	}
	h[g.header] = []string{g.value.Reveal()}
	return g.generation, nil
}

// firstRead fetches what needs no network, so that it is there at once.
func (src *source) firstRead() {
	if src.local {
		_, _ = src.renew(context.Background(), false) // noted as the source's fault
	}
}

// keep renews the credential until ctx is done.
func (src *source) keep(ctx context.Context) {
	failures, fresh := 0, false
	for {
		started := time.Now()
		renewAt, err := src.renew(ctx, fresh)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			failures = 0
		case renewAt.IsZero():
			renewAt = started.Add(src.backoff(failures))
			failures++
		}
		if fresh, err = src.wait(ctx, started, renewAt); err != nil {
			return
		}
	}
}

// backoff is the wait after so many failures before this one. While the old
// credential is still good there is no hurry.
func (src *source) backoff(failures int) time.Duration {
	if src.current.Load().usable(time.Now()) {
		return minRenewal
	}
	return min(firstRetry<<min(failures, 10), minRenewal)
}

// wait returns when the next renewal is due, or was asked for by a nudge and
// minGap has passed since the last one.
func (src *source) wait(ctx context.Context, last, renewAt time.Time) (fresh bool, err error) {
	due := time.NewTimer(time.Until(renewAt))
	defer due.Stop()
	var at <-chan time.Time
	if !renewAt.IsZero() {
		at = due.C
	}
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-at:
		return false, nil
	case <-src.nudge:
	}
	gap := time.NewTimer(time.Until(last.Add(src.minGap)))
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-gap.C:
		return true, nil
	}
}

// renew fetches once and records what came of it. A failure leaves the old
// credential in use until it expires; renewAt is then zero unless the fetcher
// has a rhythm of its own.
func (src *source) renew(ctx context.Context, fresh bool) (renewAt time.Time, err error) {
	f, err := src.fetcher.fetch(ctx, fresh)
	if ctx.Err() != nil {
		return time.Time{}, context.Cause(ctx) // we are being stopped: not a fault
	}
	fault := f.late
	if err != nil {
		fault = redact(err.Error())
	} else {
		f.grant.generation = src.numbers.Add(1)
		src.current.Store(&f.grant)
	}
	src.setFault(fault)
	src.once.Do(func() { close(src.tried) })
	return f.renewAt, err
}

// setFault notes and logs a change; the same fault is logged once.
func (src *source) setFault(text string) {
	now := time.Now()
	src.mu.Lock()
	had, backends := src.fault, src.backends
	src.fault = text
	if had == "" && text != "" {
		src.faultSince = now
	}
	src.mu.Unlock()
	switch text {
	case had:
	case "":
		src.log.Info().Str("credential", src.id.String()).Strs("backends", backends).Msg("credential fetched")
	default:
		src.log.Warn().Str("credential", src.id.String()).Strs("backends", backends).Str("fault", text).Msg("credential not fetched")
	}
}

func (src *source) setBackends(names []string) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.backends = names
}

func (src *source) state() (fault string, since time.Time) {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.fault, src.faultSince
}

func (src *source) reject(now time.Time) {
	src.mu.Lock()
	if now.Sub(src.rejected) > rejectionLasts {
		src.rejecting = now
	}
	src.rejected = now
	src.mu.Unlock()
	select {
	case src.nudge <- struct{}{}:
	default: // already asked for
	}
}

// problem says what is wrong with the credential, if anything is.
func (src *source) problem(now time.Time) (Problem, bool) {
	g := src.current.Load()
	src.mu.Lock()
	defer src.mu.Unlock()
	p := Problem{
		Credential: src.id.String(), Scope: src.id.scope, Backends: src.backends,
		Unusable: !g.usable(now), Text: src.fault, Since: src.faultSince,
	}
	switch {
	case p.Text != "":
	case p.Unusable:
		p.Text, p.Since = "it has expired", g.expires
	case now.Sub(src.rejected) <= rejectionLasts && !src.rejected.IsZero():
		p.Text, p.Since = "a backend refuses it: check the role of the identity, or the key", src.rejecting
	default:
		return Problem{}, false
	}
	return p, true
}
