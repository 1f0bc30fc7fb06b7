// Package sse reads and writes event streams (text/event-stream) as Azure
// OpenAI sends them: where events end, whether a stream opens with an error,
// whether it ended as it should, and how to end one honestly that cannot go on.
//
// It is pure: bytes in, facts out; no I/O, no clock, no goroutine. It never
// changes an event and keeps only a bounded part of one. What it finds depends
// on the bytes alone, not on how they were cut into chunks. Relay is its
// user; operation names the form of each operation's stream.
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

// The bounds.
const (
	// MaxEvent is the size in bytes of the largest event that is passed on.
	MaxEvent = 10 << 20
	// inspected is how much of an event's data is looked at. An error is smaller,
	// and a large event says what it is at its beginning.
	inspected = 64 << 10
	// A stream that is neither good nor bad after so much is passed on.
	openingBytes  = 64 << 10
	openingEvents = 64
)

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
	// Malformed: an event came before anything meaningful that cannot be read.
	Malformed
)
