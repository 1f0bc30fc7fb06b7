package serve_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// liar answers every look-up with the same addresses.
type liar []netip.Addr

func (l liar) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return l, nil }

func addresses(texts ...string) (l liar) {
	for _, text := range texts {
		l = append(l, netip.MustParseAddr(text))
	}
	return l
}

// A trap notes what is dialled, and lets nobody through.
type trap struct {
	mu     sync.Mutex // guards places
	places []string
}

func (d *trap) connect(_ context.Context, a netip.AddrPort) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places = append(d.places, a.String())
	return nil, errors.New("trapped")
}

func (d *trap) dialled() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.places
}

// P1: a name server that lies cannot lead a request out of the backend's declared
// addresses. One foreign address among good ones is enough to dial none.
func TestP1LyingNameServer(t *testing.T) {
	for name, found := range map[string]liar{
		"this machine":                     addresses("127.0.0.1"),
		"this machine in IPv6":             addresses("::1"),
		"the metadata service":             addresses("169.254.169.254"),
		"Azure's host channel":             addresses("168.63.129.16"),
		"another region's address":         addresses("10.30.0.4"),
		"a public address":                 addresses("20.50.60.70"),
		"the right one and a foreign one":  addresses("10.20.0.4", "10.30.0.4"),
		"a foreign one and the right one":  addresses("10.30.0.4", "10.20.0.4"),
		"the right one and this machine":   addresses("10.20.0.4", "::ffff:127.0.0.1"),
		"a foreign one in IPv6's clothes":  addresses("::ffff:10.30.0.4"),
		"a foreign one behind NAT64":       addresses("64:ff9b::a1e:4"),
		"nothing":                          addresses(),
		"the unspecified address":          addresses("0.0.0.0"),
		"an address just outside the list": addresses("10.20.1.0"),
	} {
		t.Run(name, func(t *testing.T) {
			var d trap
			r := newRig(t, setup{
				endpoints: []string{"https://swc.openai.azure.com"}, addresses: "[10.20.0.0/24]",
				dialer: upstream.Dialer{Resolver: found, Connect: d.connect},
			})
			w := newSink()
			res := r.serve(w, r.call(t.Context(), http.Header{}, plainBody))
			if places := d.dialled(); len(places) != 0 {
				t.Errorf("dialled %v", places)
			}
			if told(res).Status != http.StatusServiceUnavailable || told(res).Code != "no_backend_in_boundary" {
				t.Errorf("result %+v, refusal %+v", res, res.Refusal)
			}
		})
	}
}

// What was checked is what is dialled: the name is looked up once, and the
// addresses that were found are used as literals.
func TestDialsWhatWasChecked(t *testing.T) {
	var d trap
	r := newRig(t, setup{
		endpoints: []string{"https://swc.openai.azure.com"}, addresses: "[10.20.0.0/24]",
		dialer: upstream.Dialer{Resolver: addresses("10.20.0.4", "::ffff:10.20.0.5"), Connect: d.connect},
	})
	r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
	if got := d.dialled(); len(got) != 2 || got[0] != "10.20.0.4:443" || got[1] != "10.20.0.5:443" {
		t.Errorf("dialled %v", got)
	}
}

// P1: a loopback endpoint, which only tests may have, leads to loopback only.
func TestP1LoopbackNameLeadsNowhereElse(t *testing.T) {
	var d trap
	r := newRig(t, setup{
		endpoints: []string{"http://localhost:1"},
		dialer:    upstream.Dialer{Resolver: addresses("10.20.0.4"), Connect: d.connect},
	})
	r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
	if got := d.dialled(); len(got) != 0 {
		t.Errorf("dialled %v", got)
	}
}

// P1: neither the dialer nor the proxy takes a target of another boundary, nor
// one that no fence has admitted.
func TestP1ForeignTargets(t *testing.T) {
	var d trap
	dialer := upstream.Dialer{Boundary: "eu", Connect: d.connect}
	us := compile(t, setup{boundary: "us", endpoints: []string{"http://127.0.0.1:1"}})
	foreign := targetOf(t, us)
	for name, target := range map[string]geo.Target{"another boundary's": foreign, "none": {}} {
		if _, err := dialer.Dial(t.Context(), target, time.Second); err == nil {
			t.Errorf("%s target is dialled", name)
		}
	}
	if _, err := (upstream.Dialer{Connect: d.connect}).Dial(t.Context(), geo.Target{}, time.Second); err == nil {
		t.Error("a dialer of no boundary dials the zero target")
	}

	eu := newRig(t, setup{endpoints: []string{"http://127.0.0.1:1"}, dialer: upstream.Dialer{Connect: d.connect}})
	eu.registry.Advance(us)
	eu.snapshot = us // as if another boundary's policy had got in
	res := eu.serve(newSink(), eu.call(t.Context(), http.Header{}, plainBody))
	if told(res).Status != http.StatusServiceUnavailable {
		t.Errorf("result %+v", res)
	}
	if got := d.dialled(); len(got) != 0 {
		t.Errorf("dialled %v", got)
	}
}

func targetOf(t *testing.T, s *policy.Snapshot) geo.Target {
	t.Helper()
	route, ok := s.Route("gpt-4o")
	if !ok {
		t.Fatal("no route")
	}
	return route.Tiers("swedencentral")[0].Targets[0].Target
}

// The environment of a process must not lead requests elsewhere.
func TestProxyVariablesAreIgnored(t *testing.T) {
	spy := good(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, spy.url)
	}
	var d trap
	r := newRig(t, setup{
		endpoints: []string{"https://swc.openai.azure.com"},
		dialer:    upstream.Dialer{Resolver: addresses("10.20.0.4"), Connect: d.connect},
	})
	r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
	if got := d.dialled(); len(got) != 1 || got[0] != "10.20.0.4:443" || spy.conns.Load() != 0 {
		t.Errorf("dialled %v, %d connections to the proxy", got, spy.conns.Load())
	}
}

// The connect timeout bounds the look-up as well.
func TestSlowNameServer(t *testing.T) {
	r := newRig(t, setup{
		endpoints: []string{"https://swc.openai.azure.com"}, timeouts: "connect: 20ms, firstByte: 5s, idle: 5s, total: 20s",
		dialer: upstream.Dialer{Resolver: stuck{}, Connect: (&trap{}).connect},
	})
	res := r.serve(newSink(), r.call(t.Context(), http.Header{}, plainBody))
	if told(res).Code != "no_backend_in_boundary" {
		t.Errorf("result %+v", res)
	}
}

type stuck struct{}

func (stuck) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
