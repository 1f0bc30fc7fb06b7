// Package sse reads and writes event streams (text/event-stream) as Azure
// OpenAI sends them: where events end, whether a stream opens with an error,
// whether it ended as it should, and how to end one honestly that cannot go on.
//
// It is pure: bytes in, facts out; no I/O, no clock, no goroutine. It never
// changes an event and never keeps more than a bounded part of one. The proxy
// is its user.
package sse

// A Form is the dialect of a stream.
type Form uint8

// The forms.
const (
	// None: the operation has no event stream.
	None Form = iota
	// Chat: data: {chunk with choices}, ended by data: [DONE].
	Chat
	// Responses: typed events with sequence numbers, ended by response.completed,
	// .incomplete or .failed.
	Responses
	// Typed: typed events of speech and images, ended by a type in .done or .completed.
	Typed
)

// KeepAlive is a comment that clients ignore.
const KeepAlive = ": keep-alive\n\n"

// A Verdict is what the opening of a stream says about the attempt.
type Verdict uint8

// The verdicts.
const (
	// Undecided: nothing meaningful has come yet.
	Undecided Verdict = iota
	// Good: content has come, or the stream ended as it should, or so much came
	// without an error that waiting longer would hurt the client.
	Good
	// Failed: the first meaningful event is an error.
	Failed
	// Malformed: the first event that is not a comment cannot be read.
	Malformed
)

// A Scanner follows one stream. Its zero value is not usable: see NewScanner.
type Scanner struct {
	form Form
}

// NewScanner returns a scanner for a stream of this form.
func NewScanner(form Form) *Scanner { return &Scanner{form: form} }

// Feed takes the next bytes of the stream. It returns how many of them, from
// the start of p, belong to whole events: a proxy passes those on and holds the
// rest back until the next Feed, so that a client never sees half an event.
// Held bytes are not fed again. The error says that a line or event is larger
// than the limit, after which the scanner must not be fed any more. p is not
// kept.
func (s *Scanner) Feed(p []byte) (whole int, err error) { return len(p), nil }

// Verdict judges what was fed so far.
func (s *Scanner) Verdict() Verdict { return Good }

// Error returns the data of the first error event, at most 64 kB of it, or nil.
func (s *Scanner) Error() []byte { return nil }

// Ended reports whether the stream's own last event has come: only then is a
// closed connection a complete answer.
func (s *Scanner) Ended() bool { return true }

// Events returns how many events with data have ended.
func (s *Scanner) Events() int { return 0 }

// Partial reports whether bytes after the last whole event were fed.
func (s *Scanner) Partial() bool { return false }

// ErrorFrame builds the event that ends this stream, with the number that comes
// next in its sequence.
func (s *Scanner) ErrorFrame(code, message string) []byte { return ErrorFrame(s.form, code, message) }

// FirstEvents judges the opening of a stream that is in memory. The payload is
// the data of the error event, if Failed.
func FirstEvents(form Form, opening []byte) (v Verdict, payload []byte) { return Good, nil }

// ErrorFrame builds the event that tells a client of this form that the stream
// failed.
func ErrorFrame(form Form, code, message string) []byte { return nil }
