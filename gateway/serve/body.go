package serve

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
)

const (
	// MaxBody is the largest request that is taken, in bytes: one with several images
	// in it.
	MaxBody = 32 << 20
	// requestCost is what a request costs beside its body and a held answer, in
	// bytes: buffers and goroutines towards the client and a backend.
	requestCost = 32 << 10
	// sessionCost is what a session costs beside that: one message of each side is
	// on its way, and the backend's first is looked at.
	sessionCost = 96 << 10
	// nameRoom is how much longer a body may become by the deployment's name, in
	// bytes.
	nameRoom = 1 << 10
)

// body reads the request's body, and scans it. A session has none, and one that
// nobody looks into passes straight through.
func (v *visit) body() error {
	switch v.match.Operation.Form {
	case operation.NoBody:
		return nil
	case operation.Multipart:
		v.call.Body = body.Through(v.request.Body, v.request.Length)
		v.leave = append(v.leave, func() { _ = v.call.Body.Close() })
		return nil
	case operation.JSON:
	}
	if err := v.readBody(); err != nil {
		return err
	}
	v.bytesIn = len(v.text)
	scan, err := operation.ScanBody(v.text)
	if err != nil {
		return err
	}
	v.call.Scan = scan
	v.call.Stream = operation.Streams(v.match.Operation, &scan)
	v.call.Stateless = v.match.Operation.Stateless && !scan.Store.On
	v.tokens = operation.Tokens(&scan, len(v.text))
	return nil
}

// readBody reads the whole body, within its limits of size and time and the room
// that is left for it.
func (v *visit) readBody() error {
	if encoded(v.request.Header) {
		return &refusal.Error{Cause: refusal.EncodedBody, Param: "Content-Encoding"}
	}
	if !v.hold.TakeBody(requestCost) {
		return v.overloaded()
	}
	most := v.request.Length
	if most > MaxBody {
		return operation.TooLarge(MaxBody)
	}
	if most < 0 { // in chunks
		most = MaxBody
	}
	buf := bytebudget.NewBuffer(func(n int64) bool {
		if !v.hold.TakeBody(n) {
			return false
		}
		v.textHeld += n
		return true
	}, int(most))
	if err := v.fill(buf); err != nil {
		return err
	}
	v.text = buf.Bytes()
	v.call.Body = body.Memory(v.text)
	// An attempt sends a copy with its deployment's name, if the body is small.
	if v.match.Operation.ModelIn == operation.ModelInBody && !v.hold.TakeBody(int64(min(len(v.text), body.CopiedUpTo)+nameRoom)) {
		return v.overloaded()
	}
	return nil
}

// fill reads the body to its end.
func (v *visit) fill(buf *bytebudget.Buffer) error {
	for {
		room := buf.Room()
		if room == nil {
			return v.overloaded()
		}
		n, err := v.request.Body.Read(room)
		buf.Add(n)
		switch {
		case len(buf.Bytes()) > MaxBody:
			return operation.TooLarge(MaxBody)
		case err == io.EOF: // a reader announces its end by itself
			return nil
		case err != nil:
			return v.bodyError(err)
		}
	}
}

// park moves a large body from memory to a file, once nobody has to look into it any
// more. Where the disk has no room for it, it stays where it is.
func (v *visit) park() error {
	if v.Spool.Dir == "" || int64(len(v.text)) <= v.Spool.Above {
		return nil
	}
	room := v.Spool.Budget.Open(v.caller.Name, nil)
	if !room.TakeBody(int64(len(v.text))) {
		room.Release()
		v.Metrics.refused(refusedFiles)
		return nil
	}
	file, err := body.Keep(v.Spool.Dir, v.text)
	if err != nil {
		room.Release()
		v.Metrics.refused(refusedFiles)
		return nil
	}
	v.leave = append(v.leave, func() {
		_ = file.Close() // it has no name: nothing is left
		room.Release()
	})
	v.call.Body, v.text = file, nil
	v.call.Scan.Forget()
	v.hold.GiveBody(v.textHeld)
	return nil
}

// bodyError names a failure to read the body. A connection that broke off is a
// client that has gone.
func (v *visit) bodyError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal.New(refusal.BodyTimeout)
	case v.ctx.Err() != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return context.Canceled
	}
	return refusal.New(refusal.BodyUnreadable)
}

// overloaded says which bound has refused room.
func (v *visit) overloaded() error {
	cause := v.hold.Refused()
	v.Metrics.refused(string(cause))
	if cause == bytebudget.OfClient {
		return refusal.New(refusal.HeldByClient)
	}
	return refusal.New(refusal.HeldByProcess)
}

// encoded reports whether a Content-Encoding changes the body.
func encoded(h message.Header) bool {
	for _, f := range h {
		if f.Name != "Content-Encoding" {
			continue
		}
		for coding := range strings.SplitSeq(f.Value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}
