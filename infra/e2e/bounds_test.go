package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// saidUntilClosed sends text and returns what comes back until the other side
// ends the connection.
func saidUntilClosed(t *testing.T, url, text string) string {
	t.Helper()
	c := e2e.Dial(t, url)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %q the connection did not end: %v", said, err)
	}
	return string(said)
}

// quick are deadlines that a test can wait for.
func quick(c *gateway.Config) {
	c.Limits.HeadTimeout, c.Limits.BodyTimeout = policy.Duration(500*time.Millisecond), policy.Duration(500*time.Millisecond)
	c.Limits.WriteTimeout = policy.Duration(500 * time.Millisecond)
}

// A request that announces a body and stops sending is answered and its
// connection closed, whoever sends it and wherever to: a body that nobody reads
// does not keep an answer back.
func TestAnUnfinishedRequestIsAnsweredAndItsConnectionClosed(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Configure: quick})
	g := s.Gateways[0]
	for _, tt := range []struct {
		name, url, head string
		status          int
	}{
		{"with a key", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nContent-Length: 100\r\n\r\n{", 408},
		{"in chunks", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", 408},
		{"that waits to be asked", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", 408},
		{"without a key", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", 401},
		{"without a key, in chunks", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 401},
		{"an unknown path", g.URL, "POST /nowhere HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nContent-Length: 100\r\n\r\n", 404},
		{"an unknown path without a key", g.URL, "PUT /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 401},
		{"the list of models", g.URL, "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nContent-Length: 100\r\n\r\n", 200},
		{"too large", g.URL, "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nContent-Length: 100000000\r\n\r\n", 413},
		{"an upgrade", g.URL, "GET " + v1Session + " HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 100\r\n\r\n", 404},
		{"health", g.URL, "POST /health/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 405},
		{"health, GET", g.URL, "GET /health/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 200},
		{"all of the server", g.URL, "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 401},
		{"the admin listener", g.AdminURL, "GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 200},
		{"nowhere on the admin listener", g.AdminURL, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			said := saidUntilClosed(t, tt.url, tt.head)
			said = strings.TrimPrefix(said, "HTTP/1.1 100 Continue\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(said)), nil)
			if err != nil {
				t.Fatalf("no answer: %v in %q", err, said)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != tt.status || !resp.Close {
				t.Errorf("status %d, close %v; want %d and a close:\n%s", resp.StatusCode, resp.Close, tt.status, said)
			}
		})
	}
	// What stops inside its head has nothing to be answered.
	for _, url := range []string{g.URL, g.AdminURL} {
		for _, text := range []string{"", "G", "GET /health/ready HTTP/1.1\r\nHost: x\r\n"} {
			if said := saidUntilClosed(t, url, text); strings.HasPrefix(said, "HTTP/1.1 2") {
				t.Errorf("%q was answered: %q", text, said)
			}
		}
	}
	s.Await("nothing is held", func() bool { return metric(t, s, g, "stampgate_held_bytes") == 0 })
}

// The same over HTTP/2, where the stream alone ends.
func TestAnUnfinishedStreamIsAnswered(t *testing.T) {
	s := e2e.Start(t, e2e.Options{TLS: true, Configure: func(c *gateway.Config) { quick(c); c.HTTP2 = true }})
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, s)}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	for key, status := range map[string]int{s.Key: http.StatusRequestTimeout, "": http.StatusUnauthorized} {
		body, never := io.Pipe()
		req, err := http.NewRequestWithContext(limited(t), http.MethodPost, s.Gateways[0].URL+chatPath, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("api-key", key)
		go func() { _, _ = io.WriteString(never, "{") }()
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 || resp.StatusCode != status {
			t.Errorf("%s status %d, want HTTP/2 and %d", resp.Proto, resp.StatusCode, status)
		}
		_ = resp.Body.Close()
		_ = never.Close()
	}
}

// A client that asks and asks and reads nothing loses its connection: each write
// of an answer has a deadline, the server's own as well.
func TestAClientThatNeverReadsIsClosed(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Configure: quick})
	c := e2e.Dial(t, s.Gateways[0].URL)
	ask := bytes.Repeat([]byte("GET /health/route/gpt-4o HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
	for {
		if _, err := c.Write(ask); err != nil {
			if os.IsTimeout(err) {
				t.Fatal("the connection stands, though nothing of the answers was read")
			}
			return
		}
	}
}

// Connections are bounded in total and for each source. One that idles makes room;
// if all are in use, what is over is closed at once and counted, and a place that
// became free is given again.
func TestConnectionsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		bound        string
		limits       gateway.Limits
		call, health int // the answers on one connection more; 0: it is closed without
	}{
		{"total", gateway.Limits{Connections: 5, ConnectionsPerSource: 5}, http.StatusServiceUnavailable, http.StatusOK},
		{"source", gateway.Limits{Connections: 50, ConnectionsPerSource: 5}, 0, 0},
	} {
		t.Run(tt.bound, func(t *testing.T) {
			s := e2e.Start(t, e2e.Options{Configure: func(c *gateway.Config) { c.Limits = tt.limits }})
			g := s.Gateways[0]
			served := func() net.Conn {
				c := e2e.Dial(t, g.URL)
				_, _ = io.WriteString(c, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					return nil
				}
				_ = resp.Body.Close()
				return c
			}
			var open []net.Conn
			for range 5 {
				c := served()
				if c == nil {
					t.Fatalf("connection %d of 5 was closed", len(open)+1)
				}
				open = append(open, c)
			}
			s.Await("a sixth has the place of one that idles", func() bool { c := served(); open = append(open, c); return c != nil })
			idle := open[len(open)-5:]
			if _, err := io.ReadAll(open[0]); err != nil {
				t.Errorf("the connection that idled longest stands: %v", err)
			}
			for _, c := range idle { // from now on each is in the middle of a request
				_, _ = io.WriteString(c, "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\napi-key: "+s.Key+"\r\nContent-Length: 100\r\n\r\n")
			}
			s.Await("all are in use", func() bool { return s.Status(g).InFlight == len(idle) })
			before := metric(t, s, g, `stampgate_connections_refused_total{bound="`+tt.bound+`"}`)
			status, closes := one(t, g, "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\napi-key: "+s.Key+"\r\nContent-Length: 2\r\n\r\n{}")
			health, _ := one(t, g, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
			if status != tt.call || health != tt.health || !closes {
				t.Errorf("a connection more gets %d for a call and %d for a health check, closed after it: %v; want %d and %d", status, health, closes, tt.call, tt.health)
			}
			open = idle
			if n := metric(t, s, g, `stampgate_connections_refused_total{bound="`+tt.bound+`"}`); n <= before {
				t.Errorf("%v refusals counted, %v before", n, before)
			}
			for _, c := range open {
				_ = c.Close()
			}
			s.Await("the free place is given again", func() bool { return served() != nil })
			// Nor do connections that never say a word keep others out.
			for range 20 {
				e2e.Dial(t, g.URL)
			}
			s.Await("a call is served beside silent connections", func() bool {
				status, _ := one(t, g, "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\napi-key: "+s.Key+"\r\n\r\n")
				return status == http.StatusOK
			})
		})
	}
}

// one sends a request on a connection of its own and returns the status, 0 if the
// connection was closed without an answer, and whether the answer says that it
// will be.
func one(t *testing.T, g *e2e.Gateway, request string) (status int, closes bool) {
	t.Helper()
	c := e2e.Dial(t, g.URL)
	defer c.Close()
	_, _ = io.WriteString(c, request)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, true
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Close
}

// A refusal costs no connection where the body was small and came with the head.
func TestASmallRefusedRequestKeepsItsConnection(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	c := e2e.Dial(t, s.Gateways[0].URL)
	answers := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\napi-key: wrong\r\nContent-Length: 15\r\n\r\n{\"messages\":[]}")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Close {
			t.Fatalf("status %d, closed after it: %v", resp.StatusCode, resp.Close)
		}
	}
}

// metric reads one series of a gateway.
func metric(t *testing.T, s *e2e.Stack, g *e2e.Gateway, series string) float64 {
	t.Helper()
	for line := range strings.Lines(string(s.Admin(g, "/metrics"))) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no series %s", series)
	return 0
}

// A client has so many sessions at a time; another client's are its own.
func TestSessionsPerClientAreBounded(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Clients: []string{"second"}, Configure: func(c *gateway.Config) { c.Limits.SessionsPerClient = 2 }})
	g := s.Gateways[0]
	var first *websocket.Conn
	for range 2 {
		c, _, err := openSession(t, g, v1Session, s.Key)
		if err != nil {
			t.Fatal(err)
		}
		first = c
	}
	_, resp, err := openSession(t, g, v1Session, s.Key)
	if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("a third session: %v, %v; want 429 with a time", resp, err)
	}
	if code := errorCode(t, resp); code != "limit_reached" {
		t.Errorf("code %s, want limit_reached", code)
	}
	if _, _, err := openSession(t, g, v1Session, s.Keys["second"]); err != nil {
		t.Errorf("another client's session: %v", err)
	}
	if err := first.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	s.Await("the free place is given again", func() bool { _, _, err := openSession(t, g, v1Session, s.Key); return err == nil })
}

// What the budget has no room for is refused with a time to come back, for the
// client that holds too much and not for the others; what was held is free again
// when its requests have ended.
func TestHeldBytesAreBounded(t *testing.T) {
	const mib = 1 << 20
	s := e2e.Start(t, e2e.Options{Clients: []string{"second"}, Configure: func(c *gateway.Config) {
		c.Limits.Held, c.Limits.HeldPerClient = 140*mib, 70*mib
	}})
	g := s.Gateways[0]
	// Announced is not held.
	for range 20 {
		_, _ = io.WriteString(e2e.Dial(t, g.URL), "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\napi-key: "+s.Key+"\r\nContent-Length: "+fmt.Sprint(32*mib)+"\r\n\r\n{")
	}
	s.Await("20 bodies have begun", func() bool { return s.Status(g).InFlight == 20 })
	if n := metric(t, s, g, "stampgate_held_bytes"); n > 2*mib {
		t.Errorf("%v bytes are held for 20 bytes that came", n)
	}
	part := append([]byte(`{"messages":"`), bytes.Repeat([]byte("x"), 17*mib)...)
	var open []net.Conn
	for range 2 {
		c := e2e.Dial(t, g.URL)
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Length: %d\r\n\r\n", chatPath, s.Key, 32*mib)
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	s.Await("two bodies are held", func() bool { return metric(t, s, g, "stampgate_held_bytes") > 60*mib })
	big := `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 8*mib) + `"}]}`
	resp := post(t, g, s.Key, chatPath, big)
	if code := errorCode(t, resp); resp.StatusCode != http.StatusServiceUnavailable || code != "overloaded" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, code %s, header %v; want 503 overloaded with a time", resp.StatusCode, code, resp.Header)
	}
	if n := metric(t, s, g, `stampgate_bound_refusals_total{bound="client"}`); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
	if resp := post(t, g, s.Keys["second"], chatPath, big); resp.StatusCode == http.StatusServiceUnavailable {
		t.Errorf("another client is refused: %s", read(t, resp))
	}
	for _, c := range open {
		_ = c.Close()
	}
	s.Await("there is room again", func() bool { return post(t, g, s.Key, chatPath, chatBody(false)).StatusCode == http.StatusOK })
}

// HTTP/2 is for those who ask for it in the configuration.
func TestHTTP2IsOptIn(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := e2e.Start(t, e2e.Options{TLS: true, Configure: func(c *gateway.Config) { c.HTTP2 = on }})
		_, host, _ := strings.Cut(s.Gateways[0].URL, "://")
		c, err := tls.Dial("tcp", host, &tls.Config{RootCAs: roots(t, s), NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().NegotiatedProtocol == "h2"; got != on {
			t.Errorf("http2: %v, agreed on HTTP/2: %v", on, got)
		}
		_ = c.Close()
	}
}

func roots(t *testing.T, s *e2e.Stack) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

// A session that is quiet for longer than the time for a request goes on: the
// deadlines are a request's.
func TestDeadlinesEndWithTheRequest(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Configure: quick, Latency: azuresim.Latency{FirstToken: 1500 * time.Millisecond, PerToken: 10 * time.Millisecond, Tokens: 100}})
	g := s.Gateways[0]
	c, _, err := openSession(t, g, v1Session, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	next(t, c)
	for _, stream := range []bool{false, true} {
		resp := post(t, g, s.Key, chatPath, chatBody(stream))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
		if !stream {
			read(t, resp)
		} else if _, err := countEvents(resp.Body); err != nil {
			t.Error(err)
		}
	}
	const event = `{"type":"input_audio_buffer.append","audio":"x"}`
	if err := c.Write(limited(t), websocket.MessageText, []byte(event)); err != nil {
		t.Fatal(err)
	}
	if _, got := next(t, c); got != event {
		t.Errorf("the session says %s", got)
	}
}
