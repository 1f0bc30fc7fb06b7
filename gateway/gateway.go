// Package gateway is the data plane: one process of a stamp, which takes Azure
// OpenAI calls from clients and carries them to backends inside its boundary.
//
// This package itself is the configuration and the wiring; each job has a
// package of its own below it. Once a policy is in force a gateway needs nobody:
// etcd, control plane and gossip may all be gone. It never talks to another
// boundary. Commands and end-to-end tests start it with Run.
package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/memory"
	"github.com/stampgate/stampgate/gateway/orders"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/stampview"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/stamp/lifecycle"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Addresses are where a running gateway listens.
type Addresses struct {
	URL      string
	AdminURL string // "" without an admin listener
	Gossip   string // address:port, "" without gossip
}

// Options are what a start has besides its configuration.
type Options struct {
	Log zerolog.Logger
	// Ready, if set, is called once, when a request would be served.
	Ready func(Addresses)
	// Listening, if set, is called once, when the listeners are open.
	Listening func(Addresses)
	// Hurry, if set, cuts a drain short when it ends: the second signal.
	Hurry context.Context //nolint:containedctx // a signal that outlives the context of Run
	// Dialer is for tests that need trust in their own certificates.
	Dialer upstream.Dialer
	// LogDropped, if set, is the log's writer, whose dropped lines are counted.
	LogDropped *telemetry.AsyncWriter
}

// A gateway is the process's parts, wired.
type gateway struct {
	cfg Config
	opt Options
	log zerolog.Logger

	registry    *targets.Registry
	credentials *credential.Set
	pools       *upstream.Pools
	follower    *follow.Follower
	drains      *orders.Drains
	machine     *health.Machine
	watch       *health.Watch
	operators   *admin.Admin
	budget      *bytebudget.Budget
	prober      *probe.Prober
	inflight    lifecycle.Inflight
	running     running.Set
	metrics     *prometheus.Registry
	store       *store.Store      // nil when the policy comes from a file
	gossip      *stampview.Gossip // nil without gossip

	started time.Time
	address Addresses
	// listening: the last good policy was read, and the listeners are open.
	listening atomic.Bool
	ready     sync.Once // has been said

	descriptors     descriptor.Plan
	public, admin   *http.Server
	publicL, adminL net.Listener
	cutStreams      context.CancelCauseFunc
}

// Run starts a gateway and blocks until ctx ends and the gateway has drained.
// It owns every goroutine that it starts and returns when all have ended. The
// error says what was wrong with the start, a *ConfigError if that was the
// configuration, or what went wrong in stopping.
func Run(ctx context.Context, cfg Config, opt Options) error {
	cfg = cfg.withDefaults()
	if err := cfg.Check(); err != nil {
		return err
	}
	cfg.Limits = cfg.Limits.withDefaults(memory.Limit())
	g := &gateway{cfg: cfg, opt: opt, started: time.Now()}
	g.log = opt.Log.With().Str("gateway", cfg.Name).Str("boundary", string(cfg.Boundary)).Str("region", string(cfg.Region)).Logger()
	var stack lifecycle.Stack
	if err := g.build(&stack); err != nil { //nolint:contextcheck // listeners outlive ctx: a drain needs them
		return errors.Join(err, stack.Unwind(stopLimit)) //nolint:contextcheck // undoing must not be cancelled
	}
	return g.run(ctx, &stack)
}

// stopLimit bounds what remains to be undone after a drain.
const stopLimit = 10 * time.Second

// build makes every part and opens the listeners. What it pushes on the stack
// is undone if a later step fails.
func (g *gateway) build(stack *lifecycle.Stack) error {
	g.metrics = telemetry.NewRegistry(telemetry.Version())
	if g.opt.LogDropped != nil {
		if err := telemetry.RegisterDropped(g.metrics, g.opt.LogDropped); err != nil {
			return err
		}
	}
	g.registry = targets.New(g.cfg.Region)
	g.drains = orders.New(g.cfg.Name, g.cfg.Region, g.registry)
	g.machine = health.NewMachine()
	g.budget = bytebudget.New(int64(g.cfg.Limits.Held), int64(g.cfg.Limits.HeldPerClient))
	g.credentials = credential.New(credential.Config{Log: g.log})
	g.descriptors = descriptor.PlanFor(descriptor.Limit())
	// Read now: where it cannot be read later, for want of a descriptor, no
	// certificate is trusted for the rest of the process's life.
	_, _ = x509.SystemCertPool()
	dialer := g.opt.Dialer
	dialer.Boundary, dialer.Slots = g.cfg.Boundary, descriptor.NewSlots(g.descriptors.Out)
	g.pools = upstream.New(g.cfg.Boundary, dialer)
	stack.Push("connections to backends", func(context.Context) error { g.pools.Close(); return nil })
	if err := g.buildFollower(stack); err != nil {
		return err
	}
	if err := g.buildGossip(); err != nil {
		return err
	}
	if err := g.buildOperators(); err != nil {
		return err
	}
	return g.listen(stack)
}

func (g *gateway) buildFollower(stack *lifecycle.Stack) error {
	fc := follow.Config{Local: g.cfg.local(), Prepare: g.prepare, Ordered: g.takeOrders, Log: g.log}
	if g.cfg.Policy.Etcd != nil {
		keys, err := trustedKeys(g.cfg.Policy.TrustedKeys)
		if err != nil {
			return err
		}
		if fc.Verifier, err = signing.NewVerifier(keys); err != nil {
			return err
		}
		fc.CacheDir, fc.AcceptOlder = g.cfg.Policy.CacheDir, g.cfg.Policy.AcceptOlder
		if err := os.MkdirAll(fc.CacheDir, 0o700); err != nil {
			// Serving does not need it; the next start without etcd will.
			g.log.Error().Err(err).Msg("policy.cacheDir cannot be made: the last good policy will not be kept")
		}
		g.store, err = store.Open(g.cfg.storeConfig(), g.log)
		if err != nil {
			return fmt.Errorf("policy.etcd: %w", err)
		}
		stack.Push("etcd client", func(context.Context) error { return g.store.Close() })
	}
	g.follower = follow.New(fc)
	g.watch = health.NewWatch(health.WatchConfig{
		Machine: g.machine, Registry: g.registry, Region: g.cfg.Region, Snapshot: g.follower.Snapshot,
		CredentialsUsable: g.credentials.Reaches, Draining: g.drains.Gateway, RegionDrained: g.drains.Region,
	})
	g.prober = g.newProber()
	return nil
}

// newProber keeps health truthful without traffic, and counts what it costs.
func (g *gateway) newProber() *probe.Prober {
	probes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_probes_total", Help: "Probes of idle backends that ended, by outcome.",
	}, []string{"outcome"})
	for _, o := range probe.Outcomes() {
		probes.WithLabelValues(string(o)) // so that each shows before it happens
	}
	g.metrics.MustRegister(probes)
	return probe.New(probe.Config{
		Region: g.cfg.Region, Registry: g.registry, Snapshot: g.follower.Snapshot, Ask: g.probe,
		Draining: g.drains.Gateway, Count: func(o probe.Outcome) { probes.WithLabelValues(string(o)).Inc() },
		IdleAfter: targets.IdleAfter,
	})
}

// buildOperators makes what operators are shown, and has changes of targets told:
// counted, logged and, as they may be a new gate or an open breaker, told to the
// stamp at once.
func (g *gateway) buildOperators() error {
	ac := admin.Config{
		Boundary: g.cfg.Boundary, Region: g.cfg.Region, Zone: g.cfg.Zone, Name: g.cfg.Name, Started: g.started,
		Registry: g.registry, Follower: g.follower, Credentials: g.credentials, Machine: g.machine, Metrics: g.metrics,
		InFlight: g.inflight.Count, Draining: g.drains.Gateway,
	}
	if g.cfg.Admin != nil {
		var err error
		if ac.Token, err = admin.ReadToken(g.cfg.Admin.TokenFile); err != nil {
			return err
		}
	}
	if g.store != nil {
		ac.SourceProblems = g.store.Problems
	}
	wake := func() {}
	if g.gossip != nil {
		ac.Gossip = g.gossip.Status
		ac.Members = g.gossip.Detail
		wake = g.gossip.Wake
	}
	g.operators = admin.New(ac)
	admin.CountChanges(g.registry, g.metrics, g.log, wake)
	return nil
}

func trustedKeys(texts []string) ([]signing.PublicKey, error) {
	keys := make([]signing.PublicKey, 0, len(texts))
	for i, text := range texts {
		k, err := signing.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("policy.trustedKeys[%d]: %w", i, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// prepare readies every part for a snapshot that is about to be in force. The one
// swap that requests see is the follower's: up to then nothing is taken from those of
// the snapshot before, and from then on those of the new one find all that they need.
// What survives the swap lives outside it, by name: the state of targets, credentials,
// connections.
//
// Two parts do not wait for the swap. Calls that the snapshot does not allow end
// before it, so that none slips in between, and a revocation waits for no file that
// Prepare may read. Pools of connections are made when a request first
// needs one, so that it has nothing to prepare, only to drop.
func (g *gateway) prepare(s *policy.Snapshot) (retire func()) {
	g.tellEnded(g.running.Advance(s, time.Now()))
	retireTargets := g.registry.Prepare(s)
	retireCredentials := g.credentials.Prepare(s)
	if _, ok := s.Stamp(g.cfg.Region); !ok {
		g.log.Warn().Uint64("serial", s.Serial()).Msg("the policy has no stamp for this gateway's region: nothing is served here, and /health/stamp fails; correct region in the configuration, or the policy")
	}
	return func() {
		retireTargets()
		retireCredentials()
		g.pools.Advance(s)
	}
}

// tellEnded logs how many calls were ended because the policy no longer allows them,
// if any were.
func (g *gateway) tellEnded(n running.Count) {
	if n != (running.Count{}) {
		g.log.Info().Int("backend_gone", n.Target).Int("client_gone", n.Client).Int("route_gone", n.Route).
			Msg("calls ended that the policy no longer allows")
	}
}

// userAgent is how backends see us.
func userAgent() string { return "stampgate/" + telemetry.Version() }

// probe asks a backend whether it can be reached, with our own credential.
func (g *gateway) probe(ctx context.Context, t *policy.Target) probe.Result {
	return g.pools.Probe(ctx, t, func(h http.Header) error {
		h.Set("User-Agent", userAgent())
		_, err := g.credentials.Apply(t, h)
		return err
	})
}
