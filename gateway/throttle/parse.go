package throttle

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// maxUtilization bounds what is believed of a utilisation header: ten times full.
const maxUtilization = 10

// maxLimit bounds what is believed of a limit; no deployment has so many tokens.
const maxLimit = 1e12

// ParseSignals reads the limits out of an answer's headers. Whatever they hold,
// every duration is within 0…MaxWait, every share within 0…1 or -1, and what
// cannot be understood counts as not said. now serves only for dates in an
// answer that does not carry a Date of its own.
func ParseSignals(h http.Header, now time.Time) Signals {
	s := Signals{RemainingRequests: -1, RemainingTokens: -1, Utilization: -1}
	s.RetryAfter, s.HasRetryAfter = retryAfter(h, now)
	s.RemainingRequests = share(h["X-Ratelimit-Remaining-Requests"], h["X-Ratelimit-Limit-Requests"])
	s.RemainingTokens = share(h["X-Ratelimit-Remaining-Tokens"], h["X-Ratelimit-Limit-Tokens"])
	s.Reset = reset(h, now, s)
	if n, rest, ok := leadingNumber(strings.TrimSpace(first(h["X-Ratelimit-Limit-Tokens"]))); ok && rest == "" {
		s.LimitTokens = int(min(n, maxLimit))
	}
	if v, ok := parsePercent(first(h["Azure-Openai-Deployment-Utilization"])); ok {
		s.Utilization = v
	}
	return s
}

// retryAfter prefers the milliseconds, which Azure documents as the exact wait
// where it sends both. Of several values in one header the longest counts.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	longest, said := time.Duration(0), false
	for _, name := range [...]string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		for _, v := range h[name] {
			if d, ok := parseCount(v, time.Millisecond); ok {
				longest, said = max(longest, d), true
			}
		}
		if longest > 0 {
			return longest, true
		}
	}
	for _, v := range h["Retry-After"] {
		if d, ok := parseWait(v); ok {
			longest, said = max(longest, d), true
		} else if d, ok := parseDate(v, h, now); ok {
			longest, said = max(longest, d), true
		}
	}
	return longest, said
}

// parseDate turns a date into a wait. The answer's own Date is the reference
// where there is one, so that the clocks of two machines are not compared.
func parseDate(v string, h http.Header, now time.Time) (time.Duration, bool) {
	if len(v) > maxText {
		return 0, false
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(first(h["Date"])); err == nil {
		now = sent
	}
	return min(max(0, at.Sub(now)), MaxWait), true
}

// reset returns the wait for the limit that is exhausted; where neither limit,
// or both, are known to be, the longer wait counts.
func reset(h http.Header, now time.Time, s Signals) time.Duration {
	requests := parseReset(first(h["X-Ratelimit-Reset-Requests"]), now)
	tokens := parseReset(first(h["X-Ratelimit-Reset-Tokens"]), now)
	switch {
	case requests > 0 && s.RemainingRequests == 0 && s.RemainingTokens != 0:
		return requests
	case tokens > 0 && s.RemainingTokens == 0 && s.RemainingRequests != 0:
		return tokens
	}
	return max(requests, tokens)
}

// unixFrom is where a bare number stops being a count of seconds and is a Unix
// time, as some servers send it: 10^9 s are 31 years, and the year 2001.
const unixFrom = 1_000_000_000

func parseReset(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if n, rest, ok := leadingNumber(v); ok && rest == "" && n >= unixFrom {
		return min(max(0, secondsUntil(n, now)), MaxWait)
	}
	d, _ := parseWait(v)
	return d
}

func secondsUntil(unix float64, now time.Time) time.Duration {
	return scale(unix-float64(now.Unix()), time.Second)
}

// share returns remaining ÷ limit, -1 where that cannot be said.
func share(remaining, limit []string) float64 {
	left, rest, ok := leadingNumber(strings.TrimSpace(first(remaining)))
	if !ok || rest != "" {
		return -1
	}
	if left == 0 {
		return 0
	}
	all, rest, ok := leadingNumber(strings.TrimSpace(first(limit)))
	if !ok || rest != "" || all <= 0 {
		return -1
	}
	return min(left/all, 1)
}

// parsePercent reads "12.3%"; the sign may be missing.
func parsePercent(v string) (float64, bool) {
	n, rest, ok := leadingNumber(strings.TrimSpace(v))
	if !ok || strings.TrimSpace(strings.TrimPrefix(rest, "%")) != "" {
		return 0, false
	}
	return min(n/100, maxUtilization), true
}

// parseWait reads seconds ("10", "1.5") or units ("6m0s", "250ms", "1d2h").
func parseWait(v string) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if d, ok := parseCount(v, time.Second); ok {
		return d, true
	}
	if v == "" || len(v) > maxText {
		return 0, false
	}
	total := time.Duration(0)
	for v != "" {
		n, rest, ok := leadingNumber(v)
		if !ok {
			return 0, false
		}
		unit, after, ok := leadingUnit(rest)
		if !ok {
			return 0, false
		}
		total = min(total+scale(n, unit), MaxWait) // both terms are at most MaxWait: no overflow
		v = after
	}
	return total, true
}

func parseCount(v string, unit time.Duration) (time.Duration, bool) {
	n, rest, ok := leadingNumber(strings.TrimSpace(v))
	if !ok || rest != "" {
		return 0, false
	}
	return scale(n, unit), true
}

// scale returns n units within 0…MaxWait.
func scale(n float64, unit time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	if n >= float64(MaxWait)/float64(unit) {
		return MaxWait
	}
	return time.Duration(math.Round(n * float64(unit)))
}

// maxText bounds a value that is worth reading: the longest good form is a date
// of 33 characters.
const maxText = 64

// leadingNumber reads digits with at most one point. Signs, exponents, "NaN" and
// "Inf" are no numbers here: no honest header holds them.
func leadingNumber(v string) (n float64, rest string, ok bool) {
	if len(v) > maxText {
		return 0, v, false
	}
	i, digits, unit := 0, 0, 0.0
	for ; i < len(v); i++ {
		c := v[i]
		if c == '.' && unit == 0 {
			unit = 1
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		if unit == 0 {
			n = n*10 + float64(c-'0')
		} else {
			unit /= 10
			n += float64(c-'0') * unit
		}
	}
	return n, v[i:], digits > 0
}

func leadingUnit(v string) (unit time.Duration, rest string, ok bool) {
	for _, u := range [...]struct {
		name string
		unit time.Duration
	}{ // "ms" before "m": the longer name first
		{"ms", time.Millisecond},
		{"us", time.Microsecond},
		{"µs", time.Microsecond},
		{"ns", time.Nanosecond},
		{"d", 24 * time.Hour},
		{"h", time.Hour},
		{"m", time.Minute},
		{"s", time.Second},
	} {
		if rest, ok := strings.CutPrefix(v, u.name); ok {
			return u.unit, rest, true
		}
	}
	return 0, v, false
}

func first(vs []string) string {
	if len(vs) == 0 {
		return ""
	}
	return vs[0]
}
