package sse

import (
	"bytes"
	"encoding/json"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
)

// A class is what one event means.
type class uint8

const (
	prelude   class = iota // says nothing about success, such as the verdict on the prompt
	content                // the backend works
	terminal               // the stream is complete
	failure                // the backend gave up
	malformed              // not what this form sends
)

const (
	doneData     = "[DONE]"
	finishReason = `"finish_reason"`
	// namingEvents is how far a stream is searched for its model.
	namingEvents = 8
	modelLimit   = 256 // bytes
	maxChoices   = 128 // as many as Azure takes for n
)

func (s *Scanner) judge() {
	c := s.classify()
	switch c {
	case prelude:
	case content:
		s.decide(Good)
	case terminal:
		s.ended = true
		s.decide(Good)
	case failure:
		s.ended = true
		if s.failure == nil {
			s.failure = append([]byte{}, s.data...)
		}
		s.decide(Failed)
	case malformed:
		s.decide(Malformed)
	}
}

// classify reads an event closely while the stream's opening is judged, and
// afterwards only so far as to find its end or an error.
func (s *Scanner) classify() class {
	if string(s.data) == doneData {
		return terminal
	}
	if string(s.event) == "error" {
		return failure
	}
	if s.form == Chat && finishing(s.data) {
		s.finish()
	}
	if s.verdict == Undecided || s.suspicious() || s.nameless() {
		return s.read()
	}
	data := bytes.TrimSpace(s.data)
	if len(data) == 0 || data[0] != '{' || (data[len(data)-1] != '}' && !s.cut) {
		return malformed
	}
	if s.form == Chat {
		return content
	}
	return s.byType(s.event)
}

// suspicious reports whether an event may be an error or cannot be told by its
// name. Inside of a JSON string the quotes are escaped, so text that talks about
// "error" is not mistaken.
func (s *Scanner) suspicious() bool {
	if s.form != Chat {
		return len(s.event) == 0
	}
	return bytes.Contains(s.data, []byte(`"error"`))
}

// nameless reports whether the model is still to be found. Where it does not
// come soon, it is not looked for any further.
func (s *Scanner) nameless() bool {
	return s.model == nil && s.form != Typed && s.events <= namingEvents
}

// finishing finds a finish_reason that is not null. Every event of Azure has one
// that is.
func finishing(data []byte) bool {
	for {
		i := bytes.Index(data, []byte(finishReason))
		if i < 0 {
			return false
		}
		data = bytes.TrimLeft(data[i+len(finishReason):], " :\t\n")
		if len(data) > 0 && data[0] == '"' {
			return true
		}
	}
}

// finish notes the choices that end with this event.
func (s *Scanner) finish() {
	var event struct {
		Choices []struct {
			Index  int     `json:"index"`
			Reason *string `json:"finish_reason"`
		} `json:"choices"`
	}
	if len(s.finished) >= maxChoices || json.Unmarshal(s.data, &event) != nil {
		return
	}
	for _, c := range event.Choices {
		if c.Reason == nil {
			continue
		}
		if s.finished == nil {
			s.finished = make(map[int]bool, 1)
		}
		s.finished[c.Index] = true
	}
}

// byType classifies a typed event.
func (s *Scanner) byType(name []byte) class {
	if string(name) == "error" {
		return failure
	}
	if s.form == Typed {
		if bytes.HasSuffix(name, []byte(".done")) || bytes.HasSuffix(name, []byte(".completed")) {
			return terminal
		}
		return content
	}
	switch string(name) {
	case "response.created", "response.queued", "response.in_progress":
		return prelude
	case "response.completed", "response.incomplete", "response.cancelled":
		return terminal
	case "response.failed":
		return failure
	}
	return content
}

// named takes the first name of a model that is one.
func (s *Scanner) named(data []byte, m strictjson.Member) {
	if s.model != nil || m.Kind != strictjson.String {
		return
	}
	if name := strictjson.Text(data, m); len(name) > 0 && len(name) <= modelLimit {
		s.model = bytes.Clone(name)
	}
}

// namedInside looks for the name in the response that an event carries.
func (s *Scanner) namedInside(object []byte) {
	var m strictjson.Member
	w := strictjson.Begin(object, strictjson.Limits{MaxDepth: 512, MaxNames: 1024})
	for w.Next(&m) {
		if string(m.Name) == "model" {
			s.named(object, m)
			return
		}
	}
}

// read looks at the members of the event's data.
func (s *Scanner) read() class {
	var typ []byte
	choices, failed := false, false
	var m strictjson.Member
	w := strictjson.Begin(s.data, strictjson.Limits{MaxDepth: 512, MaxNames: 1024})
	for w.Next(&m) {
		switch string(m.Name) {
		case "error":
			failed = failed || m.Kind != strictjson.Null
		case "choices":
			choices = m.Kind == strictjson.Array && len(bytes.TrimSpace(s.data[m.Start+1:m.End-1])) > 0
		case "type":
			if m.Kind == strictjson.String {
				typ = strictjson.Text(s.data, m)
			}
		case "model":
			s.named(s.data, m)
		case "response":
			if s.model == nil && m.Kind == strictjson.Object {
				s.namedInside(s.data[m.Start:m.End])
			}
		}
	}
	if failed {
		return failure
	}
	if err := w.Fault(); err != nil && (!err.Truncated || !s.cut) {
		// Text that a client may read or not is content; what no client can read is not.
		if !err.Ambiguous {
			return malformed
		}
		choices = true
	}
	if s.form != Chat {
		if len(s.event) > 0 {
			typ = s.event
		}
		return s.byType(typ)
	}
	if choices {
		return content
	}
	return prelude
}
