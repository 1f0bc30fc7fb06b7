package e2e_test

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// A throttling is one 429 that one gateway of three saw, and what followed.
type throttling struct {
	sent    int           // by the others, before they heard
	silence time.Duration // from the 429 to the start of the last request
}

// throttleOnce has the provisioned target refuse a single request, while all
// gateways send to it, and waits until the whole stamp leaves it alone.
func throttleOnce(t testing.TB, s *e2e.Stack, tr *traffic) throttling {
	t.Helper()
	ptu := s.Sim.Instance("swedencentral-ptu")
	ptu.ClearRecords()
	setFault(t, s, "swedencentral-ptu", azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "20", Count: 1})
	for _, g := range s.Gateways {
		s.Await(g.Name+" gates the target", func() bool { return target(s, g, "swedencentral-ptu").Gate > 0 })
	}
	tr.more(s, 30) // what was decided before the last gateway heard has arrived
	records := calls(ptu)
	var refused time.Time
	for _, r := range records {
		if r.Status == 429 {
			if !refused.IsZero() {
				t.Fatal("two requests were refused")
			}
			refused = r.End
		}
	}
	if refused.IsZero() {
		t.Fatal("no request was refused")
	}
	var out throttling
	for _, r := range after(records, refused) {
		out.sent++
		out.silence = max(out.silence, r.Start.Sub(refused))
	}
	return out
}

func throttleStack(t testing.TB) (*e2e.Stack, *traffic) {
	s := e2e.Start(t, e2e.Options{Gateways: 3, Gossip: true, Latency: azuresim.Latency{Tokens: 1}})
	tr := startTraffic(t, s, s.Gateways...)
	tr.more(s, 30)
	return s, tr
}

// P5: of a 429 that one gateway saw all of the stamp know within a gossip round,
// and leave the target alone until it said. A caller makes at most 100 calls a
// second, so that two gateways that knew nothing would send 200 in a second.
func TestP5ThrottleIsKnownToTheStamp(t *testing.T) {
	s, tr := throttleStack(t)
	got := throttleOnce(t, s, tr)
	t.Logf("a 429 at one gateway: the other two sent %d more requests, the last %v after it", got.sent, got.silence.Round(time.Millisecond))
	if got.sent > 200 {
		t.Errorf("the others sent %d requests after the 429, want at most 200: a second's worth", got.sent)
	}
	ptu := s.Sim.Instance("swedencentral-ptu")
	ptu.ClearRecords()
	tr.more(s, 150)
	if n := len(calls(ptu)); n != 0 {
		t.Errorf("the gated target got %d requests", n)
	}
	tr.wantAllServed(t)
}

// BenchmarkThrottleSilence measures how long the stamp takes, and how many
// requests it still sends, until a target that refused one is left alone.
func BenchmarkThrottleSilence(b *testing.B) {
	var sent, rounds float64
	var silence, worst time.Duration
	for b.Loop() {
		b.StopTimer()
		s, tr := throttleStack(b)
		b.StartTimer()
		got := throttleOnce(b, s, tr)
		b.StopTimer()
		tr.end()
		sent, rounds = sent+float64(got.sent), rounds+1
		silence, worst = silence+got.silence, max(worst, got.silence)
		b.StartTimer()
	}
	b.ReportMetric(sent/rounds, "requests-after-429")
	b.ReportMetric(silence.Seconds()*1000/rounds, "ms-to-silence")
	b.ReportMetric(float64(worst.Milliseconds()), "ms-to-silence-worst")
}
