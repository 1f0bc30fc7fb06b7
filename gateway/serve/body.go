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

// body reads the request's body, and scans it. A session has none.
func (v *visit) body() error {
	if v.match.Operation.WebSocket {
		return nil
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
	if v.Spool.Dir != "" {
		most = min(most, v.Spool.Above)
	}
	taken := int64(0)
	buf := bytebudget.NewBuffer(func(n int64) bool {
		if !v.hold.TakeBody(n) {
			return false
		}
		taken += n
		return true
	}, int(most))
	whole, err := v.fill(buf)
	if err != nil {
		return err
	}
	if !whole {
		defer v.hold.GiveBody(taken)
		return v.spool(buf.Bytes())
	}
	v.text = buf.Bytes()
	v.call.Body = body.Memory(v.text)
	return v.copies()
}

// copies takes room for the copy that an attempt sends of a small body, with its
// deployment's name.
func (v *visit) copies() error {
	if v.match.Operation.ModelIn == operation.ModelInBody && !v.hold.TakeBody(int64(min(len(v.text), body.CopiedUpTo)+nameRoom)) {
		return v.overloaded()
	}
	return nil
}

// spool writes a large body to a file: what was read of it, and the rest.
func (v *visit) spool(read []byte) error {
	file, err := body.Spool(v.Spool.Dir, read, v.request.Body, MaxBody+1)
	if errors.Is(err, body.ErrFolder) {
		return &refusal.Error{Cause: refusal.LacksResources, Err: err}
	}
	if err != nil {
		return v.bodyError(err)
	}
	v.leave = append(v.leave, func() { _ = file.Close() }) // it has no name: nothing is left
	if file.Size() > MaxBody {
		return operation.TooLarge(MaxBody)
	}
	if v.text, err = file.Bytes(); err != nil {
		return &refusal.Error{Cause: refusal.LacksResources, Err: err}
	}
	v.call.Body = file
	return v.copies()
}

// fill reads the body to its end, or to where a file takes over.
func (v *visit) fill(buf *bytebudget.Buffer) (whole bool, err error) {
	for {
		room := buf.Room()
		if room == nil {
			return false, v.overloaded()
		}
		n, err := v.request.Body.Read(room)
		buf.Add(n)
		switch {
		case len(buf.Bytes()) > MaxBody:
			return false, operation.TooLarge(MaxBody)
		case err == io.EOF: // a reader announces its end by itself
			return true, nil
		case err != nil:
			return false, v.bodyError(err)
		case v.Spool.Dir != "" && int64(len(buf.Bytes())) >= v.Spool.Above:
			return false, nil
		}
	}
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
