// Package message is what a request and its client look like to the pipeline,
// whatever server has read the one and writes to the other: net/http's, by the
// adapter in edge, or another.
//
// It parses nothing, does no I/O and imports nothing of ours. The package edge makes
// its values; serve and what serves a request with it use them.
package message

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"time"
)

// A Request is a request whose head has been read. Nothing of it changes while it is
// served.
type Request struct {
	Method string
	Path   string // escaped, as it came
	Query  string // as it came, without the question mark
	Header Header
	// Proto is the version of HTTP as ten times the major and the minor number: 11.
	Proto int
	// Length is of the body, in bytes; -1: not announced.
	Length int64
	// Body is what follows the head, and never nil. A body that takes longer than
	// the server allows ends with os.ErrDeadlineExceeded.
	Body io.Reader
	Peer net.Addr             // whom the connection is with
	TLS  *tls.ConnectionState // nil: clear text
}

// A Client is the side that a request came from. Its methods are for one goroutine
// at a time, but for SetWriteDeadline.
type Client interface {
	// Begin sets the head of the answer, which goes out with the first write or
	// flush, or when the request has been served. The header is not kept.
	Begin(status int, h Header)
	// Write passes a piece of the answer on.
	Write(p []byte) (int, error)
	// Flush sends what was written.
	Flush() error
	// SetWriteDeadline bounds the writes from now on.
	SetWriteDeadline(t time.Time) error
	// Hijack hands the connection over, after the head of status 101. The caller
	// closes it.
	Hijack() (net.Conn, *bufio.ReadWriter, error)
	// Abort breaks the connection, or the stream, off, so that nobody takes what was
	// sent for complete. It may return only when the request is no longer served, or
	// not at all: nothing may be called after it.
	Abort()
}
