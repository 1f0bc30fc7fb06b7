package membership

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are counted here or read when scraped. Labels come from closed sets.
type metrics struct {
	published prometheus.Counter
	accepted  prometheus.Counter
	joined    *prometheus.CounterVec
}

func newMetrics(m *Membership) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "stampgate_gossip_" + name, Help: help})
	}
	out := &metrics{
		published: counter("reports_published_total", "Own messages broadcast, without repetitions."),
		accepted:  counter("reports_accepted_total", "Messages of other gateways taken in."),
		joined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stampgate_gossip_joins_total", Help: "Attempts to join through a seed or a remembered peer.",
		}, []string{"result"}),
	}
	if m.cfg.Registerer == nil {
		return out, nil
	}
	list := append(m.gauges(), out.published, out.accepted, out.joined)
	for r := range reasons {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "stampgate_gossip_dropped_total",
			Help:        "What gossip brought, or should have carried, and did not pass.",
			ConstLabels: prometheus.Labels{"reason": r.String()},
		}, func() float64 { return float64(m.drops[r].Load()) }))
	}
	var errs []error
	for _, c := range list {
		errs = append(errs, m.cfg.Registerer.Register(c))
	}
	return out, errors.Join(errs...)
}

func (m *Membership) gauges() []prometheus.Collector {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "stampgate_gossip_" + name, Help: help}, read)
	}
	return []prometheus.Collector{
		gauge("members", "Live gateways of the stamp, this one included.", func() float64 { return float64(m.table.count.Load()) }),
		gauge("state_bytes", "Size of all messages held.", func() float64 { return float64(m.table.size()) }),
		gauge("health_score", "memberlist's judgement of this gateway: 0 is well, 7 is bad.", func() float64 { return float64(m.HealthScore()) }),
		gauge("udp_blocked", "1 if peers answer by TCP alone.", func() float64 { return number(m.udpBlocked(time.Now())) }),
		gauge("key_file_broken", "1 if the key file cannot be used and the keys before it stay in force.", func() float64 {
			if m.keys == nil {
				return 0
			}
			_, err := m.keys.status()
			return number(err != nil)
		}),
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
