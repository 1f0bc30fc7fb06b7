//go:build linux

package processtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// endless is an instance whose answers do not end within a test.
func endless() azuresim.Latency {
	return azuresim.Latency{PerToken: 50 * time.Millisecond, Tokens: 200_000}
}

// openStream begins a stream and returns it after its first event.
func (s *stamp) openStream(p *process) *bufio.Reader {
	p.t.Helper()
	req, err := newRequest(context.Background(), p, s.Key, streamCall(1))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		p.t.Fatalf("first line %q, %v", line, err)
	}
	return r
}

// A stream that runs longer than the drain may take ends so that nobody takes it
// for complete: with an error event, and a connection that breaks off. The exit
// is as it was asked for.
func TestStreamOutlivesDrain(t *testing.T) {
	s := startStamp(t, stampOptions{Options: e2e.Options{Latency: endless()}, notice: 50 * time.Millisecond, timeout: 500 * time.Millisecond})
	p := s.processes[0]
	stream := s.openStream(p)
	p.signal(syscall.SIGTERM)
	rest, err := io.ReadAll(stream)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want a connection that breaks off", err)
	}
	last := string(rest[bytes.LastIndex(rest, []byte("data: ")):])
	if !strings.HasPrefix(last, `data: {"error":`) || !strings.Contains(last, `"draining"`) || !strings.HasSuffix(last, "\n\n") {
		t.Errorf("last event %q, want an error event that says draining", last)
	}
	if bytes.Contains(rest, []byte("[DONE]")) {
		t.Error("the stream says that it is complete")
	}
	if err := p.awaitExit(); err != nil {
		t.Errorf("the gateway ended: %v; want exit code 0", err)
	}
}

// A second signal means now: the drain waits for nobody any more.
func TestSecondSignalCutsDrainShort(t *testing.T) {
	for _, tt := range []struct {
		name            string
		notice, timeout time.Duration
	}{
		{"during the notice", time.Hour, time.Hour},
		{"while streams finish", time.Millisecond, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startStamp(t, stampOptions{Options: e2e.Options{Latency: endless()}, notice: tt.notice, timeout: tt.timeout})
			p := s.processes[0]
			stream := s.openStream(p)
			p.signal(syscall.SIGTERM)
			e2e.Await(t, "the drain begins", func() bool { return p.health("/health/ready") != http.StatusOK })
			if tt.notice < time.Second {
				e2e.Await(t, "the listener closes", func() bool { return p.health("/health/live") == 0 })
			}
			p.signal(syscall.SIGTERM)
			if err := p.awaitExit(); err != nil {
				t.Errorf("the gateway ended: %v; want exit code 0", err)
			}
			rest, err := io.ReadAll(stream)
			if err == nil || !bytes.Contains(rest, []byte(`"draining"`)) {
				t.Errorf("the stream ended with %v and without an event that says draining", err)
			}
		})
	}
}

// P10: SIGQUIT writes every goroutine to stderr, none of the secrets that are in
// memory, and the process goes on, also while it drains.
func TestQuitDumpsAndGoesOn(t *testing.T) {
	s := startStamp(t, stampOptions{Options: e2e.Options{Latency: endless()}, notice: time.Hour, timeout: time.Hour})
	p := s.processes[0]
	stream := s.openStream(p)
	dumps := func() int { return bytes.Count(p.said(), []byte("goroutine dump ")) }
	for n, name := range []string{"serving", "draining"} {
		if name == "draining" {
			p.signal(syscall.SIGTERM)
			e2e.Await(t, "the drain begins", func() bool { return p.health("/health/ready") != http.StatusOK })
		}
		p.signal(syscall.SIGQUIT)
		e2e.Await(t, "a dump while "+name, func() bool { return dumps() == n+1 })
		if line, err := stream.ReadString('\n'); err != nil {
			t.Fatalf("after SIGQUIT while %s: %q, %v", name, line, err)
		}
		if code := p.health("/health/vm"); code != http.StatusOK {
			t.Errorf("/health/vm answers %d after SIGQUIT while %s", code, name)
		}
	}
	e2e.Await(t, "the dump is whole", func() bool { return bytes.Contains(p.said(), []byte("gateway/serve.(*Pipeline).Serve")) })
	said := p.said()
	for what, secret := range map[string]string{
		"the client's key": s.Key, "a backend's key": "key-of-swedencentral-ptu", "the gossip key": "AAECAwQFBgcICQoLDA0ODxAR",
		"the prompt": "Say hello.",
	} {
		if bytes.Contains(said, []byte(secret)) {
			t.Errorf("%s is in what the gateway wrote", what)
		}
	}
	p.signal(syscall.SIGTERM)
	if err := p.awaitExit(); err != nil {
		t.Errorf("the gateway ended: %v; want exit code 0", err)
	}
}

// A service manager is told when the gateway serves, and when it stops.
func TestServiceManagerIsTold(t *testing.T) {
	s := startStamp(t, stampOptions{notice: 50 * time.Millisecond, timeout: time.Second, noStart: true})
	p := s.processes[0]
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	told := func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(e2e.Limit)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	p.env = []string{"NOTIFY_SOCKET=" + socket}
	p.start()
	if got := told(); got != "READY=1" {
		t.Errorf("told %q first, want READY=1", got)
	}
	if code := p.health("/health/ready"); code != http.StatusOK {
		t.Errorf("told READY=1, but /health/ready answers %d", code)
	}
	p.signal(syscall.SIGTERM)
	if got := told(); got != "STOPPING=1" {
		t.Errorf("told %q after SIGTERM, want STOPPING=1", got)
	}
	if err := p.awaitExit(); err != nil {
		t.Errorf("the gateway ended: %v", err)
	}
}
