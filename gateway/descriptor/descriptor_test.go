package descriptor_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/descriptor"
)

// Whatever the limit, what is kept back and what is given out fit into it, and who
// is let in can be served.
func TestAPlanFitsItsLimit(t *testing.T) {
	for _, limit := range []uint64{16, 64, 256, 1024, 4096, 65536, 1 << 20, 1 << 40} {
		p := descriptor.PlanFor(limit)
		kept := int(min(limit, 1<<30)) - p.In - p.Out
		if p.In != p.Out || p.In < 1 || kept < p.Extra+p.Admin || kept < int(min(limit/2, 48)) {
			t.Errorf("of %d: %+v, %d kept", limit, p, kept)
		}
	}
	if p := descriptor.PlanFor(0); p != (descriptor.Plan{}) {
		t.Errorf("of an unknown limit: %+v", p)
	}
}

func TestSlotsHoldNoMoreThanTheyHave(t *testing.T) {
	s := descriptor.NewSlots(2)
	for i, want := range []bool{true, true, false} {
		if got := s.Take(); got != want {
			t.Errorf("slot %d of 2: %t", i+1, got)
		}
	}
	if s.Used() != 2 {
		t.Errorf("%d of 2 used", s.Used())
	}
	s.Give()
	if !s.Take() {
		t.Error("a slot that was given back cannot be taken")
	}
	if none := descriptor.NewSlots(0); !none.Take() || none.Used() != 0 {
		t.Error("no limit limits")
	}
}

// serve answers every request with whether it came on an extra connection.
func serve(t *testing.T, l net.Listener) {
	t.Helper()
	srv := &http.Server{
		ConnContext: descriptor.ConnContext, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			extra := descriptor.Extra(r.Context())
			if extra {
				w.Header().Set("Connection", "close")
			}
			_, _ = fmt.Fprint(w, extra)
		}),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended: %v", err)
		}
	})
}

func open(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, address string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// Connections beyond the slots are let in and known as such; silent ones make room
// for a newer one, oldest first; when an ordinary one ends, its slot is free again.
func TestBeyondTheSlotsThereIsRoomForHealth(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slots := descriptor.NewSlots(2)
	serve(t, descriptor.NewListener(inner, slots, 2))
	address := inner.Addr().String()
	var full []net.Conn
	for range 2 + 10 { // two ordinary ones, and ten silent extra ones
		full = append(full, open(t, address))
	}
	for range 5 {
		if text, err := ask(t, address); err != nil || text != "true" {
			t.Errorf("beyond the slots: %q, %v", text, err)
		}
	}
	for i, c := range full[:10] { // of the extra ones at most two are left
		if i < 2 {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("extra connection %d is still there: %v", i, err)
		}
	}
	_ = full[0].Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		text, err := ask(t, address)
		if err == nil && text == "false" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no slot came free: %q, %v, %d used", text, err, slots.Used())
		}
	}
}

// A process that has no descriptor left accepts all the same: it gives up one that
// it holds for this. Accept never ends the server with such an error.
func TestAcceptSurvivesTheEndOfDescriptors(t *testing.T) {
	inner := &exhausted{closed: make(chan struct{}), fail: 3}
	var pairs []net.Conn
	for range 2 {
		ours, theirs := net.Pipe()
		inner.conns = append(inner.conns, theirs)
		pairs = append(pairs, ours)
	}
	l := descriptor.NewListener(inner, nil, 2)
	c, err := l.Accept()
	if err != nil || inner.fail != 0 {
		t.Fatalf("Accept: %v, %d failures left", err, inner.fail)
	}
	if !descriptor.Extra(descriptor.ConnContext(t.Context(), c)) {
		t.Error("what is accepted by giving something up is no extra connection")
	}
	_ = c.Close()
	if c, err = l.Accept(); err != nil || descriptor.Extra(descriptor.ConnContext(t.Context(), c)) {
		t.Errorf("with room again: %v", err)
	}
	_ = c.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, p := range pairs {
		_ = p.Close()
	}
}

type exhausted struct {
	fail   int
	conns  []net.Conn
	closed chan struct{}
}

func (e *exhausted) Accept() (net.Conn, error) {
	select {
	case <-e.closed:
		return nil, net.ErrClosed
	default:
	}
	if e.fail > 0 {
		e.fail--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	c := e.conns[0]
	e.conns = e.conns[1:]
	return c, nil
}

func (e *exhausted) Close() error   { close(e.closed); return nil }
func (e *exhausted) Addr() net.Addr { return &net.TCPAddr{} }

// Whoever has asked is not closed for newer connections that say nothing, though
// its answer takes longer than a silent one may stay: a machine may be busy.
func TestWhoHasAskedIsNotPushedOutBySilentOnes(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := descriptor.NewListener(inner, descriptor.NewSlots(1), 2)
	l.SetAskedTime(time.Minute)
	t.Cleanup(func() { _ = l.Close() })
	address := inner.Addr().String()
	open(t, address)
	asking := open(t, address)
	if _, err := asking.Write([]byte("GET /health/ready HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	var accepted []net.Conn
	for range 2 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, c)
	}
	for range 4 { // each takes the place of the silent one before it
		open(t, address)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	asked := accepted[1]
	_ = asked.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := asked.Read(make([]byte, 64)); err != nil || n == 0 {
		t.Errorf("who had asked: %d bytes, %v", n, err)
	}
}
