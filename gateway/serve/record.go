package serve

import (
	"strconv"
	"time"
)

// record counts the request, and writes its line in the log.
func (v *visit) record() {
	took := time.Since(v.start)
	r := &v.result
	operation := "none"
	if v.match.Operation != nil {
		operation = v.match.Operation.Name
	}
	v.Metrics.Requests.WithLabelValues(operation, strconv.Itoa(r.Status), r.Outcome).Inc()
	v.Metrics.Duration.WithLabelValues(operation).Observe(took.Seconds())
	if r.FirstByte > 0 {
		v.Metrics.FirstByte.WithLabelValues(operation).Observe(r.FirstByte.Seconds())
	}
	if r.Attempts > 0 {
		v.Metrics.Attempts.WithLabelValues(operation).Add(float64(r.Attempts))
	}
	line := v.Log.Info().Str("request_id", v.requestID).Str("operation", operation).
		Int("status", r.Status).Str("outcome", r.Outcome).Dur("duration_ms", took).
		Int("attempts", r.Attempts).Int("bytes_in", v.bytesIn).Int64("bytes_out", r.BytesOut)
	if v.caller.Principal != nil {
		line.Str("client", v.caller.Name)
	}
	if v.call.Route != nil {
		line.Str("route", v.call.Route.Name).Bool("stream", v.call.Stream)
	}
	if v.snapshot != nil {
		line.Uint64("policy", v.snapshot.Serial())
	}
	if r.Target != nil {
		line.Str("backend", r.Target.Backend).Str("deployment", r.Target.Deployment).
			Str("backend_region", string(r.Target.Region())).Int("tier", r.Tier).Bool("passive", r.Passive)
	}
	if r.FirstByte > 0 {
		line.Dur("first_byte_ms", r.FirstByte)
	}
	line.Err(r.Err).Msg("request")
}
