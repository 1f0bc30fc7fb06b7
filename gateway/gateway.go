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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/api"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/proxy"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/stampview"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/lifecycle"
	"github.com/stampgate/stampgate/stamp/secret"
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
	Dialer proxy.Dialer
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
	proxy       *proxy.Proxy
	follower    *follow.Follower
	machine     *health.Machine
	budget      *bytebudget.Budget
	prober      *probe.Prober
	inflight    lifecycle.Inflight
	running     running.Set
	metrics     *prometheus.Registry
	store       *store.Store      // nil when the policy comes from a file
	gossip      *stampview.Gossip // nil without gossip

	token    secret.Secret // of the admin listener
	started  time.Time
	address  Addresses
	draining atomic.Bool // by signal
	// listening: the policy of before was read and the listeners are open.
	listening atomic.Bool
	ordered   atomic.Pointer[orders]
	routes    routesSeen
	ready     sync.Once

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
	cfg.Limits = cfg.Limits.withDefaults(memoryLimit())
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
	g.machine = health.NewMachine()
	g.budget = bytebudget.New(int64(g.cfg.Limits.Held), int64(g.cfg.Limits.HeldPerClient))
	g.credentials = credential.New(credential.Config{Log: g.log})
	g.ordered.Store(&orders{})
	g.descriptors = descriptor.PlanFor(descriptor.Limit())
	// Read now: where it cannot be read later, for want of a descriptor, no
	// certificate is trusted for the rest of the process's life.
	_, _ = x509.SystemCertPool()
	dialer := g.opt.Dialer
	dialer.Boundary, dialer.Slots = g.cfg.Boundary, descriptor.NewSlots(g.descriptors.Out)
	g.proxy = proxy.New(proxy.Config{
		Boundary: g.cfg.Boundary, Region: g.cfg.Region, Registry: g.registry,
		Credentials: proofs{g.credentials}, Dialer: dialer,
		UserAgent: "stampgate/" + telemetry.Version(), WriteTimeout: time.Duration(g.cfg.Limits.WriteTimeout),
	})
	stack.Push("connections to backends", func(context.Context) error { g.proxy.Close(); return nil })
	if err := g.buildFollower(stack); err != nil {
		return err
	}
	if err := g.buildGossip(); err != nil {
		return err
	}
	return g.listen(stack)
}

func (g *gateway) buildFollower(stack *lifecycle.Stack) error {
	fc := follow.Config{Local: g.cfg.local(), Advance: g.advance, Ordered: g.takeOrders, Log: g.log}
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
	g.prober = g.newProber()
	g.countChanges()
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

// advance prepares the parts for a snapshot that requests are about to see. What
// the snapshot does not allow ends first of all.
func (g *gateway) advance(s *policy.Snapshot) {
	g.tellEnded(g.running.Advance(s, time.Now()))
	g.registry.Advance(s)
	g.credentials.Advance(s)
	g.proxy.Advance(s)
	if _, ok := s.Stamp(g.cfg.Region); !ok {
		g.log.Warn().Uint64("serial", s.Serial()).Msg("the policy has no stamp for this gateway's region: nothing is served here, and /health/stamp fails; correct region in the configuration, or the policy")
	}
}

// proofs is the proxy's view of the credentials.
type proofs struct{ set *credential.Set }

func (p proofs) Apply(t *policy.Target, h http.Header) (uint64, error) {
	return p.set.For(t).Apply(h)
}

func (p proofs) Rejected(t *policy.Target) { p.set.Rejected(p.set.For(t)) }

// listen opens the listeners, so that a port in use fails the start.
func (g *gateway) listen(stack *lifecycle.Stack) error {
	base, cut := context.WithCancelCause(context.Background())
	g.cutStreams = cut
	stack.Push("streams", func(context.Context) error { cut(lifecycle.ErrDraining); return nil })
	handler := api.New(api.Config{
		Boundary: g.cfg.Boundary, Region: g.cfg.Region, Name: g.cfg.Name,
		Snapshot: g.follower.Snapshot, Auth: auth.Authenticator{Own: g.cfg.Boundary}, Proxy: g.proxy,
		Health:   health.NewHandler(health.Config{Machine: g.machine, Authorized: g.authorized, Detail: g.detail}),
		Inflight: &g.inflight, Running: &g.running, Draining: g.isDraining, FrontDoorID: g.cfg.FrontDoor.IDs,
		Metrics: api.NewMetrics(g.metrics), Log: g.log,
		BodyTimeout: time.Duration(g.cfg.Limits.BodyTimeout), WriteTimeout: time.Duration(g.cfg.Limits.WriteTimeout),
		Budget: g.budget, Sessions: edge.NewCounter[string](g.cfg.Limits.SessionsPerClient),
	})
	l, err := listenOn(stack, "listen", g.cfg.Listen)
	if err != nil {
		return err
	}
	g.publicL = g.bounded(l)
	g.public = edge.NewServer(sheds(handler), g.cfg.Limits.timeouts(), g.cfg.HTTP2)
	g.public.ErrorLog = telemetry.StdLog(g.log)
	g.public.ConnContext = marked(g.public.ConnContext)
	g.public.BaseContext = func(net.Listener) context.Context { return base }
	scheme := "http://"
	if g.cfg.TLS.CertFile != "" {
		scheme = "https://"
		cert, err := newCertificate(g.cfg.TLS.CertFile, g.cfg.TLS.KeyFile)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		g.public.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	}
	g.address.URL = scheme + g.publicL.Addr().String()
	return g.listenAdmin(stack)
}

func (g *gateway) listenAdmin(stack *lifecycle.Stack) error {
	if g.cfg.Admin == nil {
		return nil
	}
	var err error
	if g.token, err = readToken(g.cfg.Admin.TokenFile); err != nil {
		return err
	}
	l, err := listenOn(stack, "admin.listen", g.cfg.Admin.Listen)
	if err != nil {
		return err
	}
	l = descriptor.NewListener(l, descriptor.NewSlots(g.descriptors.Admin), g.descriptors.Admin)
	g.adminL = edge.Listen(l, edge.Limits{
		Total:  adminConnections,
		Unsent: int64(g.cfg.Limits.UnsentPerConnection), Write: time.Duration(g.cfg.Limits.WriteTimeout),
	})
	g.admin = edge.NewServer(edge.WithoutBodies(g.adminHandler()), g.cfg.Limits.timeouts(), false)
	g.admin.ErrorLog = telemetry.StdLog(g.log)
	g.address.AdminURL = "http://" + g.adminL.Addr().String()
	return nil
}

func listenOn(stack *lifecycle.Stack, field, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	stack.Push(field, func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// marked has a connection's requests say whether it is one beyond those that there
// are descriptors for.
func marked(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context { return descriptor.ConnContext(next(ctx, c), c) }
}

// sheds answers what comes on a connection beyond those that there are descriptors
// for: health checks, and nothing else. Either way the connection ends, to make
// room.
func sheds(next http.Handler) http.Handler {
	overloaded := api.Overloaded()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !descriptor.Extra(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		if strings.HasPrefix(r.URL.Path, "/health/") {
			next.ServeHTTP(w, r)
			return
		}
		overloaded.ServeHTTP(w, r)
	})
}
