package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/stampgate/stampgate/gateway/message"
)

// Handler has net/http serve requests by serve, whose bodies may take so long to
// come. It is the only place of the pipeline where net/http's server shows.
func Handler(serve func(context.Context, message.Client, *message.Request), bodyTime time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &client{w: w, r: r, control: http.NewResponseController(w), limit: bodyTime}
		serve(r.Context(), c, &message.Request{
			Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: headerOf(r.Header),
			Proto: 10*r.ProtoMajor + r.ProtoMinor, Length: r.ContentLength, Body: body{c}, Peer: peerOf(r.Context()), TLS: r.TLS,
		})
		if c.aborted {
			panic(http.ErrAbortHandler) // net/http's way to break off
		}
	})
}

// peerOf is whom the request's connection is with; nil if the server was not made by
// this package.
func peerOf(ctx context.Context) net.Addr {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return c.RemoteAddr()
	}
	return nil
}

// headerOf lists the fields of a header, those of one name in their order.
func headerOf(h http.Header) message.Header {
	out := make(message.Header, 0, len(h)+2)
	for name, values := range h {
		for _, value := range values {
			out = append(out, message.Field{Name: name, Value: value})
		}
	}
	return out
}

// A client is the client of a request of net/http.
type client struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	limit   time.Duration // for the body to come
	reading bool
	read    bool // to its end
	aborted bool
}

// Begin implements message.Client.
func (c *client) Begin(status int, h message.Header) {
	if !c.read && status != http.StatusSwitchingProtocols {
		LeaveBody(c.w, c.r)
	}
	header := c.w.Header()
	values := make([]string, 0, len(h))
	for _, f := range h {
		if old := header[f.Name]; old != nil {
			header[f.Name] = append(slices.Clip(old), f.Value)
			continue
		}
		values = append(values, f.Value)
		header[f.Name] = slices.Clip(values[len(values)-1:])
	}
	c.w.WriteHeader(status)
}

// Write implements message.Client.
func (c *client) Write(p []byte) (int, error) { return c.w.Write(p) }

// Flush implements message.Client.
func (c *client) Flush() error { return c.control.Flush() }

// SetWriteDeadline implements message.Client.
func (c *client) SetWriteDeadline(t time.Time) error { return c.control.SetWriteDeadline(t) }

// Hijack implements message.Client.
func (c *client) Hijack() (net.Conn, *bufio.ReadWriter, error) { return c.control.Hijack() }

// Abort implements message.Client. It takes effect when the request has been served.
func (c *client) Abort() { c.aborted = true }

// A body is the body of a client's request. While the answer streams, a read deadline
// would look like a client that has gone, so that none is left at the body's end.
type body struct{ *client }

// Read implements io.Reader.
func (c body) Read(p []byte) (int, error) {
	if !c.reading {
		c.reading = true
		_ = c.control.SetReadDeadline(time.Now().Add(c.limit)) // in-memory writers of tests have none
	}
	n, err := c.r.Body.Read(p)
	if err == io.EOF {
		c.read = true
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
