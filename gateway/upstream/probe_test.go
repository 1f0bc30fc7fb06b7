package upstream_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/upstream"
)

const ourKey = "our-own-key"

// probes makes a probe of an admitted target with our credential.
func probes(ctx context.Context, u *upstream.Pools, target *policy.Target) probe.Result {
	return u.Probe(ctx, target, func(h http.Header) error {
		h.Set("User-Agent", "stampgate/test")
		h.Set("Api-Key", ourKey)
		return nil
	})
}

// near is a backend that the networks of tests lead to.
func near() admitted { return admitted{endpoint: "http://127.0.0.1:80"} }

// A probe asks for the list of models with our credential, over a kept
// connection, and carries nothing else.
func TestAProbeListsModelsOverAKeptConnection(t *testing.T) {
	var asked []*http.Request
	dialer, b := newBackend(t, func(c net.Conn, r *http.Request) bool {
		asked = append(asked, r)
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"data\":[]}")
		return err == nil
	})
	u, target := newPools(t, dialer), near().target(t)
	for range 5 {
		if got := probes(t.Context(), u, target); got.Outcome != probe.Reached || got.Text != "" {
			t.Errorf("%+v", got)
		}
	}
	u.Close()
	b.wg.Wait()
	if len(asked) != 5 || b.conns != 1 {
		t.Fatalf("%d requests on %d connections for five probes", len(asked), b.conns)
	}
	req := asked[4]
	if req.Method != http.MethodGet || req.URL.RequestURI() != "/openai/models?api-version=2024-10-21" || req.Header.Get("Api-Key") != ourKey || req.ContentLength != 0 {
		t.Errorf("the backend got %s %s, %v, %d bytes", req.Method, req.URL, req.Header, req.ContentLength)
	}
	if len(req.Header) != 2 || req.Header.Get("User-Agent") != "stampgate/test" {
		t.Errorf("a probe carries %v", req.Header)
	}
}

// What each failure is called: no text of the backend is in it.
func TestAProbeNamesWhatWentWrong(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(net.Conn, *http.Request) bool
		want probe.Result
	}{
		"500":          {says("HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret"), probe.Result{Outcome: probe.ServerError, Text: "it answered 500"}},
		"401":          {says("HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\nsecret"), probe.Result{Outcome: probe.Unauthorized, Text: "it refuses our credential"}},
		"404":          {says("HTTP/1.1 404 None\r\nContent-Length: 6\r\n\r\nsecret"), probe.Result{Outcome: probe.Reached}},
		"no HTTP":      {says("secret\r\n\r\n"), probe.Result{Outcome: probe.NoAnswer, Text: "answer failed"}},
		"ends at once": {says(""), probe.Result{Outcome: probe.NoAnswer, Text: "answer failed"}},
	} {
		dialer, _ := newBackend(t, c.do)
		if got := probes(t.Context(), newPools(t, dialer), near().target(t)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	nobody := func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	if got, want := probes(t.Context(), newPools(t, upstream.Dialer{Connect: nobody}), near().target(t)), (probe.Result{Outcome: probe.ConnectFailed, Text: "connect refused"}); got != want {
		t.Errorf("refused: %+v, want %+v", got, want)
	}
	synctest.Test(t, func(t *testing.T) {
		never := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		u := newPools(t, upstream.Dialer{Connect: never})
		ctx, cancel := context.WithTimeout(t.Context(), probe.Timeout)
		defer cancel()
		if got, want := probes(ctx, u, near().target(t)), (probe.Result{Outcome: probe.ConnectFailed, Text: "connect timed out"}); got != want {
			t.Errorf("silent: %+v, want %+v", got, want)
		}
	})
}

// P1: a probe dials through the fence. An address that the boundary does not admit
// is not connected to, and a target of another boundary not at all.
func TestP1AProbeDialsThroughTheFence(t *testing.T) {
	for _, how := range []policy.Probe{policy.ProbeModels, policy.ProbeConnect} {
		var d trap
		u := newPools(t, upstream.Dialer{Resolver: addresses("203.0.113.9"), Connect: d.connect})
		for _, boundary := range []string{"eu", "us"} {
			target := admitted{boundary: boundary, endpoint: "https://b.openai.azure.com", addresses: `["10.1.0.0/16"]`, probe: how}.target(t)
			if got := probes(t.Context(), u, target); got.Outcome != probe.ConnectFailed || len(d.dialled()) != 0 {
				t.Errorf("%s in %s: %+v, dialled %v", how, boundary, got, d.dialled())
			}
		}
	}
}

// A backend that sends without end, or drips, holds a probe for its time and no
// more bytes than its bound.
func TestAProbeIsBoundedInTimeAndBody(t *testing.T) {
	endless, _ := newBackend(t, func(c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 64<<10)); err != nil {
				return false
			}
		}
	})
	u, target := newPools(t, endless), near().target(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := probes(ctx, u, target); got.Outcome != probe.Reached || ctx.Err() != nil {
		t.Errorf("endless: %+v, %v", got, ctx.Err())
	}
	synctest.Test(t, func(t *testing.T) {
		dialer, _ := newBackend(t, func(c net.Conn, _ *http.Request) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			for {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(c, "x"); err != nil {
					return false
				}
			}
		})
		u := newPools(t, dialer)
		ctx, cancel := context.WithTimeout(t.Context(), probe.Timeout)
		defer cancel()
		began := time.Now()
		if got := probes(ctx, u, target); got.Outcome != probe.Reached || time.Since(began) > probe.Timeout {
			t.Errorf("dripping: %+v after %v", got, time.Since(began))
		}
	})
}
