package relay

import (
	"bytes"
	"io"

	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/sse"
)

// A Transform changes a backend's answer on its way to the client. It is given what
// is the client's, never what the gateway itself says, and only of answers that are
// passed on. What it is given is its own until it returns, and may be returned.
// Where none is installed an answer costs what it does without the seam.
//
// A transform belongs to one call. Its methods are not all called by one goroutine:
// Body and Event by one at a time, Message by one at a time for each direction, so
// that two may run at once.
type Transform interface {
	// Body returns what the whole body of a plain answer becomes.
	Body(status int, contentType string, body []byte) []byte
	// Event returns what a whole event of a stream becomes, with the blank line at
	// its end; empty: the client does not get it. What a stream has after its last
	// blank line is given as an event, too.
	Event(event []byte) []byte
	// Message returns what a whole message of a session becomes, from the client or
	// for it.
	Message(fromClient bool, message []byte) []byte
}

// transformBody has every transform change a plain answer.
func (c *Call) transformBody(status int, contentType string, body []byte) []byte {
	for _, t := range c.Transforms {
		body = t.Body(status, contentType, body)
	}
	return body
}

// transformEvents has every transform change each of the whole events in p.
func (c *Call) transformEvents(p []byte) []byte {
	if len(c.Transforms) == 0 {
		return p
	}
	var out []byte
	for event := range sse.Split(p) {
		// An LF that came after its CR, or empty lines too many, belong to no event.
		begin := len(event) - len(bytes.TrimLeft(event, "\r\n"))
		out = append(out, event[:begin]...)
		event = bytes.Clone(event[begin:])
		for _, t := range c.Transforms {
			if len(event) > 0 {
				event = t.Event(event)
			}
		}
		out = append(out, event...)
	}
	return out
}

// transformMessage reads a message of a session whole, and returns what it becomes.
// What it holds of it counts in the room, which belongs to this direction alone.
func (s *session) transformMessage(fromClient bool, message io.Reader, room *bytebudget.Hold) (io.Reader, error) {
	room.GiveAnswer() // the message before has passed
	buf := bytebudget.NewBuffer(room.TakeAnswer, 0)
	for {
		space := buf.Room()
		if space == nil {
			return nil, errNoRoom
		}
		n, err := message.Read(space)
		buf.Add(n)
		if ended(err) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	text := buf.Bytes()
	for _, t := range s.transforms {
		text = t.Message(fromClient, text)
	}
	return bytes.NewReader(text), nil
}
