package sse

import (
	"bytes"
	"errors"
)

// ErrTooLarge says that an event is larger than MaxEvent.
var ErrTooLarge = errors.New("an event of the stream is too large")

// A Scanner follows one stream. It is used by one goroutine.
type Scanner struct {
	form Form

	offset  int64  // of the current Feed in the stream
	eventAt int64  // where the open event began
	afterCR bool   // the last byte was a CR: an LF now belongs to it
	later   bool   // the first line has ended: no byte order mark any more
	line    []byte // the beginning of a line that an earlier Feed left open, at most inspected
	cut     bool   // a line of the open event is longer than what is kept of it

	event    []byte // name of the open event, at most maxEventName
	data     []byte // of the open event, lines joined by LF, at most inspected
	hasData  bool
	borrowed bool   // data aliases what was fed, or line
	buf      []byte // what data is copied to

	events   int
	verdict  Verdict
	failure  []byte
	model    []byte
	choices  int          // that are expected of a chat; 0: unknown
	finished map[int]bool // the choices that said why they ended
	ended    bool
	err      error
}

// maxEventName is enough for every name that means something here.
const maxEventName = 64

// NewScanner returns a scanner for a stream of this form, of one choice.
func NewScanner(form Form) *Scanner { return &Scanner{form: form, choices: 1} }

// Expect tells how many choices the answer has; 0 if that is not known.
func (s *Scanner) Expect(choices int) { s.choices = choices }

// Feed takes the next bytes of the stream. It returns how many of them, from
// the start of p, belong to whole events: relay passes those on and holds the
// rest back until the next Feed, so that a client never sees half an event.
// Held bytes are not fed again. The error is ErrTooLarge, and stays. p is not
// kept.
func (s *Scanner) Feed(p []byte) (whole int, err error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	i := 0
	if s.afterCR && p[0] == '\n' {
		i = 1
		if s.eventAt == s.offset { // it belongs to the empty line that ended an event
			s.eventAt, whole = s.eventAt+1, 1
		}
	}
	s.afterCR = false
	for i < len(p) {
		n := lineEnd(p[i:])
		if n < 0 {
			break
		}
		at := i + n
		empty := s.endLine(p[i:at])
		end := s.offset + int64(at) + 1
		if end-s.eventAt > MaxEvent {
			s.err = ErrTooLarge
			return whole, s.err
		}
		if empty {
			s.endEvent(end)
		}
		i = at + 1
		if p[at] == '\r' {
			if s.afterCR = i == len(p); !s.afterCR && p[i] == '\n' {
				i++
			}
		}
		if empty {
			s.eventAt, whole = s.offset+int64(i), i
		}
	}
	s.own()
	s.line = s.extend(s.line, p[i:])
	s.offset += int64(len(p))
	if s.offset > openingBytes {
		s.decide(Good)
	}
	if s.offset-s.eventAt > MaxEvent {
		s.err = ErrTooLarge
	}
	return whole, s.err
}

// lineEnd returns the index of the first CR or LF, or -1.
func lineEnd(p []byte) int {
	lf := bytes.IndexByte(p, '\n')
	if lf >= 0 {
		p = p[:lf]
	}
	if cr := bytes.IndexByte(p, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// endLine takes the rest of a line. It reports whether the line is empty, which
// ends the event.
func (s *Scanner) endLine(rest []byte) (empty bool) {
	line := rest
	if len(s.line) > 0 {
		line = s.extend(s.line, rest)
		s.line = line[:0]
	} else if len(line) > inspected {
		line, s.cut = line[:inspected], true
	}
	if !s.later {
		s.later = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		return true
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) { // empty for a comment
	case "data":
		s.addData(value)
	case "event":
		s.event = append(s.event[:0], value[:min(len(value), maxEventName)]...)
	}
	return false
}

func (s *Scanner) addData(value []byte) {
	if !s.hasData {
		s.hasData, s.borrowed, s.data = true, true, value
		return
	}
	s.own()
	s.data = s.extend(s.data, []byte{'\n'})
	s.data = s.extend(s.data, value)
	s.buf = s.data
}

// extend appends more to b, so far as what is inspected allows.
func (s *Scanner) extend(b, more []byte) []byte {
	if room := inspected - len(b); len(more) > room {
		more, s.cut = more[:room], true
	}
	return append(b, more...)
}

// own copies the data of the open event out of memory that is not ours or is
// about to be used again. A stream whose chunks hold whole events never gets
// here with any.
func (s *Scanner) own() {
	if s.borrowed {
		s.buf = append(s.buf[:0], s.data...)
		s.data, s.borrowed = s.buf, false
	}
}

// endEvent judges the event that ends at this offset of the stream.
func (s *Scanner) endEvent(end int64) {
	if end > openingBytes {
		s.decide(Good)
	}
	if s.hasData {
		s.events++
		s.judge()
		if s.events >= openingEvents {
			s.decide(Good)
		}
	}
	s.event, s.data = s.event[:0], nil
	s.hasData, s.borrowed, s.cut = false, false, false
}

// decide sets the verdict, once.
func (s *Scanner) decide(v Verdict) {
	if s.verdict == Undecided {
		s.verdict = v
	}
}

// Verdict judges what was fed so far. Once it is decided it stays.
func (s *Scanner) Verdict() Verdict { return s.verdict }

// Error returns the data of the first error event, at most 64 kB of it; nil if
// none has come. With Verdict Good, the stream failed on its way.
func (s *Scanner) Error() []byte { return s.failure }

// Ended reports whether the stream's own last event has come, be it an error:
// only then may the connection close without an ErrorFrame. An answer is
// complete if it Ended without Error.
func (s *Scanner) Ended() bool { return s.ended }

// Close tells that the stream has ended in order. A last [DONE] counts though its
// line was left open: clients read it, too.
func (s *Scanner) Close() {
	if s.err != nil || s.form != Chat {
		return
	}
	if len(s.line) > 0 {
		s.endLine(nil)
	}
	if string(s.data) == doneData {
		s.judge()
	}
}

// Finished reports whether every choice of a chat has said why it ended, so that
// nothing is missing but [DONE], which some servers never send.
func (s *Scanner) Finished() bool {
	return s.choices > 0 && s.failure == nil && len(s.finished) >= s.choices
}

// Model returns what the stream says served it, at most modelLimit bytes; nil if
// it does not say. Azure's first event names none.
func (s *Scanner) Model() []byte { return s.model }

// InEvent reports whether fields of an event that has not ended have come, so
// that nothing may be put between. Comments are no fields.
func (s *Scanner) InEvent() bool { return s.hasData || len(s.event) > 0 || len(s.line) > 0 }

// Events returns how many events with data have ended.
func (s *Scanner) Events() int { return s.events }

// Partial reports whether bytes were fed after the last whole event.
func (s *Scanner) Partial() bool { return s.offset > s.eventAt }
