package azuresim

import (
	"cmp"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// instead carries out a fault that takes the answer's place.
func (x *exchange) instead(f Fault) {
	switch f.Kind {
	case FaultHang:
		<-x.r.Context().Done()
	case FaultResetBeforeHeader:
		x.reset()
	case FaultThrottle:
		x.plain(x.throttleAnswer(f))
	case FaultDeploymentGone:
		x.plain(deploymentNotFound(x.v1))
	case FaultIdentityRevoked:
		a := noRole()
		if f.Status != 0 {
			a.status = f.Status
		}
		x.plain(a)
	default: // FaultStatus
		x.plain(x.statusFault(f))
	}
}

// statusFault is the body of the error that the fault names, or Azure's for its
// status, with the headers it names.
func (x *exchange) statusFault(f Fault) *answer {
	a := statusAnswer(f.Status, x.requestID)
	if f.Error != "" {
		a = namedError(f.Error, x.match.deployment, x.requestID)
		a.status = cmp.Or(f.Status, a.status)
	}
	a.header = f.headers(time.Now())
	if a.status/100 == 3 {
		// The service never redirects; who follows this shows up in the records.
		a.header["Location"] = "/moved"
	}
	return a
}

// throttleAnswer is the 429 of a fault: the headers it names and no others, the
// text of the limit it names.
func (x *exchange) throttleAnswer(f Fault) *answer {
	name := "ChatCompletions_Create"
	if x.op != nil {
		name = x.op.name
	}
	wait := f.namedWait()
	var a *answer
	switch f.Limit {
	case LimitCapacity:
		a = atCapacity(wait)
	case LimitRequests:
		a = throttled(name, x.version, "call", wait)
	default:
		a = throttled(name, x.version, "token", wait)
	}
	a.header = f.headers(time.Now())
	return a
}

// namedWait is the wait that the message tells in words: its own, or that of a
// header; a minute if none gives a number.
func (f Fault) namedWait() time.Duration {
	if f.Wait > 0 {
		return f.Wait
	}
	if ms, err := strconv.Atoi(f.RetryAfterMS); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	for _, v := range []string{f.RetryAfter, f.ResetTokens, f.ResetRequests} {
		v = strings.TrimPrefix(v, "date:")
		if secs, err := strconv.Atoi(v); err == nil {
			return time.Duration(secs) * time.Second
		}
		if d, err := time.ParseDuration(v); err == nil {
			return d
		}
	}
	return time.Minute
}

// headers are the ones that the fault names.
func (f Fault) headers(now time.Time) map[string]string {
	h := map[string]string{}
	for name, v := range maps.All(map[string]string{
		"retry-after":                f.retryAfter(now),
		"retry-after-ms":             f.RetryAfterMS,
		"x-ratelimit-reset-requests": f.ResetRequests,
		"x-ratelimit-reset-tokens":   f.ResetTokens,
	}) {
		if v != "" {
			h[name] = v
		}
	}
	return h
}

// reset ends the connection with a TCP reset; what was written stays readable
// at the other side. Over HTTP/2 it takes every request of the connection.
func (x *exchange) reset() {
	x.cut()
	x.raw.reset()
	panic(http.ErrAbortHandler)
}

// breakOff ends the connection in order (FIN), without an end of the answer.
func (x *exchange) breakOff() {
	x.cut()
	panic(http.ErrAbortHandler)
}

// garble writes bytes past the server's own coding: no chunk, no frame, no
// HTTP. Then the connection ends.
func (x *exchange) garble() {
	x.cut()
	x.flush()
	x.raw.cut.Store(true)
	_, _ = x.conn.Write([]byte("XYZ\r\n{\"choices\":[\r\n"))
	_ = x.conn.Close()
	panic(http.ErrAbortHandler)
}

// stall is silent for the fault's delay, for ever without one, and returns
// false when the client has gone.
func (x *exchange) stall() bool {
	x.flush()
	if x.fault.Delay == 0 {
		<-x.r.Context().Done()
		return false
	}
	return x.wait(x.fault.Delay)
}

// plainFaulty sends an answer that is not a stream as its fault wants.
func (x *exchange) plainFaulty(a *answer) {
	body := []byte(a.body)
	half := len(body) / 2
	length := len(body)
	switch x.fault.Kind {
	case FaultMalformedJSON:
		body[0] = ']'
	case FaultTruncated:
		if x.fault.Length != LengthWrong {
			length = half
		}
	default:
	}
	if x.fault.Kind != FaultMalformedChunk { // which needs the chunked coding
		x.w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	x.header(a.status, "application/json", a.header)
	switch x.fault.Kind {
	case FaultResetAfterHead:
		x.flush()
		x.reset()
	case FaultResetAfterBytes:
		x.write(body[:min(x.fault.Bytes, len(body))])
		x.flush()
		x.reset()
	case FaultStallFirstByte:
		if !x.stall() {
			return
		}
	case FaultStallMidStream:
		x.write(body[:half])
		if !x.stall() {
			return
		}
		body = body[half:]
	case FaultMalformedChunk:
		x.write(body[:half])
		x.garble()
	case FaultTruncated:
		if x.fault.Length == LengthWrong {
			x.write(body[:half])
			x.flush()
			x.breakOff()
		}
		body = body[:half]
	case FaultSlowDrip:
		last := len(body) - 1
		x.drip(body[:last])
		body = body[last:]
	default:
	}
	x.finish(len(body))
	x.write(body)
}

// drip sends a byte at a time.
func (x *exchange) drip(b []byte) {
	for n := range b {
		x.write(b[n : n+1])
		x.flush()
		if !x.wait(x.fault.Interval) {
			x.abandon()
		}
	}
}
