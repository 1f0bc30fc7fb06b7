package operation

// bytesPerToken is how much text of a request makes one token, roughly: a limit
// on tokens estimates a prompt likewise, by its length.
const bytesPerToken = 4

// Streams reports whether the request asks for an event stream: by stream, or,
// of speech, by its format.
func Streams(op *Operation, b *Body) bool {
	if !op.Streams {
		return false
	}
	return b.Stream.On || op.Name == speech && b.StreamFormat == "sse"
}

// Choices returns how many choices the answer will have; 0 where that cannot be
// told.
func (b *Body) Choices() int {
	switch {
	case b.ManyPrompts:
		return 0
	case b.N.Set:
		return int(max(b.N.N, 1))
	}
	return 1
}

// Tokens estimates what Azure's limit on tokens counts of a request when it
// arrives: the prompt, and the most that may be answered, as often as it is to be
// answered. A request that does not bound its answer counts with its prompt
// alone.
func Tokens(b *Body, bodyBytes int) int {
	most := int64(0)
	for _, c := range [...]Count{b.MaxTokens, b.MaxCompletionTokens, b.MaxOutputTokens} {
		if c.Set {
			most = max(most, c.N)
		}
	}
	times := int64(1)
	for _, c := range [...]Count{b.N, b.BestOf} {
		if c.Set {
			times = max(times, c.N)
		}
	}
	return bodyBytes/bytesPerToken + int(most*times) // at most 2^31 × 128
}
