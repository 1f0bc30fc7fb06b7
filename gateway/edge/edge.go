// Package edge is where connections come in: how many there may be, in total and
// from one source, how long a peer may take for each step, and how much a
// connection may leave unread.
//
// Every connection has a deadline for the head of a request, for its body, and for
// each write of an answer, whoever asks and whatever for. These bounds belong to
// the connection and not to a handler, so that they hold for whatever server reads
// from it. It knows nothing of clients or policies. The gateway's wiring uses it,
// and serve for what a request has from its connection.
package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stampgate/stampgate/gateway/bytebudget"
)

// Timeouts are how long a peer may take.
type Timeouts struct {
	Head  time.Duration // for the TLS handshake, and for the head of a request
	Body  time.Duration // for the rest of the request
	Write time.Duration // to accept one write of an answer, of 16 kB as a rule
}

const (
	// idleTimeout is beyond Front Door's 90 s, so that it closes first.
	idleTimeout = 120 * time.Second
	// headerLimit bounds the head of a request, in bytes.
	headerLimit = 32 << 10
	// linger is how long a body that nobody reads is waited for after the answer:
	// closing earlier would reset the connection, and the answer with it.
	linger = 2 * time.Second
	// smallBody is a body that is read though nobody wants it, if it comes within
	// onItsWay: the packet after the head's, or the one after that.
	smallBody = 16 << 10 // bytes
	onItsWay  = 20 * time.Millisecond
)

// The bounds of HTTP/2, whose streams multiply what one connection can hold.
const (
	maxStreams       = 32
	streamReceive    = 256 << 10 // bytes of a body that a handler has not read yet
	connectionRecvd  = 1 << 20   // the same for all streams of a connection
	pingAfter        = 30 * time.Second
	pingAnsweredWith = 15 * time.Second
)

// NewServer returns a server which states every limit that a request has before it
// reaches the handler. The listener must be one of Listen.
func NewServer(h http.Handler, t Timeouts, http2 bool) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(http2)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: t.Head,
		// Handlers that read a body lift it afterwards, and set their own for reading.
		ReadTimeout:    t.Head + t.Body,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: headerLimit,
		Protocols:      protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: streamReceive, MaxReceiveBufferPerConnection: connectionRecvd,
			SendPingTimeout: pingAfter, PingTimeout: pingAnsweredWith, WriteByteTimeout: t.Write,
		},
		ConnContext: withConn,
		ConnState:   noteState,
		// OPTIONS * would be answered past the handler, once its body is read.
		DisableGeneralOptionsHandler: true,
	}
}

type connKey struct{}

// withConn gives the connection to its requests.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if own := ours(c); own != nil {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// ours is the listener's own connection under what a server has of it; nil if the
// listener is another's.
func ours(c net.Conn) *conn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// noteState keeps the listener informed of who idles: who waits for a request, the
// first one included. A deadline of the last answer does not hold for the next.
func noteState(c net.Conn, state http.ConnState) {
	own := ours(c)
	if own == nil {
		return
	}
	own.setIdle(state == http.StateIdle || state == http.StateNew)
	if state == http.StateIdle || state == http.StateActive {
		own.until.Store(0)
	}
}

// Unsent returns what bounds the answers that the request's connection has not
// accepted yet; nil if the server was not made by this package.
func Unsent(ctx context.Context) *bytebudget.Account {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return c.unsent
	}
	return nil
}

// LeaveBody is called before an answer to a request whose body was not read to its
// end. Unless that is small and here, the answer goes out at once and the connection ends with it: net/http would
// wait for the body first, and a client that has stopped sending would get no
// answer. A stream of HTTP/2 needs none of that, it is reset alone.
func LeaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.ProtoMajor != 1 || arrived(w, r) {
		return
	}
	w.Header()["Connection"] = []string{"close"}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger)) // in-memory writers of tests have none
}

// arrived reads a small body that has come already, so that a connection need not
// end for it, and reports whether it had.
func arrived(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength < 0 || r.ContentLength > smallBody || r.Header["Expect"] != nil {
		return false
	}
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Now().Add(onItsWay)) != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	return c.SetReadDeadline(time.Time{}) == nil
}

// WithoutBodies wraps a handler that reads no body.
func WithoutBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		LeaveBody(w, r)
		h.ServeHTTP(w, r)
	})
}

// A Counter bounds how often each key is in use.
type Counter[K comparable] struct {
	limit int

	mu   sync.Mutex // guards used
	used map[K]int
}

// NewCounter returns a counter which lets each key be in use so often.
func NewCounter[K comparable](limit int) *Counter[K] {
	return &Counter[K]{limit: limit, used: make(map[K]int)}
}

// Enter uses a key once more, and reports whether that is within the limit. Leave
// must follow if it is.
func (c *Counter[K]) Enter(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[key] >= c.limit {
		return false
	}
	c.used[key]++
	return true
}

// Leave ends one use.
func (c *Counter[K]) Leave(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[key]--; c.used[key] <= 0 {
		delete(c.used, key)
	}
}
