package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// dial dials an admitted target as the boundary eu does.
func (a admitted) dial(t *testing.T, d upstream.Dialer) error {
	t.Helper()
	d.Boundary = "eu"
	conn, err := d.Dial(t.Context(), a.target(t).Target, time.Second)
	if conn != nil {
		_ = conn.Close()
	}
	return err
}

// private is a backend in a network of its own.
func private() admitted {
	return admitted{endpoint: "https://swc.openai.azure.com", addresses: "[10.20.0.0/24]"}
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
			err := private().dial(t, upstream.Dialer{Resolver: found, Connect: d.connect})
			if _, ok := errors.AsType[*upstream.DialError](err); !ok || len(d.dialled()) != 0 {
				t.Errorf("dialled %v, %v", d.dialled(), err)
			}
		})
	}
}

// What was checked is what is dialled: the name is looked up once, and the
// addresses that were found are used as literals.
func TestDialsWhatWasChecked(t *testing.T) {
	var d trap
	_ = private().dial(t, upstream.Dialer{Resolver: addresses("10.20.0.4", "::ffff:10.20.0.5"), Connect: d.connect})
	if got := d.dialled(); len(got) != 2 || got[0] != "10.20.0.4:443" || got[1] != "10.20.0.5:443" {
		t.Errorf("dialled %v", got)
	}
}

// P1: a loopback endpoint, which only tests may have, leads to loopback only.
func TestP1LoopbackNameLeadsNowhereElse(t *testing.T) {
	var d trap
	err := admitted{endpoint: "http://localhost:1"}.dial(t, upstream.Dialer{Resolver: addresses("10.20.0.4"), Connect: d.connect})
	if got := d.dialled(); len(got) != 0 || err == nil {
		t.Errorf("dialled %v, %v", got, err)
	}
}

// P1: neither the dialer nor the pools take a target of another boundary, nor
// one that no fence has admitted.
func TestP1ForeignTargets(t *testing.T) {
	var d trap
	dialer := upstream.Dialer{Boundary: "eu", Connect: d.connect}
	us := admitted{boundary: "us", endpoint: "http://127.0.0.1:1"}.target(t)
	for name, target := range map[string]geo.Target{"another boundary's": us.Target, "none": {}} {
		if _, err := dialer.Dial(t.Context(), target, time.Second); err == nil {
			t.Errorf("%s target is dialled", name)
		}
	}
	if _, err := (upstream.Dialer{Connect: d.connect}).Dial(t.Context(), geo.Target{}, time.Second); err == nil {
		t.Error("a dialer of no boundary dials the zero target")
	}
	u := newPools(t, dialer)
	if _, err := send(t, u, us); err == nil {
		t.Error("the pools take another boundary's target")
	}
	if got := d.dialled(); len(got) != 0 {
		t.Errorf("dialled %v", got)
	}
}

// send makes a request of no body.
func send(t *testing.T, u *upstream.Pools, target *policy.Target) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.Key.Origin, nil)
	if err != nil {
		t.Fatal(err)
	}
	return u.Send(r, target, upstream.Limits{Connect: time.Second})
}

// The environment of a process must not lead requests elsewhere.
func TestProxyVariablesAreIgnored(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.9:9")
	}
	var d trap
	u := newPools(t, upstream.Dialer{Resolver: addresses("10.20.0.4"), Connect: d.connect})
	_, err := send(t, u, private().target(t))
	if got := d.dialled(); len(got) != 1 || got[0] != "10.20.0.4:443" || err == nil {
		t.Errorf("dialled %v, %v", got, err)
	}
}

// The limit of a dial bounds the look-up as well.
func TestSlowNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d trap
		start := time.Now()
		err := private().dial(t, upstream.Dialer{Resolver: stuck{}, Connect: d.connect})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second || len(d.dialled()) != 0 {
			t.Errorf("after %v: %v, dialled %v", took, err, d.dialled())
		}
	})
}

type stuck struct{}

func (stuck) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
