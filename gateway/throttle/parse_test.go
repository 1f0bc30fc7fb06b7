package throttle

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func TestEveryFormOfAWaitIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string // name, value, …
		want    time.Duration
		said    bool
	}{
		{"seconds", []string{"Retry-After", "22"}, 22 * time.Second, true},
		{"a day, as seen in the wild", []string{"Retry-After", "86400"}, 24 * time.Hour, true},
		{"fractions of a second", []string{"Retry-After", "1.5"}, 1500 * time.Millisecond, true},
		{"an HTTP date", []string{"Retry-After", "Thu, 05 Nov 2026 12:00:30 GMT"}, 30 * time.Second, true},
		// The backend's clock is ten minutes fast: its own Date shows it.
		{"a date against the answer's own", []string{
			"Date", "Thu, 05 Nov 2026 12:10:00 GMT", "Retry-After", "Thu, 05 Nov 2026 12:10:07 GMT",
		}, 7 * time.Second, true},
		{"a date that has passed", []string{"Retry-After", "Thu, 05 Nov 2026 11:00:00 GMT"}, 0, true},
		{"the old date form", []string{"Retry-After", "Thursday, 05-Nov-26 12:00:09 GMT"}, 9 * time.Second, true},
		{"milliseconds", []string{"Retry-After-Ms", "1234"}, 1234 * time.Millisecond, true},
		{"milliseconds, the other name", []string{"X-Ms-Retry-After-Ms", "250"}, 250 * time.Millisecond, true},
		{"milliseconds are the exact wait", []string{"Retry-After", "2", "Retry-After-Ms", "1400"}, 1400 * time.Millisecond, true},
		{"bad milliseconds leave the seconds", []string{"Retry-After", "2", "Retry-After-Ms", "soon"}, 2 * time.Second, true},
		{"zero milliseconds leave the seconds", []string{"Retry-After", "2", "Retry-After-Ms", "0"}, 2 * time.Second, true},
		{"two values: the longer", []string{"Retry-After", "2", "Retry-After", "9"}, 9 * time.Second, true},
		{"spaces", []string{"Retry-After", " 7 "}, 7 * time.Second, true},
		{"units", []string{"Retry-After", "1m30s"}, 90 * time.Second, true},
		{"now", []string{"Retry-After", "0"}, 0, true},
		{"nothing", nil, 0, false},
		{"negative", []string{"Retry-After", "-5"}, 0, false},
		{"not a number", []string{"Retry-After", "NaN"}, 0, false},
		{"infinite", []string{"Retry-After", "Inf"}, 0, false},
		{"beyond a float", []string{"Retry-After", "1e309"}, 0, false},
		{"hexadecimal", []string{"Retry-After", "0x10"}, 0, false},
		{"beyond an int64: cut", []string{"Retry-After", "99999999999999999999"}, MaxWait, true},
		{"a year: cut", []string{"Retry-After-Ms", "31536000000"}, MaxWait, true},
		{"a date in a hundred years: cut", []string{"Retry-After", "Thu, 05 Nov 2126 12:00:00 GMT"}, MaxWait, true},
		{"a thousand digits", []string{"Retry-After", strings.Repeat("9", 1000)}, 0, false},
		{"empty", []string{"Retry-After", ""}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ParseSignals(header(c.headers), noon)
			if s.RetryAfter != c.want || s.HasRetryAfter != c.said {
				t.Errorf("got %v (said: %t), want %v (%t)", s.RetryAfter, s.HasRetryAfter, c.want, c.said)
			}
		})
	}
}

func TestEveryFormOfAResetIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		want    time.Duration
	}{
		{"seconds with a unit", []string{"X-Ratelimit-Reset-Tokens", "1s"}, time.Second},
		{"minutes and seconds", []string{"X-Ratelimit-Reset-Tokens", "6m0s"}, 6 * time.Minute},
		{"bare seconds", []string{"X-Ratelimit-Reset-Requests", "10"}, 10 * time.Second},
		{"milliseconds", []string{"X-Ratelimit-Reset-Tokens", "250ms"}, 250 * time.Millisecond},
		{"a fraction", []string{"X-Ratelimit-Reset-Tokens", "7.66s"}, 7660 * time.Millisecond},
		{"hours", []string{"X-Ratelimit-Reset-Requests", "1h2m3s"}, time.Hour + 2*time.Minute + 3*time.Second},
		{"days", []string{"X-Ratelimit-Reset-Requests", "1d0h"}, 24 * time.Hour},
		{"a Unix time", []string{"X-Ratelimit-Reset-Requests", "1793880042"}, 42 * time.Second},
		{"a Unix time that has passed", []string{"X-Ratelimit-Reset-Requests", "1600000000"}, 0},
		{"of two the longer", []string{"X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Reset-Tokens", "6m0s"}, 6 * time.Minute},
		{"the one that is exhausted", []string{
			"X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Remaining-Requests", "0",
			"X-Ratelimit-Reset-Tokens", "6m0s", "X-Ratelimit-Remaining-Tokens", "100", "X-Ratelimit-Limit-Tokens", "1000",
		}, time.Second},
		{"rubbish", []string{"X-Ratelimit-Reset-Tokens", "6m0"}, 0},
		{"negative", []string{"X-Ratelimit-Reset-Tokens", "-1s"}, 0},
		{"too long: cut", []string{"X-Ratelimit-Reset-Tokens", "99999999999h99999999999h"}, MaxWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ParseSignals(header(c.headers), noon)
			if s.Reset != c.want {
				t.Errorf("got %v, want %v", s.Reset, c.want)
			}
			if s.HasRetryAfter {
				t.Error("a reset, which comes with every answer, counts as a named time")
			}
		})
	}
}

func TestSharesOfLimitsAreRead(t *testing.T) {
	for _, c := range []struct {
		name                          string
		headers                       []string
		requests, tokens, utilization float64
	}{
		{"nothing said", nil, -1, -1, -1},
		{"both limits", []string{
			"X-Ratelimit-Remaining-Requests", "99", "X-Ratelimit-Limit-Requests", "100",
			"X-Ratelimit-Remaining-Tokens", "25000", "X-Ratelimit-Limit-Tokens", "100000",
		}, 0.99, 0.25, -1},
		{"none left needs no limit", []string{"X-Ratelimit-Remaining-Tokens", "0"}, -1, 0, -1},
		{"some left, of an unknown limit", []string{"X-Ratelimit-Remaining-Tokens", "5"}, -1, -1, -1},
		{"more left than the limit", []string{"X-Ratelimit-Remaining-Tokens", "9", "X-Ratelimit-Limit-Tokens", "3"}, -1, 1, -1},
		{"a limit of zero", []string{"X-Ratelimit-Remaining-Tokens", "9", "X-Ratelimit-Limit-Tokens", "0"}, -1, -1, -1},
		{"negative", []string{"X-Ratelimit-Remaining-Tokens", "-1", "X-Ratelimit-Limit-Tokens", "10"}, -1, -1, -1},
		{"utilisation", []string{"Azure-Openai-Deployment-Utilization", "12.3%"}, -1, -1, 0.123},
		{"utilisation without the sign", []string{"Azure-Openai-Deployment-Utilization", "87"}, -1, -1, 0.87},
		{"utilisation beyond full", []string{"Azure-Openai-Deployment-Utilization", "104%"}, -1, -1, 1.04},
		{"utilisation beyond belief", []string{"Azure-Openai-Deployment-Utilization", "99999999999%"}, -1, -1, 10},
		{"utilisation that is none", []string{"Azure-Openai-Deployment-Utilization", "NaN%"}, -1, -1, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ParseSignals(header(c.headers), noon)
			for _, v := range []struct {
				name      string
				got, want float64
			}{
				{"requests", s.RemainingRequests, c.requests},
				{"tokens", s.RemainingTokens, c.tokens},
				{"utilization", s.Utilization, c.utilization},
			} {
				if math.Abs(v.got-v.want) > 1e-9 {
					t.Errorf("%s = %v, want %v", v.name, v.got, v.want)
				}
			}
		})
	}
}

func TestHeadroomIsTheSmallestShare(t *testing.T) {
	for _, c := range []struct {
		s    Signals
		want float64
		said bool
	}{
		{Signals{}, 1, false}, // no answer at all
		{Signals{RemainingRequests: -1, RemainingTokens: -1, Utilization: -1}, 1, false},
		{Signals{RemainingRequests: 0.5, RemainingTokens: 0.2, Utilization: -1}, 0.2, true},
		{Signals{RemainingRequests: -1, RemainingTokens: -1, Utilization: 0.75}, 0.25, true},
		{Signals{RemainingRequests: -1, RemainingTokens: -1, Utilization: 1.5}, 0, true},
	} {
		if got, said := c.s.Headroom(); got != c.want || said != c.said {
			t.Errorf("%+v: %v, %t, want %v, %t", c.s, got, said, c.want, c.said)
		}
	}
}

// Whatever a backend sends, what comes out is bounded.
func FuzzParseSignals(f *testing.F) {
	for _, v := range []string{
		"1s", "6m0s", "10", "250ms", "86400", "-1", "NaN", "1e309", "12.3%", "", "..", "0.0.0", "9999999999999999999999",
		"Thu, 05 Nov 2026 12:00:30 GMT", "1d2h3m4s5ms6us7µs8ns", "1793880042", "\x00", strings.Repeat("9h", 40),
	} {
		f.Add(v, "100", "Thu, 05 Nov 2026 12:10:00 GMT")
	}
	f.Fuzz(func(t *testing.T, v, limit, date string) {
		h := http.Header{"Date": {date}}
		for _, n := range []string{
			"Retry-After", "Retry-After-Ms", "X-Ms-Retry-After-Ms", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens",
			"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Remaining-Tokens", "Azure-Openai-Deployment-Utilization",
		} {
			h[n] = []string{v, limit}
		}
		h["X-Ratelimit-Limit-Requests"], h["X-Ratelimit-Limit-Tokens"] = []string{limit}, []string{v}
		s := ParseSignals(h, noon)
		if s.RetryAfter < 0 || s.RetryAfter > MaxWait || s.Reset < 0 || s.Reset > MaxWait {
			t.Errorf("waits out of bounds: %+v", s)
		}
		if !s.HasRetryAfter && s.RetryAfter != 0 {
			t.Errorf("a wait that was not said: %+v", s)
		}
		for _, share := range []float64{s.RemainingRequests, s.RemainingTokens} {
			if share != -1 && !(share >= 0 && share <= 1) {
				t.Errorf("share %v out of bounds", share)
			}
		}
		if u := s.Utilization; u != -1 && !(u >= 0 && u <= maxUtilization) {
			t.Errorf("utilisation %v out of bounds", u)
		}
		if left, _ := s.Headroom(); !(left >= 0 && left <= 1) {
			t.Errorf("headroom %v out of bounds", left)
		}
	})
}

func header(pairs []string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestLimitOfTokensIsReadWithinItsBounds(t *testing.T) {
	for says, want := range map[string]int{
		"450000": 450_000, " 30000 ": 30_000, "": 0, "many": 0, "-5": 0, "99999999999999999999": maxLimit, "1e9": 0,
	} {
		h := http.Header{"X-Ratelimit-Limit-Tokens": {says}}
		if got := ParseSignals(h, noon).LimitTokens; got != want {
			t.Errorf("%q: %d, want %d", says, got, want)
		}
	}
}
