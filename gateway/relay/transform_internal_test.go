package relay

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// told notes the events that it is given and drops them.
type told struct{ events []string }

func (*told) Body(int, string, []byte) []byte { return nil }
func (o *told) Event(event []byte) []byte {
	o.events = append(o.events, string(event))
	return nil
}
func (*told) Message(bool, []byte) []byte { return nil }

// The LF of a CRLF that was cut apart comes after its event, alone or before the next
// one: it belongs to none.
func TestAnLFThatCameLateIsNoEvent(t *testing.T) {
	o := &told{}
	c := &Call{Transforms: []Transform{o}}
	var out []byte
	for _, p := range []string{"data: x\r\n\r", "\n", "\ndata: y\r\n\r\n", "\r\n\r\n"} {
		out = append(out, c.transformEvents([]byte(p))...)
	}
	if want := []string{"data: x\r\n\r", "data: y\r\n\r\n"}; !slices.Equal(o.events, want) || strings.Trim(string(out), "\r\n") != "" {
		t.Errorf("given %q, out %q", o.events, out)
	}
}

// A transform may keep or clear what it is given: the answer's own memory is not it.
func TestATransformHasEventsOfItsOwn(t *testing.T) {
	p := []byte("data: x\n\ndata: y\n\n")
	kept := bytes.Clone(p)
	c := &Call{Transforms: []Transform{clearing{}}}
	if out := c.transformEvents(p); len(out) != len(p) || !bytes.Equal(p, kept) {
		t.Errorf("%q became %q", kept, p)
	}
}

type clearing struct{}

func (clearing) Body(_ int, _ string, body []byte) []byte { return body }
func (clearing) Event(event []byte) []byte {
	clear(event)
	return event
}
func (clearing) Message(_ bool, message []byte) []byte { return message }

// Without transforms the bytes are the backend's own, in the memory that they came
// in, and nothing is allocated.
func TestWithoutTransformsAnAnswerCostsNothingMore(t *testing.T) {
	c, s := &Call{}, &session{held: &held{}}
	p := []byte("data: x\n\ndata: y\n\n")
	var events, body []byte
	if n := testing.AllocsPerRun(100, func() {
		events, body = c.transformEvents(p), c.transformBody(200, "application/json", p)
	}); n != 0 || &events[0] != &p[0] || len(events) != len(p) || &body[0] != &p[0] || len(body) != len(p) {
		t.Errorf("%v allocations", n)
	}
	if s.pumping(t.Context(), true).change != nil || s.pumping(t.Context(), false).change != nil {
		t.Error("messages of a session are read whole though nobody changes them")
	}
}
