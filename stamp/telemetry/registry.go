package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry with the metrics that every process has: the
// Go runtime, the process, and stampgate_build_info. Each package adds its own
// struct of metrics to it; the global registry stays empty.
func NewRegistry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "stampgate_build_info",
		Help:        "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	reg.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return reg
}

// RegisterDropped exports how many log lines w dropped.
func RegisterDropped(reg prometheus.Registerer, w *AsyncWriter) error {
	return reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "stampgate_log_dropped_lines_total",
		Help: "Log lines dropped because the writer was too slow.",
	}, func() float64 { return float64(w.Dropped()) }))
}
