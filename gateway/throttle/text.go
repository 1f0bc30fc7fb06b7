package throttle

import (
	"strings"
	"time"
)

// textLimit bounds how much of a message is searched for a wait, in bytes.
const textLimit = 2 << 10

// ParseText reads the wait out of a refusal's own words, for backends that name
// it nowhere else: "Please retry after 45 seconds.", "Please try again in 6m0s."
// It is within 0…MaxWait; false if the text names none.
func ParseText(text string) (time.Duration, bool) {
	text = strings.ToLower(text[:min(len(text), textLimit)])
	for _, before := range [...]string{"retry after ", "try again in ", "try again after ", "retry in "} {
		_, rest, found := strings.Cut(text, before)
		if !found {
			continue
		}
		if d, ok := leadingWait(rest); ok {
			return d, true
		}
	}
	return 0, false
}

// leadingWait reads what parseWait does, and units in words, at the start of a
// sentence.
func leadingWait(v string) (time.Duration, bool) {
	number, after, _ := strings.Cut(v[:min(len(v), maxText)], " ")
	word, _, _ := strings.Cut(after, " ")
	word = strings.TrimSuffix(strings.TrimRight(word, ".,;:!)"), "s")
	for _, u := range [...]struct {
		name string
		unit time.Duration
	}{
		{"second", time.Second},
		{"sec", time.Second},
		{"millisecond", time.Millisecond},
		{"minute", time.Minute},
		{"min", time.Minute},
		{"hour", time.Hour},
		{"day", 24 * time.Hour},
	} {
		if word == u.name {
			return parseCount(number, u.unit)
		}
	}
	// A number that ends the sentence keeps its point.
	return parseWait(strings.TrimRight(number, ".,;:!)"))
}
