package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// An exchange is the state of one call. It is used by one goroutine.
type exchange struct {
	proxy  *Proxy
	call   *Call
	w      http.ResponseWriter
	rc     *http.ResponseController
	start  time.Time
	result Result
	early  *earlyHead // nil: the call has none
	// committed: the head of an answer has gone to the client. No other attempt
	// may follow.
	committed bool
	// costly is the first failure of an attempt that a backend may have worked
	// for; it is the answer when nothing else is left to try.
	costly *targets.Outcome
}

func newExchange(p *Proxy, c *Call, w http.ResponseWriter) *exchange {
	return &exchange{proxy: p, call: c, w: w, rc: http.NewResponseController(w), start: time.Now()}
}

// attempt makes one try on the ticket's target and says how it ended.
func (x *exchange) attempt(parent context.Context, t *targets.Ticket) targets.Outcome {
	if !x.begin(t) {
		return targets.Outcome{Kind: targets.Canceled}
	}
	a := &attempt{exchange: x, ticket: t}
	cancel := a.arm(parent, x.call.Stream)
	defer cancel(nil)
	defer a.watchdog.Stop()

	o := a.run()
	x.note(o)
	return o
}

// begin notes the ticket's target as the one that is asked, and reports whether
// the policy in force lets it be.
func (x *exchange) begin(t *targets.Ticket) bool {
	if !x.call.Running.At(t.Target) {
		return false
	}
	x.early.begun()
	x.result.Attempts++
	x.result.Target, x.result.Tier, x.result.Passive = t.Target, t.Tier, t.Passive
	if x.call.ListTargets {
		x.result.Targets = append(x.result.Targets, t.Target)
	}
	return true
}

// note keeps the first failure with which the call may end.
func (x *exchange) note(o targets.Outcome) {
	switch o.Kind {
	case targets.ServerError, targets.FirstByteTimeout, targets.Broken, targets.GaveUp:
		if x.costly == nil && o.Sent {
			first := o // of its own, so that only a failure allocates
			x.costly = &first
		}
	default:
	}
}

// An attempt is one try. Its watchdog ends it; see arm.
type attempt struct {
	*exchange

	ticket     *targets.Ticket
	ctx        context.Context //nolint:containedctx // lives as long as the attempt
	sent       time.Time
	ends       time.Time // when a plain answer must be complete; zero for a stream
	watchdog   *time.Timer
	firstByte  time.Duration // 0: none yet
	signals    targets.Signals
	model      string // that the answer names
	credential uint64 // the generation of our own that was sent
}

func (a *attempt) run() targets.Outcome {
	req, err := a.request()
	if err != nil {
		a.result.Err = err
		return targets.Outcome{Kind: targets.IdentityRefused}
	}
	resp, err := a.proxy.pools.Send(req, a.ticket.Target, upstream.Limits{
		Connect: a.ticket.Connect, Repeatable: a.call.Stateless && a.call.Route.RepeatAmbiguous,
	})
	if err != nil {
		return a.broken(err)
	}
	defer func() { _ = resp.Body.Close() }()
	a.signals = throttle.ParseSignals(resp.Header, time.Now())
	return a.judge(resp)
}

// request builds the backend's request from parsed parts and allowed headers.
func (a *attempt) request() (*http.Request, error) {
	t, c := a.ticket.Target, a.call
	body := c.Body
	if c.Match.Operation.ModelIn == operation.ModelInBody {
		body = operation.ReplaceModel(make([]byte, 0, len(body)+len(t.Deployment)), body, &c.Scan, t.Deployment)
	}
	// With a *bytes.Reader the transport sends head and body in one write, and
	// can repeat a request of which nothing was written.
	req, err := http.NewRequestWithContext(a.ctx, c.Match.Operation.Method, t.Key.Origin, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = upstreamURL(c.Match, t)
	passOn(req.Header, c.Header, forwardedToBackend)
	req.Header["User-Agent"] = []string{a.proxy.cfg.UserAgent}
	req.Header["X-Request-Id"] = []string{c.RequestID}
	if a.credential, err = a.proxy.cfg.Credentials.Apply(t, req.Header); err != nil {
		return nil, err
	}
	return req, nil
}

func upstreamURL(m operation.Match, t *policy.Target) (path, rawPath, query string) {
	escaped, query := operation.UpstreamPath(m, t.Deployment)
	path, err := url.PathUnescape(escaped)
	if err != nil {
		panic("proxy: operation.UpstreamPath built a path that cannot be unescaped: " + err.Error())
	}
	return path, escaped, query
}

// judge has an answer that may be the client's read whole or passed on, and says
// what any other means. The package answer knows.
func (a *attempt) judge(resp *http.Response) targets.Outcome {
	code := resp.StatusCode
	switch {
	case succeeded(code) && isEventStream(resp.Header):
		return a.stream(resp)
	case answer.PassedOn(code):
		return a.plain(resp)
	}
	f := a.peek(resp)
	kind, signals := answer.ByStatus(code, f, a.signals)
	return a.refused(kind, signals, statusError(code))
}

func succeeded(status int) bool { return status >= 200 && status < 300 }

// outcome is how the attempt ends as far as is known by now.
func (a *attempt) outcome(k targets.Kind) targets.Outcome {
	return targets.Outcome{
		Kind: k, FirstByte: a.firstByte, Signals: a.signals, Model: a.model, Credential: a.credential, Sent: !k.Free(),
	}
}

// refused is the outcome of an answer that is not passed on.
func (a *attempt) refused(k targets.Kind, s targets.Signals, err error) targets.Outcome {
	a.signals = s
	if a.call.Context.Err() != nil {
		k = targets.Canceled
	}
	a.result.Err = err
	return a.outcome(k)
}

// drainLimit is how much of an unwanted answer is read so that its connection
// can be used again, in bytes, and drainTime for how long: the next attempt waits
// for it.
const (
	drainLimit = 64 << 10
	drainTime  = 100 * time.Millisecond
)

// peek reads what an unwanted answer says.
func (a *attempt) peek(resp *http.Response) answer.Fault {
	a.gotFirstByte()
	a.watchdog.Reset(drainTime)
	buf := a.proxy.buffers.Get().(*[]byte)
	defer a.proxy.buffers.Put(buf)
	n, err := io.ReadFull(resp.Body, *buf)
	if err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
	}
	return answer.ParseFault((*buf)[:n])
}

// commit sends the head of an answer, unless the client has one.
func (a *attempt) commit(resp *http.Response, length int64) {
	a.committed = true
	a.result.Status = resp.StatusCode
	a.result.FirstByte = time.Since(a.start)
	if a.early.take() {
		return
	}
	h := a.w.Header()
	passOn(h, resp.Header, forwardedToClient)
	if length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	if a.call.BeforeHeader != nil {
		a.call.BeforeHeader(h, &a.result)
	}
	a.w.WriteHeader(resp.StatusCode)
}

// credit tells that a good answer has begun. Only a success is to the target's
// credit: a refusal is quick, and a head or a comment says nothing.
func (a *attempt) credit(good bool) {
	if good {
		a.ticket.Answered(time.Now(), a.firstByte)
	}
}

// write passes bytes on and counts them.
func (x *exchange) write(p []byte, flush bool) error {
	n, err := x.send(p, flush)
	x.result.BytesOut += int64(n)
	return err
}

// send writes to the client. One that does not take the bytes in time is gone.
func (x *exchange) send(p []byte, flush bool) (int, error) {
	limit := x.proxy.cfg.WriteTimeout
	if x.revoked() != nil {
		limit = running.LastWords
	}
	_ = x.rc.SetWriteDeadline(time.Now().Add(limit)) // in-memory writers of tests have none
	n, err := x.w.Write(p)
	if err == nil && flush {
		err = x.rc.Flush()
	}
	return n, err
}

// Why an answer did not reach its client, for the log.
var (
	errClientSlow = errors.New("the client did not take a piece of its answer in time")
	errClientLeft = errors.New("the client's connection ended before it had its answer")
)

// clientGone is the outcome when the client no longer takes the answer.
func (a *attempt) clientGone(err error) targets.Outcome {
	a.result.Err = errClientLeft
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.result.Err = errClientSlow
	}
	if a.call.Context.Err() == nil {
		a.result.Aborted = true
	}
	return a.outcome(targets.Canceled)
}

func isEventStream(h http.Header) bool { return isMediaType(h, "text/event-stream") }

// isMediaType reports whether the body is said to be of a type, whatever its
// parameters.
func isMediaType(h http.Header, want string) bool {
	said, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(said), want)
}

// draining reports whether the call is being cut because the gateway ends.
func (x *exchange) draining() bool {
	return errors.Is(context.Cause(x.call.Context), lifecycle.ErrDraining)
}
