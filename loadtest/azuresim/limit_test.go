package azuresim

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestStandardLimitsCountInTheirWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(DeploymentConfig{SKU: "Standard", TokensPerMinute: 1000, RequestsPerMinute: 60})
		v := l.admit(time.Now(), 900)
		if !v.admitted || v.remainingTokens != 100 || v.remainingRequests != 59 {
			t.Fatalf("first: %+v", v)
		}
		time.Sleep(15 * time.Second)
		v = l.admit(time.Now(), 101)
		if v.admitted || v.limit != LimitTokens || v.wait != 45*time.Second {
			t.Fatalf("one token too many: %+v", v)
		}
		h := v.refusal(false)
		if h["retry-after"] != "45" || h["retry-after-ms"] != "45000" || h["x-ratelimit-reset-tokens"] != "45" || h["x-ratelimit-remaining-tokens"] != "100" {
			t.Errorf("headers %v", h)
		}
		time.Sleep(45*time.Second - time.Nanosecond)
		if l.admit(time.Now(), 101).admitted {
			t.Error("admits one nanosecond early")
		}
		time.Sleep(time.Nanosecond)
		if !l.admit(time.Now(), 101).admitted {
			t.Error("refuses in a new minute")
		}
	})
}

// Sixty a minute are ten in ten seconds: Azure does not let a minute's worth
// through at once.
func TestRequestsAreLimitedOverTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(DeploymentConfig{SKU: "Standard", RequestsPerMinute: 60})
		for n := range 10 {
			if !l.admit(time.Now(), 1).admitted {
				t.Fatalf("request %d is refused", n+1)
			}
		}
		time.Sleep(3 * time.Second)
		v := l.admit(time.Now(), 1)
		if v.admitted || v.limit != LimitRequests || v.wait != 7*time.Second || v.refusal(false)["x-ratelimit-reset-requests"] != "7" {
			t.Errorf("eleventh: %+v", v)
		}
		time.Sleep(7 * time.Second)
		if !l.admit(time.Now(), 1).admitted {
			t.Error("refuses after ten seconds")
		}
	})
}

func TestProvisionedIsFullAndLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(DeploymentConfig{SKU: "ProvisionedManaged", PTU: 10, TokensPerMinutePerPTU: 600}) // 100 tokens a second
		if v := l.admit(time.Now(), 3000); !v.admitted || v.headers(true)["azure-openai-deployment-utilization"] != "50.0%" {
			t.Fatalf("half: %+v", v)
		}
		if v := l.admit(time.Now(), 3200); !v.admitted {
			t.Fatalf("below its brim it admits: %+v", v)
		}
		v := l.admit(time.Now(), 1)
		if v.admitted || v.wait != 2001*time.Millisecond {
			t.Fatalf("full: %+v", v)
		}
		h := v.refusal(true)
		if h["retry-after"] != "3" || h["retry-after-ms"] != "2001" || h["x-ratelimit-remaining-tokens"] != "" || h["azure-openai-deployment-utilization"] != "103.3%" {
			t.Errorf("headers %v", h)
		}
		l.settle(3200, 1000) // the answer was shorter than it might have been
		if v := l.admit(time.Now(), 1); !v.admitted {
			t.Errorf("after settling: %+v", v)
		}
	})
}

// Whoever waits as long as told is admitted, if nobody else came: a gateway
// relies on that.
func TestTheNamedWaitIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := DeploymentConfig{
			SKU:                   rapid.SampledFrom([]string{"Standard", "ProvisionedManaged"}).Draw(t, "sku"),
			TokensPerMinute:       rapid.IntRange(100, 10_000).Draw(t, "tpm"),
			RequestsPerMinute:     rapid.IntRange(1, 100).Draw(t, "rpm"),
			PTU:                   rapid.IntRange(1, 100).Draw(t, "ptu"),
			TokensPerMinutePerPTU: rapid.IntRange(100, 3000).Draw(t, "perPTU"),
		}
		l := newLimiter(d)
		now := time.Unix(1_000_000, 0)
		for range rapid.IntRange(1, 50).Draw(t, "requests") {
			cost := rapid.IntRange(1, 100).Draw(t, "cost")
			v := l.admit(now, cost)
			if !v.admitted {
				if v.wait <= 0 || v.wait > time.Minute+time.Second {
					t.Fatalf("wait %v", v.wait)
				}
				now = now.Add(v.wait)
				if again := l.admit(now, cost); !again.admitted && again.limit == v.limit {
					t.Fatalf("refused again after %v: %+v", v.wait, again)
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "gapMS")) * time.Millisecond)
		}
	})
}

// FuzzParseBody: no body makes it fail, a refusal is always a 400 with valid
// JSON, and counts stay within their bounds.
func FuzzParseBody(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":"Hello!"}],"stream":true,"stream_options":{"include_usage":true}}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`,
		`{"input":["a","b"],"dimensions":3,"encoding_format":"base64"}`, `{"input":[1,2,3]}`, `{"input":[[1],[2,3]]}`,
		`{"prompt":"x","max_tokens":5,"n":2}`, `{"n":0}`, `{"max_tokens":1e2}`, `{"max_tokens":9223372036854775807}`, "\xff", `[]`, `null`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, refusal := parseBody(text)
		if refusal != nil {
			if refusal.status != 400 || !validJSON(refusal.body) {
				t.Fatalf("%d %s", refusal.status, refusal.body)
			}
			return
		}
		if len(p.Inputs) != len(p.InputTokens) || p.Choices < 1 || p.Choices > maxChoices || p.limitCost() < 0 || p.promptTokens() < 0 {
			t.Fatalf("%+v", p)
		}
	})
}

// FuzzFind: whatever the path, the lookup gives an operation of the table for
// this method or none.
func FuzzFind(f *testing.F) {
	for _, s := range []string{
		"/openai/deployments/d/chat/completions", "/openai/v1/embeddings", "/openai/v1", "/openai/models/a%2fb", "/openai/deployments//embeddings", "*", "/openai/v1/models/%zz",
	} {
		f.Add("POST", s)
		f.Add("GET", s)
	}
	table := operations()
	f.Fuzz(func(t *testing.T, method, path string) {
		m := find(table, method, path)
		if m.op == nil {
			return
		}
		if m.op.method != method || (m.v1 && m.op.v1 == "") || (!m.v1 && m.op.capability != "" && !m.op.upgrade && m.deployment == "") {
			t.Fatalf("%s %q gives %+v", method, path, m)
		}
	})
}
