// Package telemetry is how a process tells what it does: the zerolog logger,
// the adapters that bring other libraries' logs into it, the Prometheus
// registry, the version, and the goroutine dump.
//
// It changes no global of any library, with one exception that says so
// (TakeStandardLog). It never writes text that came from a client or a backend
// without cutting it short and masking what looks like a credential. It is the
// only package that may import log, log/slog and zap; every process may use it.
package telemetry

import (
	"io"
	"time"

	"github.com/rs/zerolog"
)

// NewLogger returns a logger that writes one JSON object a line to w, with the
// time in UTC to the nanosecond and the name of the service. It is passed by
// value; callers add their own fields with With.
func NewLogger(w io.Writer, level zerolog.Level, service string) zerolog.Logger {
	log := zerolog.New(w).Level(level)
	if service != "" {
		log = log.With().Str("service", service).Logger()
	}
	return log.Hook(clock{})
}

// clock adds the time to each line. zerolog's own Timestamp takes its format
// from a global, which we leave to others.
type clock struct{}

// Run implements zerolog.Hook.
func (clock) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	var buf [len(time.RFC3339Nano)]byte
	e.Bytes("time", time.Now().UTC().AppendFormat(buf[:0], time.RFC3339Nano))
}
