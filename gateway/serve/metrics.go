package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stampgate/stampgate/gateway/bytebudget"
)

// Metrics are what the edge counts. Every label value is from a closed set.
type Metrics struct {
	Requests  *prometheus.CounterVec   // operation, code, outcome
	Duration  *prometheus.HistogramVec // operation
	FirstByte *prometheus.HistogramVec // operation
	Attempts  *prometheus.CounterVec   // operation
	Refused   *prometheus.CounterVec   // bound
}

// refusedSessions is the label of a session that was one too many for its client.
// The bounds that are refused by beside those of bytes.
const (
	refusedSessions = "sessions"
	refusedFiles    = "files" // and the body stayed in memory
)

// NewMetrics makes the metrics and registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stampgate_requests_total", Help: "Requests that were answered, by operation, HTTP status and outcome.",
		}, []string{"operation", "code", "outcome"}),
		Duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stampgate_request_duration_seconds", Help: "Time from a request's first byte to its answer's last, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 18), // 5 ms … 655 s
		}, []string{"operation"}),
		FirstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stampgate_first_byte_seconds", Help: "Time to the first byte of a backend's answer, attempts before it included, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14), // 5 ms … 41 s
		}, []string{"operation"}),
		Attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stampgate_attempts_total", Help: "Attempts on backends, by operation.",
		}, []string{"operation"}),
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stampgate_bound_refusals_total", Help: "Requests that were refused by a bound: bytes held in the process or for a client, a client's sessions, or files for large bodies (which then stay in memory).",
		}, []string{"bound"}),
	}
	for _, bound := range [...]string{string(bytebudget.OfProcess), string(bytebudget.OfClient), refusedSessions, refusedFiles} {
		m.Refused.WithLabelValues(bound) // so that each shows before it happens
	}
	reg.MustRegister(m.Requests, m.Duration, m.FirstByte, m.Attempts, m.Refused)
	return m
}

func (m *Metrics) refused(bound string) { m.Refused.WithLabelValues(bound).Inc() }

// record counts the request and writes its log line. Neither holds any text of
