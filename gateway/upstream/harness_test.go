package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// An admitted is a target that a fence has let through.
type admitted struct {
	boundary  string // eu if empty
	endpoint  string
	addresses string // declared by the backend: a YAML list
	probe     policy.Probe
}

func (a admitted) target(t *testing.T) *policy.Target {
	t.Helper()
	if a.boundary == "" {
		a.boundary = "eu"
	}
	if a.addresses == "" {
		a.addresses = "[]"
	}
	if a.probe == "" {
		a.probe = policy.ProbeModels
	}
	doc, err := policy.Decode(fmt.Appendf(nil, `
boundary: %s
residency: {countries: [SE, US]}
stamps: [{region: swedencentral}]
backends:
  - {name: b, region: swedencentral, endpoint: %q, addresses: %s, probe: %s, credential: {apiKeyFile: /run/key}, deployments: [{name: d, model: m, version: "1", sku: Standard}]}
routes: [{name: r, model: m, version: "1"}]
`, a.boundary, a.endpoint, a.addresses, a.probe))
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := policy.Compile(doc, policy.Options{Serial: 1, AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	for target := range snapshot.Targets() {
		return target
	}
	t.Fatal("no target")
	return nil
}

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

// A backend answers requests in memory, in a goroutine of its own for each
// connection, which the test's end awaits.
type backend struct {
	answer func(c net.Conn, r *http.Request) (goOn bool)

	wg    sync.WaitGroup
	conns int // used by one goroutine at a time
}

func newBackend(t *testing.T, answer func(net.Conn, *http.Request) bool) (upstream.Dialer, *backend) {
	b := &backend{answer: answer}
	t.Cleanup(b.wg.Wait)
	return upstream.Dialer{Connect: b.connect}, b
}

func (b *backend) connect(context.Context, netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	b.conns++
	b.wg.Go(func() {
		defer theirs.Close()
		br := bufio.NewReader(theirs)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if !b.answer(theirs, r) {
				return
			}
		}
	})
	return ours, nil
}

// says answers with fixed bytes and ends the connection.
func says(text string) func(net.Conn, *http.Request) bool {
	return func(c net.Conn, _ *http.Request) bool { _, _ = io.WriteString(c, text); return false }
}

// newPools are pools of the boundary eu.
func newPools(t *testing.T, d upstream.Dialer) *upstream.Pools {
	u := upstream.New("eu", d)
	t.Cleanup(u.Close)
	return u
}
