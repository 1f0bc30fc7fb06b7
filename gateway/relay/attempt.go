package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// An attempt is one try. Its watchdog ends it; see arm.
type attempt struct {
	*Exchange

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
		a.Err = err
		return targets.Outcome{Kind: targets.IdentityRefused}
	}
	if err := a.attach(req); err != nil {
		a.Err = errBody
		return a.outcome(targets.LocalFault)
	}
	resp, err := a.relay.cfg.Pools.Send(req, a.ticket.Target, upstream.Limits{
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
	req, err := http.NewRequestWithContext(a.ctx, c.Match.Operation.Method, t.Key.Origin, nil)
	if err != nil {
		return nil, err
	}
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = upstreamURL(c.Match, t)
	toBackend(req.Header, c.Request.Header)
	req.Header["User-Agent"] = []string{a.relay.cfg.UserAgent}
	req.Header["X-Request-Id"] = []string{c.RequestID}
	if a.credential, err = a.relay.cfg.Credentials.Apply(t, req.Header); err != nil {
		return nil, err
	}
	return req, nil
}

// attach gives the request its body, with the deployment's name where the model's
// stood: the one edit that is made.
func (a *attempt) attach(req *http.Request) error {
	c := a.call
	var edits []body.Edit
	if c.Match.Operation.ModelIn == operation.ModelInBody {
		edits = []body.Edit{operation.EditModel(&c.Scan, a.ticket.Target.Deployment)}
	}
	r, length, err := c.Body.Open(edits...)
	if err != nil || length == 0 {
		return err
	}
	req.Body, req.ContentLength = r, length
	if c.Body.Repeatable() {
		req.GetBody = func() (io.ReadCloser, error) {
			r, _, err := c.Body.Open(edits...)
			return r, err
		}
	}
	return nil
}

func upstreamURL(m operation.Match, t *policy.Target) (path, rawPath, query string) {
	escaped, query := operation.UpstreamPath(m, t.Deployment)
	path, err := url.PathUnescape(escaped)
	if err != nil {
		panic("relay: operation.UpstreamPath built a path that cannot be unescaped: " + err.Error())
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

var errBody = errors.New("the request's body could not be read to its end")

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
	a.Err = err
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
	buf := a.relay.buffers.Get().(*[]byte)
	defer a.relay.buffers.Put(buf)
	n, err := io.ReadFull(resp.Body, *buf)
	if err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
	}
	return answer.ParseFault((*buf)[:n])
}

// commit sends the head of an answer, unless the client has one.
func (a *attempt) commit(resp *http.Response, length int64) {
	a.committed = true
	a.Status = resp.StatusCode
	a.FirstByte = time.Since(a.start)
	if a.early.take() {
		return
	}
	head := a.relay.heads.Get().(*message.Header)
	h := toClient((*head)[:0], resp.Header)
	if length >= 0 {
		h = h.Add("Content-Length", strconv.FormatInt(length, 10))
	}
	*head = a.beginAnswer(resp.StatusCode, h)
	clear(*head)
	a.relay.heads.Put(head)
}

// headFields is how many fields the head of an answer has as a rule.
const headFields = 24

// beginAnswer begins the client's answer, with the gateway's own fields, and returns
// all of them: nobody keeps the list.
func (x *Exchange) beginAnswer(status int, h message.Header) message.Header {
	if x.call.Head != nil {
		h = x.call.Head(h, &x.Result)
	}
	x.client.Begin(status, h)
	return h
}

// credit tells that a good answer has begun. Only a success is to the target's
// credit: a refusal is quick, and a head or a comment says nothing.
func (a *attempt) credit(good bool) {
	if good {
		a.ticket.Answered(time.Now(), a.firstByte)
	}
}

func isEventStream(h http.Header) bool { return isMediaType(h, "text/event-stream") }

// isMediaType reports whether the body is said to be of a type, whatever its
// parameters.
func isMediaType(h http.Header, want string) bool {
	said, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(said), want)
}
