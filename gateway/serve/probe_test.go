package serve_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/probe"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// first returns the target of the rig's first backend.
func (r *rig) first() *policy.Target {
	for t := range r.snapshot.Targets() {
		return t
	}
	r.t.Fatal("no target")
	return nil
}

// A probe asks for the list of models with our credential, over a kept
// connection, and carries nothing else.
func TestAProbeListsModelsOverAKeptConnection(t *testing.T) {
	b := newBackend(t, func(_ int, c net.Conn) bool {
		_, err := io.WriteString(c, answer("200 OK", jsonHeader, `{"data":[]}`))
		return err == nil
	})
	r := newRig(t, setup{endpoints: []string{b.url}})
	for range 5 {
		if got := r.probe(t.Context(), r.first()); got.Outcome != probe.Reached || got.Text != "" {
			t.Errorf("%+v", got)
		}
	}
	req, body := b.seen()
	if req.Method != http.MethodGet || req.URL.RequestURI() != "/openai/models?api-version=2024-10-21" || req.Header.Get("Api-Key") != ourKey || body != "" {
		t.Errorf("the backend got %s %s, %v, %q", req.Method, req.URL, req.Header, body)
	}
	if len(req.Header) != 2 || req.Header.Get("User-Agent") != "stampgate/test" {
		t.Errorf("a probe carries %v", req.Header)
	}
	if n := b.conns.Load(); n != 1 {
		t.Errorf("%d connections for five probes", n)
	}
	if r.rejected.Load() != 0 {
		t.Error("a probe told of a refused credential")
	}
}

// What each failure is called: no text of the backend is in it.
func TestAProbeNamesWhatWentWrong(t *testing.T) {
	for name, c := range map[string]struct {
		do   script
		want probe.Result
	}{
		"500":          {says(answer("500 Oops", jsonHeader, "secret")), probe.Result{Outcome: probe.ServerError, Text: "it answered 500"}},
		"401":          {says(answer("401 No", jsonHeader, "secret")), probe.Result{Outcome: probe.Unauthorized, Text: "it refuses our credential"}},
		"404":          {says(answer("404 None", jsonHeader, "secret")), probe.Result{Outcome: probe.Reached}},
		"no HTTP":      {says("secret\r\n\r\n"), probe.Result{Outcome: probe.NoAnswer, Text: "answer failed"}},
		"ends at once": {func(int, net.Conn) bool { return false }, probe.Result{Outcome: probe.NoAnswer, Text: "answer failed"}},
	} {
		r := newRig(t, setup{endpoints: []string{newBackend(t, c.do).url}})
		if got := r.probe(t.Context(), r.first()); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	r := newRig(t, setup{endpoints: []string{refusing(t)}})
	if got, want := r.probe(t.Context(), r.first()), (probe.Result{Outcome: probe.ConnectFailed, Text: "connect refused"}); got != want {
		t.Errorf("refused: %+v, want %+v", got, want)
	}
	synctest.Test(t, func(t *testing.T) {
		never := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:80"}, dialer: upstream.Dialer{Connect: never}})
		ctx, cancel := context.WithTimeout(t.Context(), probe.Timeout)
		defer cancel()
		if got, want := r.probe(ctx, r.first()), (probe.Result{Outcome: probe.ConnectFailed, Text: "connect timed out"}); got != want {
			t.Errorf("silent: %+v, want %+v", got, want)
		}
	})
}

// P1: a probe dials through the fence. An address that the boundary does not admit
// is not connected to, and a target of another boundary not at all.
func TestP1AProbeDialsThroughTheFence(t *testing.T) {
	for _, how := range []policy.Probe{policy.ProbeModels, policy.ProbeConnect} {
		dialled := 0
		dialer := upstream.Dialer{Resolver: liar{netip.MustParseAddr("203.0.113.9")}, Connect: func(context.Context, netip.AddrPort) (net.Conn, error) {
			dialled++
			return nil, fmt.Errorf("dialled")
		}}
		r := newRig(t, setup{endpoints: []string{"https://b.openai.azure.com"}, addresses: `["10.1.0.0/16"]`, dialer: dialer})
		target := *r.first()
		target.Probe = how
		if got := r.probe(t.Context(), &target); got.Outcome != probe.ConnectFailed || dialled != 0 {
			t.Errorf("%s: %+v after %d dials", how, got, dialled)
		}
		us := newRig(t, setup{boundary: "us", endpoints: []string{"https://b.openai.azure.com"}, addresses: `["10.1.0.0/16"]`, dialer: dialer})
		foreign := *us.first()
		foreign.Probe = how
		if got := r.probe(t.Context(), &foreign); got.Outcome != probe.ConnectFailed || dialled != 0 {
			t.Errorf("%s of another boundary: %+v after %d dials", how, got, dialled)
		}
	}
}

// A backend that sends without end, or drips, holds a probe for its time and no
// more bytes than its bound.
func TestAProbeIsBoundedInTimeAndBody(t *testing.T) {
	endless := newBackend(t, func(_ int, c net.Conn) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 64<<10)); err != nil {
				return false
			}
		}
	})
	r := newRig(t, setup{endpoints: []string{endless.url}})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := r.probe(ctx, r.first()); got.Outcome != probe.Reached || ctx.Err() != nil {
		t.Errorf("endless: %+v, %v", got, ctx.Err())
	}
	synctest.Test(t, func(t *testing.T) {
		dialer, _ := memory(t, func(_ int, c net.Conn) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			for {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(c, "x"); err != nil {
					return false
				}
			}
		})
		r := newRig(t, setup{endpoints: []string{"http://127.0.0.1:80"}, dialer: dialer})
		ctx, cancel := context.WithTimeout(t.Context(), probe.Timeout)
		defer cancel()
		began := time.Now()
		if got := r.probe(ctx, r.first()); got.Outcome != probe.Reached || time.Since(began) > probe.Timeout {
			t.Errorf("dripping: %+v after %v", got, time.Since(began))
		}
	})
}
