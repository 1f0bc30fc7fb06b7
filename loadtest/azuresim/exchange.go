package azuresim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// An exchange is one request and its answer.
type exchange struct {
	inst *Instance
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	rec  *Record   // changed through note only
	conn net.Conn  // as the server writes to it
	raw  *gateConn // below any encryption

	match
	version    string // api-version, "v1" where none is needed
	body       []byte
	params     params
	deployment *deployment
	verdict    verdict
	reserved   int // tokens that the limiter has set aside
	cached     int // tokens of the prompt that were seen before

	fault     *Fault // shapes the answer; nil: none
	requestID string
	sent      int64 // bytes of the answer's body
	status    int
	done      bool // the record says how it ended
}

// serve answers one request and records it.
func (i *Instance) serve(w http.ResponseWriter, r *http.Request) {
	i.requests.Add(1)
	i.inFlight.Add(1)
	defer i.inFlight.Add(-1)
	x := &exchange{
		inst: i, w: w, rc: http.NewResponseController(w), r: r, requestID: guid(),
		rec: i.records.add(newRecord(i.cfg.Name, i.sim.sequence.Add(1), r, time.Now())),
	}
	x.conn, x.raw = connOf(r.Context())
	x.raw.inUse.Add(1)
	defer x.raw.inUse.Add(-1)
	defer x.end()
	if x.read() && x.outset() { //nolint:contextcheck // the exchange holds the request, whose context it uses
		x.answer() //nolint:contextcheck // as above
	}
}

// read takes in the whole request and says what it is.
func (x *exchange) read() bool {
	text, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBodyBytes))
	x.body = text
	x.match = find(x.inst.operations, x.r.Method, x.r.URL.EscapedPath())
	x.version = x.r.URL.Query().Get("api-version")
	if x.v1 && x.version == "" {
		x.version = "v1"
	}
	var refusal *answer
	if x.op != nil && x.op.upgrade {
		x.match.deployment = realtimeDeployment(x.r, x.v1)
	} else if x.op != nil && x.op.capability != "" && err == nil {
		x.params, refusal = parseBody(text)
		if x.v1 {
			x.match.deployment = x.params.Model
		}
	}
	x.note(func(r *Record) {
		r.BodyBytes, r.BodySHA256 = int64(len(text)), bodyDigest(text)
		r.Deployment, r.Stream = clip(x.match.deployment), x.params.Stream
		if x.op != nil {
			r.Operation = x.op.name
		}
	})
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		x.plain(tooLarge(int64(len(text)) + 1))
		return false
	}
	if err != nil {
		return false // the client broke off its own request
	}
	if refusal != nil {
		// A real front reads the body last.
		if a := x.admission(); a != nil {
			refusal = a
		}
		x.plain(refusal)
		return false
	}
	return true
}

// outset lets faults strike that take the place of an answer.
func (x *exchange) outset() bool {
	f, ok, err := x.strike(phaseInstead)
	switch {
	case err != nil:
		x.plain(plainError(http.StatusBadRequest, "BadFault", err.Error()))
		return false
	case !ok:
		return true
	}
	x.instead(f)
	return false
}

// strike finds the fault for a phase, asked for by the request or set.
func (x *exchange) strike(p phase) (Fault, bool, error) {
	at := situation{phase: p, deployment: x.match.deployment, form: OnlyPlain}
	if x.op != nil {
		at.operation = x.op.name
	}
	switch {
	case x.op != nil && x.op.upgrade:
		at.form = OnlySession
	case x.params.Stream:
		at.form = OnlyStream
	}
	var f Fault
	found := false
	if asked := x.r.Header.Get("X-Sim-Fault"); asked != "" && x.inst.sim.cfg.HeaderFaults {
		var err error
		if f, err = ParseFault(asked); err != nil {
			return Fault{}, false, err
		}
		if f.Kind.phase() < phaseInstead {
			return Fault{}, false, fmt.Errorf("fault %s cannot be asked for by a request", f.Kind)
		}
		found = f.matches(at)
	}
	if !found {
		if f, found = x.inst.faults.take(at); !found {
			return Fault{}, false, nil
		}
	}
	x.note(func(r *Record) { r.Faults = append(r.Faults, string(f.Kind)) })
	return f, true, nil
}

// answer is the way of a request that nothing happens to.
func (x *exchange) answer() {
	if a := x.admission(); a != nil {
		x.plain(a)
		return
	}
	if a := x.throttle(); a != nil {
		x.plain(a)
		return
	}
	if a := x.filtered(); a != nil {
		x.plain(a)
		return
	}
	f, ok, err := x.strike(phaseWithin)
	if err != nil { // outset has read the same header already
		x.plain(plainError(http.StatusBadRequest, "BadFault", err.Error()))
		return
	}
	if ok {
		x.fault = new(f)
		if f.Kind == FaultSlow && !x.wait(f.Delay) {
			return
		}
	}
	x.op.serve(x)
}

// admission checks, in Azure's order, who asks, for what, and of which model.
func (x *exchange) admission() *answer {
	if a := x.inst.authenticate(x.r, x.v1, time.Now()); a != nil {
		return a
	}
	if x.op == nil || (!x.v1 && x.version == "") {
		return resourceNotFound()
	}
	if x.op.capability == "" {
		return nil
	}
	x.deployment = x.inst.deployments[x.match.deployment]
	if x.deployment == nil {
		if x.v1 && x.match.deployment == "" {
			return missingParameter("model")
		}
		return deploymentNotFound(x.v1)
	}
	if x.op.capability != capabilityOf(x.deployment.Model) {
		return operationNotSupported(string(x.op.capability), x.deployment.Model)
	}
	return nil
}

// throttle counts the request against the deployment's limits.
func (x *exchange) throttle() *answer {
	if x.deployment == nil {
		return nil
	}
	cost := x.params.limitCost()
	x.verdict = x.deployment.limit.admit(time.Now(), cost)
	v := x.verdict
	if v.admitted {
		x.reserved = cost
		return nil
	}
	var a *answer
	switch {
	case x.deployment.provisioned():
		a = provisionedFull(x.op.name, x.version, v.wait)
	case v.limit == LimitRequests:
		a = throttled(x.op.name, x.version, "call", v.wait)
	default:
		a = throttled(x.op.name, x.version, "token", v.wait)
	}
	a.header = v.refusal(x.deployment.provisioned())
	return a
}

// spend tells the limiter what the answer really cost.
func (x *exchange) spend(tokens int) {
	if x.deployment != nil {
		x.deployment.limit.settle(x.reserved, tokens)
	}
}

// header writes the head of an answer, with all that Azure puts into it.
func (x *exchange) header(status int, contentType string, more map[string]string) {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Apim-Request-Id", guid())
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Ms-Region", x.inst.cfg.Region)
	h.Set("X-Request-Id", x.requestID)
	if id := x.r.Header.Get("X-Ms-Client-Request-Id"); id != "" {
		h.Set("X-Ms-Client-Request-Id", id)
	}
	if x.deployment != nil && status == http.StatusOK {
		h.Set("Azureml-Model-Session", "d016-20250930181259")
		h.Set("X-Accel-Buffering", "no")
		h.Set("X-Ms-Deployment-Name", x.deployment.Name)
		if x.op.capability != canEmbed {
			h.Set("X-Ms-Rai-Invoked", "true")
		}
		for k, v := range x.verdict.headers(x.deployment.provisioned()) {
			h.Set(k, v)
		}
	}
	for k, v := range maps.All(more) {
		h.Set(k, v)
	}
	x.status = status
	x.note(func(r *Record) { r.Status, r.HeadersSent = status, true })
	x.w.WriteHeader(status)
}

// plain sends a complete answer, as the fault that shapes it wants.
func (x *exchange) plain(a *answer) {
	if x.fault != nil {
		x.plainFaulty(a)
		return
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	x.header(a.status, "application/json", a.header)
	x.finish(len(a.body)) // before the last byte, so that who has it finds the record so
	x.write([]byte(a.body))
}

// write sends bytes of the body; the client's going away shows in end.
func (x *exchange) write(b []byte) {
	_ = x.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := x.w.Write(b)
	x.sent += int64(n)
	if err != nil {
		x.abandon()
	}
}

func (x *exchange) flush() {
	if err := x.rc.Flush(); err != nil {
		x.abandon()
	}
}

// abandon ends a handler whose connection has gone.
func (x *exchange) abandon() {
	x.done = true
	x.note(func(r *Record) { r.Outcome = x.broken() })
	panic(http.ErrAbortHandler)
}

// wait passes time and returns false if the client or the instance went away.
func (x *exchange) wait(d time.Duration) bool { return sleep(x.r.Context(), d) }

// sleep waits for d and tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// note changes the record.
func (x *exchange) note(change func(*Record)) { x.inst.records.update(x.rec, change) }

// finish says that the whole answer is being sent, with so many bytes to come.
func (x *exchange) finish(rest int) {
	x.done = true
	x.note(func(r *Record) {
		r.Outcome, r.End, r.AnswerBytes = OutcomeFinished, time.Now(), x.sent+int64(rest)
	})
}

// broken says who ended the connection.
func (x *exchange) broken() Outcome {
	if x.inst.sim.stopping.Err() != nil || x.raw.cut.Load() {
		return OutcomeCut
	}
	return OutcomeClientGone
}

// end completes the record however the request ended.
func (x *exchange) end() {
	x.note(func(r *Record) {
		r.AnswerBytes = x.sent
		if r.End.IsZero() {
			r.End = time.Now()
		}
		if !x.done {
			r.Outcome = x.broken()
		}
	})
}

// cut records that the simulator itself breaks off the answer.
func (x *exchange) cut() {
	x.done = true
	x.note(func(r *Record) { r.Outcome = OutcomeCut })
}

// guid makes a request id in Azure's form.
func guid() string {
	a, b := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>50, b&0xffffffffffff)
}
