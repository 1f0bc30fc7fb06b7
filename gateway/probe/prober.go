package probe

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A Prober probes. One goroutine, that of Run, owns all of its state.
type Prober struct {
	cfg Config

	policy    *policy.Snapshot // for which endpoints were last made
	endpoints map[string]*endpoint
	waiting   queue     // those of endpoints that no probe runs at
	last      time.Time // when the last probe began
	answers   chan answer
	running   sync.WaitGroup
}

// An answer is how a probe of an endpoint ended.
type answer struct {
	endpoint *endpoint
	result   Result
}

// New returns a prober. It starts nothing.
func New(cfg Config) *Prober {
	return &Prober{cfg: cfg, endpoints: map[string]*endpoint{}, answers: make(chan answer)}
}

// Run probes until ctx ends, and returns when every probe that it began has ended.
func (p *Prober) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer p.running.Wait()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-p.answers:
			p.learn(time.Now(), a)
		case <-timer.C:
		}
		now := time.Now()
		p.follow(now)
		timer.Reset(p.step(ctx, now))
	}
}

// follow takes over a new policy. What runs at an endpoint of before goes on, and
// its answer counts if the endpoint is still named.
func (p *Prober) follow(now time.Time) {
	s := p.cfg.Snapshot()
	if s == p.policy {
		return
	}
	p.policy = s
	next := endpointsOf(s, p.cfg.Region)
	// What is new begins within a second, or within a round where there are many.
	spread := max(time.Second, time.Duration(len(next))*time.Second/perSecond)
	p.cfg.Registry.SetProbed(slices.Collect(maps.Keys(next)))
	p.waiting = p.waiting[:0]
	for origin, e := range next {
		e.known = now
		due := now.Add(p.cfg.IdleAfter + time.Duration(rand.Int64N(int64(spread))))
		if old := p.endpoints[origin]; old != nil {
			e.known, e.failed, e.lost, due = old.known, old.failed, old.lost, old.due
		}
		p.waiting.add(e, due)
	}
	p.endpoints = next
}

// step begins at most one probe, and returns how long to wait for the next turn.
// It looks at a bounded number of endpoints, however many there are.
func (p *Prober) step(ctx context.Context, now time.Time) time.Duration {
	if p.cfg.Draining() {
		return turn
	}
	if wait := p.last.Add(spacing).Sub(now); wait > 0 {
		return wait
	}
	for range lookAt {
		if len(p.waiting) == 0 {
			return turn
		}
		if wait := p.waiting[0].due.Sub(now); wait > 0 {
			return min(wait, turn)
		}
		e := p.waiting.take()
		switch idle := e.heard(p.cfg.Registry).Add(p.cfg.IdleAfter); {
		case now.Before(idle):
			p.waiting.add(e, idle)
		default:
			p.last = now
			p.begin(ctx, e)
			return spacing
		}
	}
	return spacing
}

// begin makes a probe in a goroutine of its own: at most Timeout / spacing = 40 run.
func (p *Prober) begin(ctx context.Context, e *endpoint) {
	p.running.Go(func() {
		asking, cancel := context.WithTimeout(ctx, Timeout)
		defer cancel()
		select {
		case p.answers <- answer{e, p.cfg.Ask(asking, e.target)}:
		case <-ctx.Done():
		}
	})
}

// learn takes an answer and says when the next probe is due.
func (p *Prober) learn(now time.Time, a answer) {
	p.cfg.Count(a.result.Outcome)
	e := a.endpoint
	if p.endpoints[e.target.Key.Origin] != e {
		e = nil // of an older policy: where it is still named it has been put in the queue anew
	}
	switch a.result.Outcome {
	case Unknown:
		p.again(e, now, p.every(Interval))
		return
	case Reached:
		p.cfg.Registry.Probed(now, a.endpoint.keys, "")
		if e != nil {
			e.failed = 0
			if now.Sub(e.lost) < closely {
				p.again(e, now, p.every(closeInterval))
				return
			}
		}
		p.again(e, now, p.every(Interval))
		return
	case ServerError, Unauthorized, ConnectFailed, TLSFailed, NoAnswer, NoCredential:
	}
	p.cfg.Registry.Probed(now, a.endpoint.keys, a.result.Text)
	if e == nil {
		return
	}
	e.lost = now
	if e.failed++; e.failed == 1 {
		p.again(e, now, jitter(confirmIn))
		return
	}
	p.again(e, now, p.every(failingEvery))
}

func (p *Prober) again(e *endpoint, now time.Time, wait time.Duration) {
	if e != nil {
		p.waiting.add(e, now.Add(wait))
	}
}

// every returns the jittered time to the next probe of an endpoint, longer where
// there are so many that it would be more than perSecond.
func (p *Prober) every(least time.Duration) time.Duration {
	return jitter(max(least, time.Duration(len(p.endpoints))*time.Second/perSecond))
}

// jitter takes up to a fifth away, so that gateways do not probe in step.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}
