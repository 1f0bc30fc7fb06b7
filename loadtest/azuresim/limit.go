package azuresim

import (
	"math"
	"strconv"
	"sync"
	"time"
)

// The windows in which Azure enforces the limits of standard deployments.
const (
	minuteWindow  = time.Minute
	requestWindow = 10 * time.Second // requests per minute are enforced over a sixth of one
)

// A limiter counts a deployment's use against its limits. It is a plain
// function of its arguments apart from the lock.
type limiter struct {
	mu sync.Mutex // guards the fields below

	tokensPerMinute   int
	requestsPerMinute int
	tokens            window // of a minute
	requests          window // of a minute, for the headers
	burst             window // of ten seconds, for the decision

	provisioned bool
	capacity    float64 // tokens per minute of all units
	level       float64 // tokens not yet leaked away
	levelAt     time.Time
}

// A window counts what was used since it began.
type window struct {
	start time.Time
	used  int
}

// at begins a new window if the old one is over.
func (w *window) at(now time.Time, length time.Duration) *window {
	if w.start.IsZero() || now.Sub(w.start) >= length {
		*w = window{start: now}
	}
	return w
}

// left is how long until a window ends.
func (w *window) left(now time.Time, length time.Duration) time.Duration {
	return length - now.Sub(w.start)
}

// A verdict is a limiter's decision, with what the headers say about it.
type verdict struct {
	admitted bool
	limit    string        // LimitTokens or LimitRequests if not
	wait     time.Duration // until the next try may pass, if not

	limitTokens, remainingTokens     int
	limitRequests, remainingRequests int
	utilization                      float64 // per cent, provisioned only
}

func newLimiter(d DeploymentConfig) *limiter {
	return &limiter{
		tokensPerMinute:   d.TokensPerMinute,
		requestsPerMinute: d.RequestsPerMinute,
		provisioned:       d.provisioned(),
		capacity:          float64(d.PTU * d.TokensPerMinutePerPTU),
	}
}

// admit counts a request that may cost so many tokens: Azure decides at
// arrival, by the prompt's estimate and the most that may be generated.
func (l *limiter) admit(now time.Time, cost int) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.provisioned {
		return l.admitProvisioned(now, cost)
	}
	return l.admitStandard(now, cost)
}

func (l *limiter) admitStandard(now time.Time, cost int) verdict {
	tokens := l.tokens.at(now, minuteWindow)
	requests := l.requests.at(now, minuteWindow)
	burst := l.burst.at(now, requestWindow)
	v := verdict{admitted: true}
	// Refused requests count too.
	requests.used++
	burst.used++
	switch {
	case l.requestsPerMinute > 0 && burst.used > (l.requestsPerMinute+5)/6:
		v = verdict{limit: LimitRequests, wait: burst.left(now, requestWindow)}
	case l.tokensPerMinute > 0 && tokens.used+cost > l.tokensPerMinute:
		v = verdict{limit: LimitTokens, wait: tokens.left(now, minuteWindow)}
	default:
		tokens.used += cost
	}
	v.limitTokens, v.remainingTokens = l.tokensPerMinute, max(0, l.tokensPerMinute-tokens.used)
	v.limitRequests, v.remainingRequests = l.requestsPerMinute, max(0, l.requestsPerMinute-requests.used)
	return v
}

// admitProvisioned is a leaking bucket that holds one minute's capacity: a
// request passes while it is below its brim and may then fill it beyond.
func (l *limiter) admitProvisioned(now time.Time, cost int) verdict {
	leak := l.capacity / minuteWindow.Seconds()
	l.level = max(0, l.level-leak*now.Sub(l.levelAt).Seconds())
	l.levelAt = now
	if l.level >= l.capacity {
		over := (l.level - l.capacity) / leak
		wait := time.Duration(math.Ceil(over*1000)+1) * time.Millisecond
		return verdict{limit: LimitTokens, wait: wait, utilization: 100 * l.level / l.capacity}
	}
	l.level += float64(cost)
	return verdict{admitted: true, utilization: 100 * l.level / l.capacity}
}

// settle corrects a provisioned deployment by what was reserved and not used.
func (l *limiter) settle(reserved, used int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.provisioned {
		l.level = max(0, l.level-float64(reserved-used))
	}
}

// headers are those that tell a client how near a limit is.
func (v verdict) headers(provisioned bool) map[string]string {
	h := map[string]string{}
	if provisioned {
		h["azure-openai-deployment-utilization"] = strconv.FormatFloat(v.utilization, 'f', 1, 64) + "%"
		return h
	}
	if v.limitRequests > 0 {
		h["x-ratelimit-limit-requests"] = strconv.Itoa(v.limitRequests)
		h["x-ratelimit-remaining-requests"] = strconv.Itoa(v.remainingRequests)
	}
	if v.limitTokens > 0 {
		h["x-ratelimit-limit-tokens"] = strconv.Itoa(v.limitTokens)
		h["x-ratelimit-remaining-tokens"] = strconv.Itoa(v.remainingTokens)
	}
	return h
}

// refusal adds the headers of a 429.
func (v verdict) refusal(provisioned bool) map[string]string {
	h := v.headers(provisioned)
	secs := strconv.Itoa(wholeSeconds(v.wait))
	h["retry-after"] = secs
	h["retry-after-ms"] = strconv.FormatInt(v.wait.Milliseconds(), 10)
	switch {
	case provisioned:
	case v.limit == LimitRequests:
		h["x-ratelimit-reset-requests"] = secs
	default:
		h["x-ratelimit-reset-tokens"] = secs
	}
	return h
}
