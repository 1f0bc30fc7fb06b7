// Package body holds what a client sent so that attempts can send it on: more than
// once, from memory or from a file, byte for byte but for edits that are declared.
//
// It knows nothing of JSON, of backends or of budgets, which are the caller's. The
// pipeline of serve makes sources, the package relay opens them.
package body

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// A Source is the body of a request. Its methods may be used by one goroutine at a
// time; what Open returns may be read by another.
type Source interface {
	// Open returns the body from its beginning, with the edits made, and its length
	// in bytes; -1: not known. The caller closes it. ErrSpent: it is not repeatable,
	// and something of it has been read.
	Open(edits ...Edit) (io.ReadCloser, int64, error)
	// Repeatable reports whether it may be opened again once something has been read.
	Repeatable() bool
	// Spent reports whether Open would return ErrSpent.
	Spent() bool
	// Close gives up what the source holds. Nothing of it may be used afterwards.
	Close() error
}

// ErrSpent says that a body which passes straight through has been read.
var ErrSpent = errors.New("the body was streamed to a backend and cannot be sent again")

// An Edit replaces the bytes from Start to End, which lie within the body and after
// those of the edit before.
type Edit struct {
	Start, End int
	Text       []byte
}

// CopiedUpTo is the size up to which an edited body is copied: net/http sends the
// head of a request and a body in memory in one write. Larger ones are put together
// as they are sent.
const CopiedUpTo = 64 << 10

// A memory is a body in memory.
type memory []byte

// Memory returns a source of p, which must not change.
func Memory(p []byte) Source { return memory(p) }

func (memory) Repeatable() bool { return true }
func (memory) Spent() bool      { return false }
func (memory) Close() error     { return nil }

func (m memory) Open(edits ...Edit) (io.ReadCloser, int64, error) {
	length := edited(int64(len(m)), edits)
	if len(edits) == 0 {
		return io.NopCloser(bytes.NewReader(m)), length, nil
	}
	if length > CopiedUpTo {
		return io.NopCloser(splice(bytes.NewReader(m), int64(len(m)), edits)), length, nil
	}
	out := make([]byte, 0, length)
	from := 0
	for _, e := range edits {
		out = append(append(out, m[from:e.Start]...), e.Text...)
		from = e.End
	}
	return io.NopCloser(bytes.NewReader(append(out, m[from:]...))), length, nil
}

// edited is the length of a body once the edits are made.
func edited(n int64, edits []Edit) int64 {
	for _, e := range edits {
		n += int64(len(e.Text) - (e.End - e.Start))
	}
	return n
}

// splice reads a body with the edits made, and copies nothing of it.
func splice(r io.ReaderAt, n int64, edits []Edit) io.Reader {
	parts := make([]io.Reader, 0, 2*len(edits)+1)
	from := int64(0)
	for _, e := range edits {
		parts = append(parts, io.NewSectionReader(r, from, int64(e.Start)-from), bytes.NewReader(e.Text))
		from = int64(e.End)
	}
	return io.MultiReader(append(parts, io.NewSectionReader(r, from, n-from))...)
}

// A through passes straight from the client to the backend.
type through struct {
	r      io.Reader
	length int64
	read   atomic.Bool // something of it

	mu    sync.Mutex // guards ended, and is held while r is read: Close waits for that
	ended bool
}

// Through returns a source that is read from r as it is sent, and so only once.
// length is in bytes; -1: not known. It takes no edits.
func Through(r io.Reader, length int64) Source { return &through{r: r, length: length} }

func (t *through) Repeatable() bool { return false }
func (t *through) Spent() bool      { return t.read.Load() }

// Close ends whatever still reads, once the client's own time for its body allows it.
func (t *through) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	return nil
}

func (t *through) Open(edits ...Edit) (io.ReadCloser, int64, error) {
	switch {
	case len(edits) > 0:
		panic("body: an edit of a body that passes straight through; the caller must not declare any")
	case t.Spent():
		return nil, 0, ErrSpent
	}
	return passing{t}, t.length, nil
}

// passing is the one way through. Until something is read nothing is spent: a
// backend that cannot be reached leaves the body for another.
type passing struct{ *through }

func (p passing) Read(buf []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return 0, fs.ErrClosed
	}
	p.read.Store(true)
	n, err := p.r.Read(buf)
	if err != nil && err != io.EOF {
		err = &ClientError{err}
	}
	return n, err
}

// Close leaves the source to whoever opens it next.
func (passing) Close() error { return nil }

// A ClientError says that the client did not send its body to the end, while it was
// passed on.
type ClientError struct{ Err error }

// Error implements error.
func (e *ClientError) Error() string { return "the client's body: " + e.Err.Error() }

// Unwrap returns what went wrong: os.ErrDeadlineExceeded for a client that is slow.
func (e *ClientError) Unwrap() error { return e.Err }
