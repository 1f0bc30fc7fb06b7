package gateway

import (
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/targets"
)

// A collector reads the gateway's state when it is asked for metrics, so that
// keeping them costs a request nothing. Its labels name backends, deployments
// and routes of the policy in force, a closed set.
type collector struct {
	gateway *gateway

	gate, breaker, identity, missing, retired, forbidden, model, inFlight, serial, refused, draining, connected, kept *prometheus.Desc
}

func newCollector(g *gateway) *collector {
	target := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("stampgate_target_"+name, help, []string{"backend", "deployment"}, nil)
	}
	own := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("stampgate_"+name, help, nil, nil)
	}
	return &collector{
		gateway:   g,
		gate:      target("gate_remaining_seconds", "Time until the target's throttle gate opens, in seconds; 0 = open."),
		breaker:   target("breaker_open", "1 while the target's breaker lets nothing or only tests through."),
		identity:  target("identity_alarm", "1 while the backend refuses the gateway's credential."),
		missing:   target("deployment_missing", "1 while the backend says that the deployment does not exist."),
		retired:   target("model_retired", "1 while the backend says that the deployment's model is no longer served."),
		forbidden: target("operation_forbidden", "1 while the backend forbids some operation to the gateway's identity."),
		model:     target("model_mismatch", "1 while the deployment answers as another model than its route's."),
		inFlight:  target("in_flight_requests", "Requests of this gateway that run on the target."),
		serial:    own("policy_serial", "Serial of the policy in force; 0 = none."),
		refused:   own("policy_refused_serial", "Serial of the newest policy that was refused; 0 = none."),
		connected: own("policy_connected", "1 while the source of policies is heard."),
		kept:      own("policy_kept", "1 while all that is followed is on disk, with room for the next policy."),
		draining:  own("draining", "1 while the gateway takes no new work."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, t := range c.gateway.registry.Status(time.Now()) {
		b, d := t.Backend, t.Key.Deployment
		gauge(c.gate, t.Gate.Seconds(), b, d)
		gauge(c.breaker, oneIf(t.Breaker != breaker.Closed), b, d)
		gauge(c.identity, oneIf(t.Identity), b, d)
		gauge(c.missing, oneIf(t.Missing), b, d)
		gauge(c.retired, oneIf(t.Retired), b, d)
		gauge(c.forbidden, oneIf(t.Forbidden), b, d)
		gauge(c.model, oneIf(t.OtherModel != ""), b, d)
		gauge(c.inFlight, float64(t.InFlight), b, d)
	}
	s := c.gateway.follower.State()
	gauge(c.serial, float64(s.AppliedSerial))
	gauge(c.refused, float64(s.RefusedSerial))
	gauge(c.connected, oneIf(s.Connected))
	gauge(c.kept, oneIf(s.Unkept == ""))
	gauge(c.draining, oneIf(c.gateway.isDraining()))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// countChanges has every transition of a target counted and logged: it is what
// an operator who is paged looks for first. A new gate or an open breaker is
// also told to the stamp at once.
func (g *gateway) countChanges() {
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_target_transitions_total",
		Help: "Transitions of targets, by backend, deployment, machine (gate, breaker, identity, deployment, retirement, operation, model) and new state.",
	}, []string{"backend", "deployment", "machine", "to"})
	spent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_retry_budget_spent_total", Help: "Retries that were refused because the route's budget was spent.",
	}, []string{"route"})
	g.metrics.MustRegister(changes, spent, newCollector(g))
	g.registry.OnChange(func(c targets.Change) {
		changes.WithLabelValues(c.Backend, c.Key.Deployment, c.Machine, c.To).Inc()
		g.log.Warn().Str("backend", c.Backend).Str("deployment", c.Key.Deployment).Str("machine", c.Machine).
			Str("from", c.From).Str("to", c.To).Msg("target changed")
		if g.gossip != nil {
			g.gossip.Wake()
		}
	})
	g.registry.OnBudgetSpent(func(route string) { spent.WithLabelValues(route).Inc() })
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
		Region: g.cfg.Region, Registry: g.registry, Snapshot: g.follower.Snapshot, Ask: g.proxy.Probe,
		Draining: g.isDraining, Count: func(o probe.Outcome) { probes.WithLabelValues(string(o)).Inc() },
		IdleAfter: targets.IdleAfter,
	})
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
