package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/relay"
	"github.com/stampgate/stampgate/gateway/serve"
	"github.com/stampgate/stampgate/stamp/certificate"
	"github.com/stampgate/stampgate/stamp/lifecycle"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// publicHandler is what the public listener serves: health, and the pipeline.
func (g *gateway) publicHandler() http.Handler {
	limits := g.cfg.Limits
	pipeline := serve.New(serve.Config{
		Boundary: g.cfg.Boundary, Region: g.cfg.Region, Name: g.cfg.Name,
		Snapshot: g.follower.Snapshot, Auth: auth.Authenticator{Own: g.cfg.Boundary}, Registry: g.registry,
		Relay: relay.New(relay.Config{
			Pools: g.pools, Credentials: g.credentials, UserAgent: userAgent(), WriteTimeout: time.Duration(limits.WriteTimeout),
		}),
		Rejected: g.credentials.Rejected,
		Inflight: &g.inflight, Running: &g.running, Draining: g.drains.Gateway, FrontDoorID: g.cfg.FrontDoor.IDs,
		Metrics: serve.NewMetrics(g.metrics), Log: g.log, WriteTimeout: time.Duration(limits.WriteTimeout),
		Budget: g.budget, Sessions: edge.NewCounter[string](limits.SessionsPerClient), Spool: g.cfg.spool(),
	})
	requests := edge.Handler(pipeline.Serve, time.Duration(limits.BodyTimeout))
	healthy := edge.WithoutBodies(health.NewHandler(health.Config{Machine: g.machine, Authorized: g.operators.Authorized, Detail: g.operators.Detail}))
	// Two ways in, and no redirect: SDKs drop their credential on the way.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/health/") {
			healthy.ServeHTTP(w, r)
			return
		}
		requests.ServeHTTP(w, r)
	})
}

// spool is where large bodies are kept.
func (c Config) spool() serve.Spool {
	if c.Bodies == nil {
		return serve.Spool{}
	}
	return serve.Spool{Dir: c.Bodies.Dir, Above: int64(c.Bodies.Above), Budget: bytebudget.New(int64(c.Bodies.Most), int64(c.Bodies.Most/2))}
}

// listen opens the listeners, so that a port in use fails the start.
func (g *gateway) listen(stack *lifecycle.Stack) error {
	base, cut := context.WithCancelCause(context.Background())
	g.cutStreams = cut
	stack.Push("streams", func(context.Context) error { cut(lifecycle.ErrDraining); return nil })
	l, err := listenOn(stack, "listen", g.cfg.Listen)
	if err != nil {
		return err
	}
	g.publicL = g.bounded(l)
	g.public = edge.NewServer(g.sheds(g.publicHandler()), g.cfg.Limits.timeouts(), g.cfg.HTTP2)
	g.public.ErrorLog = telemetry.StdLog(g.log)
	g.public.ConnContext = marked(g.public.ConnContext)
	g.public.BaseContext = func(net.Listener) context.Context { return base }
	scheme := "http://"
	if g.cfg.TLS.CertFile != "" {
		scheme = "https://"
		cert, err := certificate.Load(g.cfg.TLS.CertFile, g.cfg.TLS.KeyFile)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		g.public.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.ForServer}
	}
	g.address.URL = scheme + g.publicL.Addr().String()
	return g.listenAdmin(stack)
}

func (g *gateway) listenAdmin(stack *lifecycle.Stack) error {
	if g.cfg.Admin == nil {
		return nil
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
	g.admin = edge.NewServer(edge.WithoutBodies(g.operators.Handler()), g.cfg.Limits.timeouts(), false)
	g.admin.ErrorLog = telemetry.StdLog(g.log)
	g.address.AdminURL = "http://" + g.adminL.Addr().String()
	return nil
}

// bounded puts the limits of connections on the public listener, and shows what
// the bounds hold.
func (g *gateway) bounded(l net.Listener) *edge.Listener {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_connections_refused_total", Help: "Connections of clients beyond a limit: of the total, which get an answer to a health check and 503 to all else, or of their source, which are closed.",
	}, []string{"bound"})
	for _, b := range edge.Bounds() {
		refused.WithLabelValues(string(b)) // so that each shows before it happens
	}
	limits := g.cfg.Limits
	total, perSource := limits.connectionsFor(g.descriptors.In)
	// Those beyond the total are not closed but shed: see sheds.
	within := descriptor.NewListener(l, descriptor.NewSlots(total), g.descriptors.Extra)
	out := edge.Listen(within, edge.Limits{
		PerSource: perSource, Unsent: int64(limits.UnsentPerConnection),
		Write:   time.Duration(limits.WriteTimeout),
		Refused: func(b edge.Bound) { refused.WithLabelValues(string(b)).Inc() },
	})
	within.Room = out.EndIdle
	within.Beyond = func() { refused.WithLabelValues(string(edge.InTotal)).Inc() }
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	g.metrics.MustRegister(
		refused,
		gauge("stampgate_connections", "Connections of clients that are open.", func() float64 { return float64(out.Open()) }),
		gauge("stampgate_connections_limit", "Connections of clients that may be open.", func() float64 { return float64(total) }),
		gauge("stampgate_held_bytes", "Bytes that requests hold: bodies, and answers that clients have not taken.", func() float64 { return float64(g.budget.Held()) }),
		gauge("stampgate_held_bytes_limit", "Bytes that requests may hold.", func() float64 { return float64(limits.Held) }),
	)
	return out
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
func (g *gateway) sheds(next http.Handler) http.Handler {
	overloaded := edge.Handler(serve.Overloaded, time.Duration(g.cfg.Limits.BodyTimeout))
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
