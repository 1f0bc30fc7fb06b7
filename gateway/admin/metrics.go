package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
)

// A collector reads the gateway's state when it is asked for metrics, so that
// keeping them costs a request nothing. Its labels name backends, deployments
// and routes of the policy in force, a closed set.
type collector struct {
	cfg Config

	gate, breaker, identity, missing, retired, forbidden, model, inFlight, serial, refused, draining, connected, kept *prometheus.Desc
}

func newCollector(cfg Config) *collector {
	target := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("stampgate_target_"+name, help, []string{"backend", "deployment"}, nil)
	}
	own := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("stampgate_"+name, help, nil, nil)
	}
	return &collector{
		cfg:       cfg,
		gate:      target("gate_remaining_seconds", "Time for which the target remains throttled, in seconds; 0 = it is not."),
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
	for _, t := range c.cfg.Registry.Status(time.Now()) {
		b, d := t.Backend, t.Deployment
		gauge(c.gate, time.Duration(t.Gate).Seconds(), b, d)
		gauge(c.breaker, oneIf(t.Breaker != breaker.Closed), b, d)
		gauge(c.identity, oneIf(t.Identity), b, d)
		gauge(c.missing, oneIf(t.Missing), b, d)
		gauge(c.retired, oneIf(t.Retired), b, d)
		gauge(c.forbidden, oneIf(t.Forbidden), b, d)
		gauge(c.model, oneIf(t.OtherModel != ""), b, d)
		gauge(c.inFlight, float64(t.InFlight), b, d)
	}
	s := c.cfg.Follower.State()
	gauge(c.serial, float64(s.AppliedSerial))
	gauge(c.refused, float64(s.RefusedSerial))
	gauge(c.connected, oneIf(s.Connected))
	gauge(c.kept, oneIf(s.Unkept == ""))
	gauge(c.draining, oneIf(c.cfg.Draining()))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// CountChanges has every transition of a target counted and logged: it is what an
// operator who is paged looks for first. also is told of each as well.
func CountChanges(registry *targets.Registry, metrics prometheus.Registerer, log zerolog.Logger, also func()) {
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_target_transitions_total",
		Help: "Transitions of targets, by backend, deployment, machine (gate, breaker, identity, deployment, retirement, operation, model) and new state.",
	}, []string{"backend", "deployment", "machine", "to"})
	spent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stampgate_retry_budget_spent_total", Help: "Retries that were refused because the route's budget was spent.",
	}, []string{"route"})
	metrics.MustRegister(changes, spent)
	registry.OnChange(func(c targets.Change) {
		changes.WithLabelValues(c.Backend, c.Key.Deployment, c.Machine, c.To).Inc()
		log.Warn().Str("backend", c.Backend).Str("deployment", c.Key.Deployment).Str("machine", c.Machine).
			Str("from", c.From).Str("to", c.To).Msg("target changed")
		also()
	})
	registry.OnBudgetSpent(func(route string) { spent.WithLabelValues(route).Inc() })
}
