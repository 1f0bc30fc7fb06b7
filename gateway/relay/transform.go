package relay

import (
	"bytes"
	"io"

	"github.com/stampgate/stampgate/gateway/sse"
)

// A Transform changes a backend's answer on its way to the client. It is given what
// is the client's, never what the gateway itself says, and only of answers that are
// passed on. What it is given is its own until it returns, and may be returned.
// Where none is installed an answer costs what it does without the seam.
type Transform interface {
	// Body returns what the whole body of a plain answer becomes.
	Body(status int, body []byte) []byte
	// Event returns what a whole event of a stream becomes, with the blank line at
	// its end; empty: the client does not get it. The last LF of a CRLF may pass by
	// itself, if it came apart.
	Event(event []byte) []byte
	// Message returns what a whole message of a session becomes, from the client or
	// for it.
	Message(fromClient bool, message []byte) []byte
}

// transformBody has every transform change a plain answer.
func (c *Call) transformBody(status int, body []byte) []byte {
	for _, t := range c.Transforms {
		body = t.Body(status, body)
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
		if len(bytes.Trim(event, "\r\n")) == 0 { // an LF that came after its CR, or empty lines too many
			out = append(out, event...)
			continue
		}
		event = bytes.Clone(event)
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
func (s *session) transformMessage(fromClient bool, message io.Reader) (io.Reader, error) {
	text, err := io.ReadAll(message) // the library bounds it by messageLimit
	if err != nil {
		return nil, err
	}
	for _, t := range s.transforms {
		text = t.Message(fromClient, text)
	}
	return bytes.NewReader(text), nil
}
