package probe_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// What a region's backends do.
const (
	up      = iota
	refused // connections are refused, and kept ones end
	silent  // packets vanish
	failing // 500 to everything
)

const modelsList = `{"data":[{"id":"gpt-4o","object":"model"}],"object":"list"}`

// A world is a boundary of some regions, two backends and one gateway in each, in
// a bubble of virtual time: the real policy, registry, proxy, prober, machine and
// handler. Only the backends are played, on connections in memory.
type world struct {
	t        *testing.T
	snapshot *policy.Snapshot
	state    map[geo.RegionID]*atomic.Int32
	region   map[netip.AddrPort]geo.RegionID
	gates    map[geo.RegionID]*gateway
	probes   atomic.Int64 // that arrived at a backend
	status   atomic.Int32 // with which a well backend answers
	done     sync.WaitGroup
	conns    sync.WaitGroup
	end      chan struct{} // closed when the world ends: nothing vanishes any more
	stop     context.CancelFunc
}

// A gateway is one gateway's parts.
type gateway struct {
	world    *world
	region   geo.RegionID
	registry *targets.Registry
	pools    *upstream.Pools
	machine  *health.Machine
	handler  http.Handler
	counts   map[probe.Outcome]int
	draining atomic.Bool
	flips    atomic.Int32
	rises    atomic.Int32
}

func newWorld(t *testing.T, edit func(string) string, regions ...geo.RegionID) *world {
	t.Helper()
	w := &world{
		t: t, state: map[geo.RegionID]*atomic.Int32{}, region: map[netip.AddrPort]geo.RegionID{},
		gates: map[geo.RegionID]*gateway{}, end: make(chan struct{}),
	}
	w.status.Store(http.StatusOK)
	text := w.document(regions)
	if edit != nil {
		text = edit(text)
	}
	doc, err := policy.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if w.snapshot, err = policy.Compile(doc, policy.Options{Serial: 1, AllowLoopback: true}); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	for _, region := range regions {
		w.gates[region] = w.newGateway(ctx, region)
	}
	return w
}

// close ends everything, as a bubble wants it.
func (w *world) close() {
	w.stop()
	close(w.end)
	w.done.Wait()
	for _, g := range w.gates {
		g.pools.Close()
	}
	w.conns.Wait()
}

// document is the policy: a stamp that fails its health when only passive regions
// are left, so that the global router prefers a region whose own backends live.
func (w *world) document(regions []geo.RegionID) string {
	var stamps, backends strings.Builder
	for n, region := range regions {
		w.state[region] = &atomic.Int32{}
		fallback := ""
		for _, other := range regions {
			if other != region {
				fallback = "fallback: [" + string(other) + "], "
			}
		}
		fmt.Fprintf(&stamps, "  - {region: %s, %shealth: {onlyPassive: fail}}\n", region, fallback)
		for i := range 2 {
			address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(n + 1), byte(i + 1)}), 80)
			w.region[address] = region
			fmt.Fprintf(&backends, "  - {name: %s-%d, region: %s, endpoint: \"http://%s\", credential: {apiKeyFile: /run/key}, "+
				"deployments: [{name: gpt-4o, model: gpt-4o, version: \"1\", sku: Standard, tokensPerMinute: 1000}]}\n", region, i, region, address)
		}
	}
	return "boundary: eu\nresidency: {countries: [SE, NL, IE]}\nstamps:\n" + stamps.String() + "backends:\n" + backends.String() +
		"routes: [{name: gpt-4o, model: gpt-4o, version: \"1\"}]\n" +
		"clients: [{name: payroll, keys: [{sha256: " + strings.Repeat("0a", 32) + "}], routes: [gpt-4o]}]\n"
}

// ask probes with a credential that is always there.
func (g *gateway) ask(ctx context.Context, t *policy.Target) probe.Result {
	return g.pools.Probe(ctx, t, func(h http.Header) error {
		h.Set("Api-Key", "our-own-key")
		return nil
	})
}

func (w *world) newGateway(ctx context.Context, region geo.RegionID) *gateway {
	g := &gateway{world: w, region: region, registry: targets.New(region), machine: health.NewMachine(), counts: map[probe.Outcome]int{}}
	g.pools = upstream.New("eu", upstream.Dialer{Connect: w.connect})
	g.registry.Advance(w.snapshot)
	g.handler = health.NewHandler(health.Config{Machine: g.machine})
	prober := probe.New(probe.Config{
		Region: region, Registry: g.registry, Snapshot: func() *policy.Snapshot { return w.snapshot }, Ask: g.ask,
		Draining: g.draining.Load, Count: func(o probe.Outcome) { g.counts[o]++ }, IdleAfter: targets.IdleAfter,
	})
	w.done.Go(func() { prober.Run(ctx) })
	watch := health.NewWatch(health.WatchConfig{
		Machine: g.machine, Registry: g.registry, Region: region, Snapshot: func() *policy.Snapshot { return w.snapshot },
		CredentialsUsable: func(*policy.Snapshot) bool { return true },
		Draining:          g.draining.Load, RegionDrained: func() bool { return false },
	})
	w.done.Go(func() {
		tick := time.NewTicker(health.Period)
		defer tick.Stop()
		for last := health.Pass; ; {
			watch.Look(time.Now())
			if s := g.machine.Summary(); s.Stamp.Good() != last.Good() {
				last = s.Stamp
				g.flips.Add(1)
				if last.Good() {
					g.rises.Add(1)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return g
}

// code is what a router's probe gets.
func (g *gateway) code() int {
	rec := httptest.NewRecorder()
	g.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/health/stamp", nil))
	return rec.Code
}

// until waits for a code, and returns how long it took; -1: it never came.
func (g *gateway) until(code int, limit time.Duration) time.Duration {
	for began := time.Now(); time.Since(began) <= limit; time.Sleep(10 * time.Millisecond) {
		if g.code() == code {
			return time.Since(began)
		}
	}
	return -1
}

func (w *world) set(region geo.RegionID, state int32) { w.state[region].Store(state) }

// connect plays the network.
func (w *world) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	state := w.state[w.region[to]]
	switch state.Load() {
	case refused:
		return nil, errors.New("connection refused")
	case silent:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	w.conns.Go(func() {
		defer theirs.Close()
		w.serve(theirs, state)
	})
	return ours, nil
}

// serve plays a backend on one connection.
func (w *world) serve(c net.Conn, state *atomic.Int32) {
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		status := int(w.status.Load())
		switch state.Load() {
		case refused:
			return
		case silent: // until whoever asked gives up
			_, _ = br.ReadByte()
			return
		case failing:
			status = http.StatusInternalServerError
		}
		w.probes.Add(1)
		if req.URL.RequestURI() != "/openai/models?api-version=2024-10-21" || req.Header.Get("Api-Key") == "" {
			w.t.Errorf("a probe asked %s", req.URL)
		}
		if _, err := io.WriteString(c, fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(modelsList), modelsList)); err != nil {
			return
		}
	}
}

// A client calls five times a second at gateways that its router thinks well.
type client struct {
	sent, failed int
}

// call makes one request of a client at a gateway, as far as the registry sees it.
func (g *gateway) call(c *client, name string, rng *rand.Rand) {
	route, _ := g.world.snapshot.Route("gpt-4o")
	rules, _ := g.world.snapshot.Stamp(g.region)
	s := g.registry.Begin(targets.Request{Route: route, Stamp: rules, Region: g.region, Client: name, Stateless: true})
	c.sent++
	for {
		ticket, ok := s.Next(time.Now(), rng)
		if !ok {
			c.failed++
			return
		}
		o := targets.Outcome{Kind: targets.Success, FirstByte: 20 * time.Millisecond, Sent: true}
		switch g.world.state[ticket.Target.Region()].Load() {
		case refused:
			o = targets.Outcome{Kind: targets.ConnectFailed}
		case failing, silent:
			o = targets.Outcome{Kind: targets.ServerError, Sent: true}
		}
		ticket.Observe(time.Now(), o)
		if o.Kind == targets.Success {
			return
		}
		if !s.MayRetry(time.Now(), o) {
			c.failed++
			return
		}
	}
}
