//go:build linux

package processtest

import (
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// P9: a rolling restart of a whole stamp under load drops nothing: no request
// fails, and every stream that began on a gateway that is told to stop brings
// all its events. The streams are longer than the notice, so that each drain has
// some to wait for.
func TestP9RollingRestart(t *testing.T) {
	for _, tt := range []struct {
		name, protocol string
		tls            bool
	}{
		{"HTTP/1.1", "HTTP/1.1", false},
		{"HTTP/2 over TLS", "HTTP/2.0", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := restartAll(t, tt.tls)
			if l.protocols[tt.protocol] == 0 {
				t.Errorf("protocols %v, want %s", l.protocols, tt.protocol)
			}
		})
	}
}

func restartAll(t *testing.T, tls bool) *load {
	const tokens = 60
	s := startStamp(t, stampOptions{
		Options: e2e.Options{Gateways: 3, TLS: tls, Configure: func(c *gateway.Config) { c.HTTP2 = tls }, Latency: azuresim.Latency{PerToken: 25 * time.Millisecond, Tokens: tokens}},
		notice:  time.Second, timeout: 30 * time.Second,
	})
	b := startBalancer(t, s.processes)
	l := newLoad(t, s, b.pick)
	l.run(4, plainCall())
	l.run(6, streamCall(tokens))
	l.run(2, embedCall())
	e2e.Await(t, "the load runs", func() bool { return l.total() > 30 })
	for _, p := range s.processes {
		s.restart(p)
		e2e.Await(t, "the balancer sends to "+p.name, func() bool { return b.sendsTo(p) })
		for _, q := range s.processes {
			s.awaitMembers(q, len(s.processes))
		}
	}
	before := l.total()
	e2e.Await(t, "the load goes on", func() bool { return l.total() > before+30 })
	l.end()
	if f := l.failures(); len(f) > 0 {
		t.Errorf("%d of %d requests failed; the first: %v", len(f), len(f)+l.total(), f[:min(len(f), 5)])
	}
	t.Logf("requests, none of which failed: %v", l.done)
	for kind, n := range map[string]int{"plain": 10, "stream": 10, "embedding": 10} {
		if l.done[kind] < n {
			t.Errorf("%d calls of kind %s, want at least %d", l.done[kind], kind, n)
		}
	}
	return l
}

// restart ends the gateway as a service manager does, and starts it again.
func (s *stamp) restart(p *process) {
	p.t.Helper()
	st, ok := p.status()
	if !ok {
		p.t.Errorf("%s has no status", p.name)
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if err := p.awaitExit(); err != nil {
		p.t.Errorf("%s ended: %v", p.name, err)
	}
	drained := time.Since(began)
	p.start()
	p.awaitReady()
	p.t.Logf("%s: %d requests ran at SIGTERM; ended after %v, ready again after %v",
		p.name, st.InFlight, drained.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}
