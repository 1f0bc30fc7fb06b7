package azuresim_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

func zerologNop() zerolog.Logger { return zerolog.Nop() }

// pipes is a listener without a network, for virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5), Port: 443} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// In virtual time latencies are exact, and everything ends with Close.
func TestLatencyIsExactInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		sim, err := azuresim.Start(t.Context(), azuresim.Config{Instances: []azuresim.InstanceConfig{
			instance("swc", func(c *azuresim.InstanceConfig) {
				c.Listener = l
				c.Latency = &azuresim.Latency{FirstToken: 300 * time.Millisecond, PerToken: 20 * time.Millisecond, Tokens: 11}
			}),
		}}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DialContext: l.dial, DisableKeepAlives: true}
		hc := &http.Client{Transport: tr}
		i := sim.Instance("swc")
		for body, want := range map[string]time.Duration{hello: 500 * time.Millisecond, helloEvent: 500 * time.Millisecond} {
			begin := time.Now()
			r, err := call{body: body}.do(t, hc, i.URL())
			if err != nil || r.err != nil {
				t.Fatal(err, r.err)
			}
			if d := time.Since(begin); d != want {
				t.Errorf("took %v, want %v", d, want)
			}
		}
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultStallMidStream, After: 2, Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if r, err := (call{body: helloEvent}).do(t, hc, i.URL()); err != nil || !strings.HasSuffix(r.text, "[DONE]\n\n") {
			t.Errorf("%v %q", err, r.text)
		}
		if d := time.Since(begin); d != time.Hour+500*time.Millisecond {
			t.Errorf("took %v", d)
		}
		// A given listener stays; the connections through it are ended.
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultRefuse, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if _, err := (call{}).do(t, hc, i.URL()); err == nil {
			t.Error("answers while it refuses")
		}
		time.Sleep(time.Minute + time.Second)
		if _, err := (call{}).do(t, hc, i.URL()); err != nil {
			t.Errorf("after its time: %v", err)
		}
		tr.CloseIdleConnections()
		_ = sim.Close()
	})
}
