package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
	"github.com/stampgate/stampgate/geo"
)

// An operator who hangs up in the middle must not leave it open whether the
// policy took effect: a write that has begun is carried through.
func TestAPublicationIsCarriedThroughWhenTheCallerHangsUp(t *testing.T) {
	t.Parallel()
	writing, gone := make(chan struct{}), make(chan struct{})
	b := serveWith(t, apitest.Config{Store: func(_ geo.Boundary, c *store.Config) {
		var transactions atomic.Int32
		c.Intercept = func(ctx context.Context, method string, call func(context.Context) error) error {
			if strings.HasSuffix(method, "KV/Txn") && transactions.Add(1) == 2 { // the first one reads
				close(writing)
				<-gone
			}
			return call(ctx)
		}
	}})
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	source := apitest.Policy(b.name, "payroll")
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		b.path("/policy"), apitest.Token, len(source), source)
	if err != nil {
		t.Fatal(err)
	}
	<-writing
	_ = conn.Close()
	close(gone)
	storetest.Eventually(t, "the policy is in force", func() bool { return b.get(t, "/policy").Status == http.StatusOK })
}

// A body that does not come whole is no policy, and is not held against the
// control plane.
func TestABodyThatBreaksOffIsRefused(t *testing.T) {
	t.Parallel()
	b := serve(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	source := apitest.Policy(b.name, "payroll")
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		b.path("/policy"), apitest.Token, len(source)+1, source)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
	b.get(t, "/policy").Refusal(t, http.StatusNotFound, client.CodeNotFound)
}

func TestWithoutEtcdACallSaysThatNothingWasChanged(t *testing.T) {
	t.Parallel()
	b, line := behind(t)
	b.publish(t, "payroll")
	line.Cut(true)
	for _, r := range routes {
		if r.rest == "/status" || r.rest == "/policy/validate" {
			continue
		}
		body := r.body
		if r.rest == "/policy" {
			body = string(apitest.Policy(b.name, "support"))
		}
		e := b.Call(t, apitest.Request{Method: r.method, Path: b.path(r.rest), Body: body}).
			Refusal(t, http.StatusServiceUnavailable, client.CodeUnavailable)
		if !strings.Contains(e.Message, "nothing was changed") || strings.Contains(e.Message, "lost by the test") {
			t.Errorf("%s %s: %q", r.method, r.rest, e.Message)
		}
	}
	b.post(t, "/policy/validate", string(apitest.Policy(b.name, "support"))).Into(t, http.StatusOK, &client.Verdict{})
	line.Cut(false)
	if serial, _ := b.inForce(t); serial != 1 || b.audited(t) != "admin publish policy 1" {
		t.Errorf("policy %d, %s", serial, b.audited(t))
	}
}

// The write took effect, its answer and all later ones were lost: the caller is
// told that it is open, and repeating the call finds out.
func TestAnOutcomeThatIsOpenIsSaidToBeAndARepeatSettlesIt(t *testing.T) {
	t.Parallel()
	var transactions atomic.Int32
	var lose atomic.Bool
	lose.Store(true)
	b := serveWith(t, apitest.Config{Store: func(_ geo.Boundary, c *store.Config) {
		c.Timing.BackoffMax = time.Millisecond
		c.Intercept = func(ctx context.Context, method string, call func(context.Context) error) error {
			n := int32(0)
			if strings.HasSuffix(method, "KV/Txn") {
				n = transactions.Add(1)
			}
			if !lose.Load() || transactions.Load() < 2 {
				return call(ctx)
			}
			if n == 2 {
				_ = call(ctx) // it arrives
			}
			return status.Error(codes.Aborted, "answer lost by the test")
		}
	}})
	source := string(apitest.Policy(b.name, "payroll"))
	e := b.post(t, "/policy?author=ann", source).Refusal(t, http.StatusServiceUnavailable, client.CodeUncertain)
	if !strings.Contains(e.Message, "policy 1 may or may not") || !strings.Contains(e.Message, "publish it again") {
		t.Errorf("message %q", e.Message)
	}
	if !strings.Contains(b.Log.String(), "outcome of a publication is unknown") {
		t.Errorf("the log says nothing:\n%s", b.Log)
	}
	lose.Store(false)
	var p client.Publication
	b.post(t, "/policy?author=ann", source).Into(t, http.StatusOK, &p)
	if p.Serial != 1 || !p.Unchanged {
		t.Errorf("repeated: %+v", p)
	}
}
