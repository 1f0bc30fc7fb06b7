//go:build linux

package processtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/infra/e2e"
)

// canary stands wherever a backend or a client may put bytes of its own.
const canary = "canary7ZqX"

// A rawBackend answers each connection's first request with bytes of the test's.
type rawBackend struct {
	net.Listener

	answer atomic.Pointer[func(c net.Conn, r *http.Request)]
}

func startRawBackend(t *testing.T) *rawBackend {
	t.Helper()
	l, err := net.Listen("tcp", "127.32.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	b := &rawBackend{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *rawBackend) serve(c net.Conn) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		(*b.answer.Load())(c, r)
	}
}

// says is an answer, as it is, and then the end.
func says(text string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, text) }
}

// speaks is an upgrade as it should be, and then frames of the test's.
func speaks(frames string) func(net.Conn, *http.Request) {
	return func(c net.Conn, r *http.Request) {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
			base64.StdEncoding.EncodeToString(sum[:]), frames)
		_, _ = io.Copy(io.Discard, c)
	}
}

// P10: nothing that a backend or a client sends becomes text of a log line: not
// through the errors of net/http, of TLS or of the WebSocket library, nor through
// what they write to loggers of their own.
func TestNoBytesOfAPeerAreLogged(t *testing.T) {
	b := startRawBackend(t)
	s := startStamp(t, stampOptions{notice: time.Millisecond, timeout: time.Second, Options: e2e.Options{TLS: true, Edit: func(text string) string {
		return onlyBackend(text, "http://"+b.Addr().String())
	}}})
	p := s.processes[0]
	for name, text := range hostileAnswers() {
		for _, kind := range []call{plainCall(), streamCall(1)} {
			b.answer.Store(new(says(text)))
			ask(t, s, p, kind)
		}
		t.Logf("answered: %s", name)
	}
	hostileSessions(t, s, p, b)
	hostileClients(t, s, p)
	p.signal(15)
	_ = p.awaitExit()
	said := p.said()
	if n := bytes.Count(said, []byte(`"message":"request"`)); n < 2*len(hostileAnswers()) {
		t.Errorf("%d requests are in the log: the test looks in the wrong place", n)
	}
	for _, want := range []string{"TLS handshake error", "Unsolicited response", `"operation":"realtime"`, `"operation":"chat_completions"`} {
		if !bytes.Contains(said, []byte(want)) {
			t.Errorf("the log has no %q: the test does not reach what it is for", want)
		}
	}
	for line := range bytes.Lines(said) {
		if bytes.Contains(bytes.ToLower(line), bytes.ToLower([]byte(canary))) {
			t.Errorf("logged: %s", line)
		}
	}
}

// onlyBackend points the first backend of a policy to an address, and leaves the
// others nothing to serve.
func onlyBackend(text, url string) string {
	var out strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    endpoint: ") {
			if n++; n == 1 {
				line = "    endpoint: " + url + "\n"
			}
		}
		if n == 1 || !strings.HasPrefix(line, "      - {name: gpt-4o,") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func hostileAnswers() map[string]string {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	return map[string]string{
		"no HTTP":                  canary + "\r\n\r\n",
		"a status that is none":    "HTTP/1.1 " + canary + "\r\n\r\n",
		"a version that is none":   "HTTP/" + canary + " 200 OK\r\n\r\n",
		"a header that is none":    "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n",
		"a length that is none":    head + "Content-Length: " + canary + "\r\n\r\n{}",
		"two lengths":              head + "Content-Length: 2\r\nContent-Length: " + canary + "\r\n\r\n{}",
		"a coding that is none":    head + "Transfer-Encoding: " + canary + "\r\n\r\n{}",
		"a chunk that is none":     head + "Transfer-Encoding: chunked\r\n\r\n" + canary + "\r\n{}",
		"a trailer that is none":   head + "Trailer: " + canary + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + canary + "\r\n\r\n",
		"a type that is none":      "HTTP/1.1 200 OK\r\nContent-Type: " + canary + ";=\r\nContent-Length: 2\r\n\r\n{}",
		"an upgrade":               "HTTP/1.1 101 " + canary + "\r\nUpgrade: " + canary + "\r\nConnection: Upgrade\r\n\r\n" + canary,
		"a redirect":               "HTTP/1.1 302 Found\r\nLocation: http://" + canary + "/\r\nContent-Length: 0\r\n\r\n",
		"an error":                 "HTTP/1.1 500 " + canary + "\r\nContent-Length: 10\r\n\r\n" + canary,
		"a limit":                  "HTTP/1.1 429 x\r\nRetry-After: " + canary + "\r\nRetry-After-Ms: 1\r\nContent-Length: 10\r\n\r\n" + canary,
		"a text that is none":      head + "Content-Length: 10\r\n\r\n" + canary,
		"a stream that is none":    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + canary + "\n\n",
		"an encoded stream":        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: " + canary + "\r\n\r\ndata: " + canary + "\n\n",
		"an answer nobody asked":   head + "Content-Length: 2\r\n\r\n{}HTTP/1.1 400 " + canary + "\r\n\r\n" + canary,
		"endless words in between": strings.Repeat("HTTP/1.1 103 "+canary+"\r\nLink: "+canary+"\r\n\r\n", 20) + canary,
	}
}

// ask makes a call; how it ends is not what the test is about.
func ask(t *testing.T, s *stamp, p *process, c call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2e.Limit)
	defer cancel()
	req, err := newRequest(ctx, p, s.Key, c)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

func hostileSessions(t *testing.T, s *stamp, p *process, b *rawBackend) {
	t.Helper()
	frame := func(first byte, payload string) string {
		return string([]byte{first, byte(len(payload))}) + payload
	}
	const text, closing = 0x81, 0x88
	for _, answer := range []func(net.Conn, *http.Request){
		says("HTTP/1.1 101 " + canary + "\r\nUpgrade: " + canary + "\r\nConnection: Upgrade\r\n\r\n"),
		says("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + canary + "\r\n\r\n"),
		speaks(frame(closing, "\x03\xe8"+canary)), speaks(frame(closing, "\x0f\xa1"+canary)), speaks(frame(closing, "\xff\xff"+canary)),
		speaks(frame(text, canary) + frame(0xf1, canary)), speaks(frame(text, canary) + frame(0x83, canary)),
		speaks(frame(text, `{"type":"error","error":{"code":"`+canary+`","message":"`+canary+`"}}`)),
		speaks(frame(text, "x") + frame(text, canary+"\xff") + frame(closing, "\x03")),
	} {
		b.answer.Store(&answer)
		ctx, cancel := context.WithTimeout(t.Context(), e2e.Limit)
		c, _, err := websocket.Dial(ctx, p.url+"/openai/v1/realtime?model=gpt-4o", &websocket.DialOptions{
			HTTPClient: p.http, HTTPHeader: http.Header{"Api-Key": {s.Key}},
		})
		if err == nil {
			_, _, _ = c.Read(ctx)
			_ = c.Close(websocket.StatusCode(4000), canary)
		}
		cancel()
	}
}

func hostileClients(t *testing.T, s *stamp, p *process) {
	t.Helper()
	_, host, _ := strings.Cut(p.url, "://")
	roots := p.http.Transport.(*http.Transport).TLSClientConfig
	for _, text := range []string{
		canary + "\r\n\r\n", "GET /" + canary + " " + canary + "\r\n\r\n", "GET / HTTP/1.1\r\n" + canary + "\r\n\r\n",
		"GET /%" + canary + " HTTP/1.1\r\nHost: " + canary + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + canary + "\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n" + canary,
		"GET /?a;" + canary + " HTTP/1.1\r\nHost: x\r\nExpect: " + canary + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\napi-key: " + s.Key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n",
	} {
		for _, secured := range []bool{true, false} {
			c := e2e.Dial(t, p.url)
			if secured {
				c = tls.Client(c, &tls.Config{RootCAs: roots.RootCAs, ServerName: "localhost", MinVersion: tls.VersionTLS12})
			}
			_, _ = io.WriteString(c, text)
			_, _ = c.Read(make([]byte, 1000))
			_ = c.Close()
		}
	}
	c, err := tls.Dial("tcp", host, &tls.Config{RootCAs: roots.RootCAs, ServerName: canary, NextProtos: []string{canary}, MinVersion: tls.VersionTLS12})
	if err == nil {
		_ = c.Close()
	}
}
