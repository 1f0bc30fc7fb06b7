// Package client speaks the control plane's operator API, and holds the types
// that go over its wire.
//
// It is plain net/http and imports neither gin nor etcd, so that a command line
// can use it. It never repeats a call by itself: what may be made again is said
// at each method.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

const (
	defaultTimeout = 30 * time.Second
	// 200 entries of history, or 5000 gateways, at a few kB each.
	maxReplyBytes = 64 << 20
)

// Config says where the control plane is and how to be let in.
type Config struct {
	URL     string // http://127.0.0.1:9400 or https://…
	Token   secret.Secret
	CAFile  string        // of the server; "" = the system's
	Timeout time.Duration // of one call; default 30s
}

// A Client makes calls. Any number of goroutines may use it.
type Client struct {
	base  *url.URL
	token secret.Secret
	http  *http.Client
}

// New makes a Client. It makes no call.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("control plane URL %q: want https://host[:port]", cfg.URL)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConns: 4,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.CAFile != "" {
		text, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", cfg.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Client{base: base, token: cfg.Token, http: &http.Client{
		Transport: transport, Timeout: cfg.Timeout,
		// The token goes to the control plane alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Validate asks what is wrong with a document, as the control plane would on
// publishing it. A refused document is a Verdict, not an error.
func (c *Client) Validate(ctx context.Context, b geo.Boundary, source []byte) (Verdict, error) {
	var v Verdict
	err := c.do(ctx, request{method: http.MethodPost, path: at(b, "policy", "validate"), yaml: source}, &v)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return Verdict{Faults: refused.Faults, Warnings: refused.Warnings}, nil
	}
	return v, err
}

// PublishOptions go with a publication. All may be left out.
type PublishOptions struct {
	Author  string
	Message string
	// ExpectSerial is what must be in force, 0 for none. Without it the last
	// one to publish wins.
	ExpectSerial *uint64
	// Again publishes also when the same document is in force already: to sign
	// it with a new key.
	Again bool
}

// Publish puts a document in force. It may be repeated: a document that is in
// force already is not published twice.
func (c *Client) Publish(ctx context.Context, b geo.Boundary, source []byte, opt PublishOptions) (Publication, error) {
	q := url.Values{}
	if opt.Author != "" {
		q.Set("author", opt.Author)
	}
	if opt.Message != "" {
		q.Set("message", opt.Message)
	}
	if opt.ExpectSerial != nil {
		q.Set("expectSerial", strconv.FormatUint(*opt.ExpectSerial, 10))
	}
	if opt.Again {
		q.Set("again", "true")
	}
	var p Publication
	err := c.do(ctx, request{method: http.MethodPost, path: at(b, "policy"), query: q, yaml: source}, &p)
	return p, err
}

// Policy returns the policy in force, or that of a serial of the history if it
// is not 0.
func (c *Client) Policy(ctx context.Context, b geo.Boundary, serial uint64) (Policy, error) {
	q := url.Values{}
	if serial != 0 {
		q.Set("serial", strconv.FormatUint(serial, 10))
	}
	var p Policy
	err := c.do(ctx, request{method: http.MethodGet, path: at(b, "policy"), query: q}, &p)
	return p, err
}

// History returns up to limit publications, the latest first; 0 is the server's
// own limit.
func (c *Client) History(ctx context.Context, b geo.Boundary, limit int) ([]Publication, error) {
	var r HistoryReply
	err := c.do(ctx, request{method: http.MethodGet, path: at(b, "policy", "history"), query: limitOf(limit)}, &r)
	return r.History, err
}

// Rollback puts the document of an old serial back in force, under a new one.
// It may be repeated.
func (c *Client) Rollback(ctx context.Context, b geo.Boundary, req RollbackRequest) (Publication, error) {
	var p Publication
	err := c.do(ctx, request{method: http.MethodPost, path: at(b, "policy", "rollback"), json: req}, &p)
	return p, err
}

// Status returns the state of every boundary. One whose etcd is away is said to
// be so; that is no error.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/status"}, &s)
	return s, err
}

// BoundaryStatus returns the state of one boundary.
func (c *Client) BoundaryStatus(ctx context.Context, b geo.Boundary) (BoundaryStatus, error) {
	var s BoundaryStatus
	err := c.do(ctx, request{method: http.MethodGet, path: at(b, "status")}, &s)
	return s, err
}

// PutOrder gives an order. It may be repeated: that extends it.
func (c *Client) PutOrder(ctx context.Context, b geo.Boundary, req OrderRequest) (Order, error) {
	var o Order
	err := c.do(ctx, request{method: http.MethodPost, path: at(b, "orders"), json: req}, &o)
	return o, err
}

// Orders returns the orders that there are.
func (c *Client) Orders(ctx context.Context, b geo.Boundary) ([]Order, error) {
	var r OrdersReply
	err := c.do(ctx, request{method: http.MethodGet, path: at(b, "orders")}, &r)
	return r.Orders, err
}

// DeleteOrder withdraws an order. If there is none, the error is a
// *NotFoundError.
func (c *Client) DeleteOrder(ctx context.Context, b geo.Boundary, id, author string) error {
	q := url.Values{}
	if author != "" {
		q.Set("author", author)
	}
	// The answer is read although nothing of it is needed: a page of something
	// before the control plane must not count as "withdrawn".
	var withdrawn struct {
		ID string `json:"id"`
	}
	return c.do(ctx, request{method: http.MethodDelete, path: at(b, "orders", id), query: q}, &withdrawn)
}

// DrainID is the ID of the order that drains something.
func DrainID(kind, name string) string { return signing.OrderID("drain", kind, name) }

// Audit returns up to limit records, the latest first; 0 is the server's own
// limit.
func (c *Client) Audit(ctx context.Context, b geo.Boundary, limit int) ([]AuditRecord, error) {
	var r AuditReply
	err := c.do(ctx, request{method: http.MethodGet, path: at(b, "audit"), query: limitOf(limit)}, &r)
	return r.Records, err
}

func limitOf(n int) url.Values {
	if n <= 0 {
		return nil
	}
	return url.Values{"limit": {strconv.Itoa(n)}}
}

func at(b geo.Boundary, parts ...string) string {
	var s strings.Builder
	s.WriteString("/api/v1/boundaries/" + url.PathEscape(string(b)))
	for _, p := range parts {
		s.WriteString("/" + url.PathEscape(p))
	}
	return s.String()
}

type request struct {
	method string
	path   string // escaped
	query  url.Values
	yaml   []byte // a body in YAML, or
	json   any    // one in JSON
}

func (c *Client) do(ctx context.Context, r request, out any) error {
	body, contentType := r.yaml, "application/yaml"
	if r.json != nil {
		var err error
		if body, err = json.Marshal(r.json); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		contentType = "application/json"
	}
	target := c.base.String() + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if r.method == http.MethodPost {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	resp, err := c.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // the URL may hold a message, which is nobody's business
		}
		return &UnreachableError{URL: c.base.String(), Err: err, Uncertain: r.method != http.MethodGet}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return &UnreachableError{URL: c.base.String(), Err: err, Uncertain: r.method != http.MethodGet}
	}
	if resp.StatusCode/100 != 2 {
		var reply ErrorReply
		_ = json.Unmarshal(text, &reply) // not ours: then the status has to do
		return errorOf(resp.StatusCode, reply)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read the control plane's answer: %w", err)
	}
	return nil
}
