package throttle

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The texts are Azure's own, and those of other servers of the same API.
func TestWaitIsReadFromTheText(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-12-01-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 22 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.": 22 * time.Second,
		"Please retry after 1 second.":                                                time.Second,
		"Please retry after 86400 seconds.":                                           24 * time.Hour,
		"Please retry after 999999999999 seconds.":                                    MaxWait,
		"Please retry after 45 seconds":                                               45 * time.Second,
		"Rate limit is exceeded. Try again in 3 seconds.":                             3 * time.Second,
		"Rate limit reached for requests. Please try again in 6m0s. Visit https://x.": 6 * time.Minute,
		"Rate limit reached. Please try again in 20s.":                                20 * time.Second,
		"Rate limit reached. Please try again in 1.5s. Contact us.":                   1500 * time.Millisecond,
		"Rate limit reached. Please try again in 250ms.":                              250 * time.Millisecond,
		"retry after 2 minutes":                                                       2 * time.Minute,
		"Please retry after 30.":                                                      30 * time.Second,
		"retry after 100 milliseconds, please":                                        100 * time.Millisecond,
		"Please try again in a moment, that is, retry in 5 seconds":                   5 * time.Second,
	} {
		if got, ok := ParseText(text); !ok || got != want {
			t.Errorf("%.60q: %v, %t; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "Please retry after", "Please retry after ", "retry after a while", "retry after -5 seconds", "retry after 1e9 seconds",
		"The server is busy.", "retry after NaN seconds", "retry after 5 parsecs of time"[:12],
	} {
		if got, ok := ParseText(text); ok {
			t.Errorf("%q: %v, want none", text, got)
		}
	}
}

func TestTextOfAnyKindIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "retry after ", "TRY AGAIN IN "}).Draw(t, "before") + rapid.String().Draw(t, "text")
		if d, ok := ParseText(text); d < 0 || d > MaxWait || !ok && d != 0 {
			t.Fatalf("%q: %v, %t", text, d, ok)
		}
	})
}
