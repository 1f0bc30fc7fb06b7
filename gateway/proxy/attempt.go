package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
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
	x.result.Attempts++
	x.result.Target, x.result.Tier, x.result.Passive = t.Target, t.Tier, t.Passive
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	a := &attempt{exchange: x, ticket: t, ctx: ctx, sent: time.Now()}
	a.watchdog = time.AfterFunc(t.FirstByte, func() { cancel(errStalled) })
	defer a.watchdog.Stop()

	o := a.run()
	if x.costly == nil && o.Sent && failed(o.Kind) {
		x.costly = &o
	}
	return o
}

// failed reports whether the kind is a failure that the call may end with.
func failed(k targets.Kind) bool {
	switch k {
	case targets.ServerError, targets.FirstByteTimeout, targets.Broken:
		return true
	default:
		return false
	}
}

// An attempt is one try. Its watchdog ends it: first for want of a first byte,
// then for a stall between two reads.
type attempt struct {
	*exchange

	ticket    *targets.Ticket
	ctx       context.Context //nolint:containedctx // lives as long as the attempt
	sent      time.Time
	watchdog  *time.Timer
	firstByte time.Duration // 0: none yet
	signals   targets.Signals
	// credential is the generation of our own that was sent.
	credential uint64
}

func (a *attempt) run() targets.Outcome {
	req, err := a.request()
	if err != nil {
		a.result.Err = err
		return targets.Outcome{Kind: targets.IdentityRefused}
	}
	resp, err := a.proxy.upstreams.send(req, a.ticket.Target, sendLimits{
		connect: a.ticket.Connect, repeatable: a.call.Stateless && a.call.Route.RepeatAmbiguous,
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
	req, err := http.NewRequestWithContext(a.ctx, c.Match.Operation.Method, t.Origin(), bytes.NewReader(body))
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

// broken names a failure of sending or reading.
func (a *attempt) broken(err error) targets.Outcome {
	o := targets.Outcome{Kind: targets.Broken, Sent: true, FirstByte: a.firstByte, Signals: a.signals}
	if dial, ok := errors.AsType[*dialError](err); ok {
		o.Sent, o.Kind = false, targets.ConnectFailed
		if dial.tls {
			o.Kind = targets.TLSFailed
		}
	}
	cause := context.Cause(a.ctx)
	switch {
	case a.call.Context.Err() != nil:
		o.Kind = targets.Canceled // by the client, or because this gateway ends
	case cause != nil && a.firstByte == 0: // the watchdog's, or the total time's end
		o.Kind = targets.FirstByteTimeout
	}
	a.result.Err = err
	if cause != nil {
		a.result.Err = cause
	}
	return o
}

// judge decides by status what the answer is. 429, and 503 that names a time,
// gate; 5xx fail; 401, 403 and DeploymentNotFound are about us, not the client;
// any other answer is the client's.
func (a *attempt) judge(resp *http.Response) targets.Outcome {
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		if isEventStream(resp.Header) {
			return a.stream(resp)
		}
		return a.plain(resp, targets.Success)
	case code == http.StatusTooManyRequests,
		code == http.StatusServiceUnavailable && a.signals.HasRetryAfter:
		return a.discard(resp, targets.Throttled, false)
	case code >= 500:
		return a.discard(resp, targets.ServerError, true)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return a.discard(resp, targets.IdentityRefused, false)
	case code >= 400:
		return a.plain(resp, targets.Rejected)
	default: // 1xx never gets here; a redirect is never followed
		return a.discard(resp, targets.Broken, true)
	}
}

// drainLimit is how much of an unwanted answer is read so that its connection
// can be used again, in bytes, and drainTime for how long: the next attempt waits
// for it.
const (
	drainLimit = 64 << 10
	drainTime  = 100 * time.Millisecond
)

func (a *attempt) discard(resp *http.Response, k targets.Kind, sent bool) targets.Outcome {
	a.gotFirstByte()
	a.watchdog.Reset(drainTime)
	_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
	a.result.Err = statusError(resp.StatusCode)
	o := targets.Outcome{Kind: k, FirstByte: a.firstByte, Signals: a.signals, Sent: sent}
	if a.call.Context.Err() != nil {
		o.Kind = targets.Canceled
	}
	return o
}

// statusError is a backend's status, for the log.
type statusError int

func (e statusError) Error() string { return "backend answered " + strconv.Itoa(int(e)) }

// gotFirstByte notes when the answer began, and from now on gives each read the
// idle timeout.
func (a *attempt) gotFirstByte() {
	if a.firstByte != 0 {
		return
	}
	a.firstByte = max(time.Since(a.sent), 1)
	a.watchdog.Reset(a.call.Route.Idle)
}

// read reads once from the backend, under the watchdog.
func (a *attempt) read(body io.Reader, buf []byte) (int, error) {
	n, err := body.Read(buf)
	if n > 0 {
		if a.firstByte == 0 {
			a.gotFirstByte()
		} else {
			a.watchdog.Reset(a.call.Route.Idle)
		}
	}
	return n, err
}

// ended reports the end that a reader announces by io.EOF itself. An error that
// wraps it is a failure to read.
func ended(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}

// commit sends the head of the answer.
func (a *attempt) commit(resp *http.Response, length int64) {
	a.committed = true
	a.result.Status = resp.StatusCode
	a.result.FirstByte = time.Since(a.start)
	h := a.w.Header()
	passOn(h, resp.Header, forwardedToClient)
	if length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	if a.call.BeforeHeader != nil {
		a.call.BeforeHeader(h, &a.result)
	}
	a.ticket.Answered(time.Now(), a.firstByte)
	a.w.WriteHeader(resp.StatusCode)
}

// write passes bytes on. A client that does not take them in time is gone.
func (a *attempt) write(p []byte, flush bool) error {
	_ = a.rc.SetWriteDeadline(time.Now().Add(writeLimit)) // in-memory writers of tests have none
	n, err := a.w.Write(p)
	a.result.BytesOut += int64(n)
	if err == nil && flush {
		err = a.rc.Flush()
	}
	return err
}

// clientGone is the outcome when the client no longer takes the answer.
func (a *attempt) clientGone(err error) targets.Outcome {
	a.result.Err = err
	if a.call.Context.Err() == nil {
		a.result.Aborted = true
	}
	return targets.Outcome{Kind: targets.Canceled, FirstByte: a.firstByte, Signals: a.signals, Sent: true}
}

func isEventStream(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "text/event-stream"
}

// draining reports whether the call is being cut because the gateway ends.
func (x *exchange) draining() bool {
	return errors.Is(context.Cause(x.call.Context), lifecycle.ErrDraining)
}
