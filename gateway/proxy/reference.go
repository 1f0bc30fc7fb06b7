package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/operation"
)

// checkedMessage is how much of a client's message is held so that it can be read
// as a whole before any of it passes, in bytes. Beyond, only a message that has
// nothing like a reference in it passes: sound, which is what large ones hold.
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

// RulesOfReferences is what the policy says now: a session outlives many, and a
// slow body some.
func (c *Call) RulesOfReferences() *policy.References {
	if s := c.Running.Policy(); s != nil {
		return s.References()
	}
	return c.References
}

// hold reads a message and returns it to be passed on, or an *operation.Error if
// it may not pass, or errNoRoom. What it returns is valid until release.
func (c *checker) hold(message io.Reader) (io.Reader, error) {
	references := c.references()
	if references.All() {
		return message, nil
	}
	whole, err := c.read(message)
	if err != nil {
		return nil, err
	}
	held := c.buf.Bytes()
	if whole {
		if err := operation.EventReferences(held, references.Allows); err != nil {
			return nil, err
		}
		return bytes.NewReader(held), nil
	}
	if operation.MayRefer(held) {
		return nil, tooLongToCheck()
	}
	tail := append([]byte(nil), held[len(held)-operation.ReferenceOverlap:]...)
	return io.MultiReader(bytes.NewReader(held), &watched{message: message, tail: tail}), nil
}

// read takes in at most checkedMessage of a message, and reports whether that is
// all of it.
func (c *checker) read(message io.Reader) (whole bool, err error) {
	if c.buf == nil {
		c.buf = bytebudget.NewBuffer(func(n int64) bool {
			if !c.budget.TakeBody(n) {
				return false
			}
			c.taken += n
			return true
		}, checkedMessage)
	}
	for {
		left := checkedMessage - len(c.buf.Bytes())
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
			return len(c.buf.Bytes()) < checkedMessage, nil
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
	w.tail = append(w.tail, p[:n]...)
	if operation.MayRefer(w.tail) {
		return 0, tooLongToCheck()
	}
	w.tail = append(w.tail[:0], w.tail[max(0, len(w.tail)-operation.ReferenceOverlap):]...)
	return n, err
}

func tooLongToCheck() error {
	return &operation.Error{
		Status: http.StatusBadRequest, Code: "external_reference", Param: "the message (2 MiB or more, too long to be looked into)",
		Message: "the message is too long to be looked into for references",
	}
}

// closeReason is what fits into a close frame, at most 123 bytes.
func closeReason(e *operation.Error) string {
	reason := e.Code + ": " + e.Param
	return reason[:min(len(reason), 123)]
}
