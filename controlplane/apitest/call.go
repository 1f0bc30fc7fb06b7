package apitest

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stampgate/stampgate/controlplane/client"
)

// A Request is one call of the API as it goes over the wire.
type Request struct {
	Method string // "" is GET
	Path   string
	Body   string
	Header http.Header // besides the token
	// Bare leaves out the token.
	Bare bool
}

// A Reply is what came back.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Call makes a request and reads the whole answer.
func (s *Server) Call(t testing.TB, r Request) Reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, s.URL+r.Path, strings.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Bare {
		req.Header.Set("Authorization", "Bearer "+Token)
	}
	maps.Copy(req.Header, r.Header)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Reply{resp.StatusCode, resp.Header, string(text)}
}

// Into reads a success into a value of the wire, strictly: a field that the
// client's types do not know is a fault.
func (r Reply) Into(t testing.TB, status int, v any) {
	t.Helper()
	if r.Status != status || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %s, want %d in JSON: %s", r.Status, r.Header.Get("Content-Type"), status, r.Body)
	}
	dec := json.NewDecoder(strings.NewReader(r.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%s: %v", r.Body, err)
	}
}

// Refusal checks that the answer is an error of this status and code, with
// words, and returns its body.
func (r Reply) Refusal(t testing.TB, status int, code string) client.ErrorBody {
	t.Helper()
	var reply client.ErrorReply
	if err := json.Unmarshal([]byte(r.Body), &reply); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %s %q is no error of the API: %v", r.Status, r.Header.Get("Content-Type"), r.Body, err)
	}
	if r.Status != status || reply.Error.Code != code || reply.Error.Message == "" {
		t.Errorf("%d %s, want %d %s with a message", r.Status, r.Body, status, code)
	}
	return reply.Error
}

// A Line is an etcd's line to the API, which tests cut: Intercept is for a
// store's configuration.
type Line struct {
	cut   atomic.Bool
	muted atomic.Bool
}

// Cut loses every call from now on, before it is sent.
func (l *Line) Cut(on bool) { l.cut.Store(on) }

// Mute sends every call and loses its answer.
func (l *Line) Mute(on bool) { l.muted.Store(on) }

// Intercept implements store.Config.Intercept. The code is one that passes and
// that the etcd client, which would try for seconds, hands on at once.
func (l *Line) Intercept(ctx context.Context, _ string, call func(context.Context) error) error {
	if l.cut.Load() {
		return status.Error(codes.Aborted, "lost by the test")
	}
	err := call(ctx)
	if l.muted.Load() {
		return status.Error(codes.Aborted, "answer lost by the test")
	}
	return err
}
