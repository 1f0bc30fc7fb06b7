package relay

import (
	"bytes"
	"errors"
	"io"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// checkedMessage is how much of a client's message is held before any of it passes,
// in bytes. If that has anything like a reference in it, such as the data: URL of
// an image, the message is held to its end and read as a whole. If not, as with
// sound, the rest passes as it comes, as long as nothing like a reference does.
const checkedMessage = 2 << 20

// keptRoom is what a session keeps of it for the messages that follow, in bytes.
const keptRoom = 4 * readSize

var errReference = errors.New("a message of the client refers to a place outside the boundary")

// A checker holds the messages of a session's client against the policy. It
// belongs to one pump.
type checker struct {
	references func() *policy.References
	budget     *bytebudget.Hold // of the call, whose only user the checker is while the session runs
	buf        *bytebudget.Buffer
	taken      int64 // of the budget, for buf
}

// hold reads a message and returns it to be passed on, or an *refusal.Error if
// it may not pass, or errNoRoom. What it returns is valid until release.
func (c *checker) hold(message io.Reader) (io.Reader, error) {
	references := c.references()
	if references.All() {
		return message, nil
	}
	whole, err := c.read(message, checkedMessage)
	if err == nil && !whole && operation.MayRefer(c.buf.Bytes()) {
		whole, err = c.read(message, messageLimit+1)
	}
	if err != nil {
		return nil, err
	}
	held := c.buf.Bytes()
	if plain := withoutZeros(held); len(plain) < len(held) && operation.MayRefer(plain) {
		return nil, notUTF8()
	}
	if whole {
		if err := operation.EventReferences(held, references.Allows); err != nil {
			return nil, err
		}
		return bytes.NewReader(held), nil
	}
	tail := withoutZeros(held)
	tail = append([]byte(nil), tail[max(0, len(tail)-operation.ReferenceOverlap):]...)
	return io.MultiReader(bytes.NewReader(held), &watched{message: message, tail: tail}), nil
}

// read takes a message in until limit bytes of it are held, and reports whether it
// has ended before.
func (c *checker) read(message io.Reader, limit int) (whole bool, err error) {
	if c.buf == nil {
		c.buf = bytebudget.NewBuffer(func(n int64) bool {
			if !c.budget.TakeBody(n) {
				return false
			}
			c.taken += n
			return true
		}, 0)
	}
	for {
		left := limit - len(c.buf.Bytes())
		if left == 0 {
			return false, nil
		}
		room := c.buf.Room()
		if room == nil {
			return false, errNoRoom
		}
		n, err := message.Read(room[:min(len(room), left)])
		c.buf.Add(n)
		if ended(err) {
			return len(c.buf.Bytes()) < limit, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// release lets go of a message that has passed.
func (c *checker) release() {
	switch {
	case c.buf == nil:
	case c.taken <= keptRoom:
		c.buf.Reset()
	default:
		c.budget.GiveBody(c.taken)
		c.buf, c.taken = nil, 0
	}
}

// watched passes on the rest of a long message as long as nothing in it could be a
// reference.
type watched struct {
	message io.Reader
	tail    []byte // the end of what has passed
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.message.Read(p)
	w.tail = append(w.tail, withoutZeros(p[:n])...)
	if operation.MayRefer(w.tail) {
		return 0, tooLongToCheck()
	}
	w.tail = append(w.tail[:0], w.tail[max(0, len(w.tail)-operation.ReferenceOverlap):]...)
	return n, err
}

// withoutZeros returns what UTF-16 or UTF-32 leave of text in ASCII. Some parsers of
// JSON take them, and a reference must not hide in one. Sound has zeros too, and
// nothing like a reference among them.
func withoutZeros(p []byte) []byte {
	if bytes.IndexByte(p, 0) < 0 {
		return p
	}
	out := make([]byte, 0, len(p)/2)
	for _, c := range p {
		if c != 0 {
			out = append(out, c)
		}
	}
	return out
}

func notUTF8() error {
	return &refusal.Error{
		Cause: refusal.ExternalReference, Param: "the message (not text in UTF-8, so not looked into)",
		Message: "what may be a reference is not text in UTF-8, so it is not looked into",
	}
}

func tooLongToCheck() error {
	return &refusal.Error{
		Cause: refusal.ExternalReference, Param: "the message (not in its first 2 MiB, so not looked into)",
		Message: "what may be a reference is not in the first 2 MiB of the message, so it is not looked into",
	}
}

// closeReason is what fits into a close frame, at most 123 bytes.
func closeReason(e *refusal.Error) string {
	reason := e.Cause.String() + ": " + e.Param
	return reason[:min(len(reason), 123)]
}
