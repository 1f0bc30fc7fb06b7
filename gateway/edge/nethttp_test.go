package edge_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/message"
)

type serveFunc = func(context.Context, message.Client, *message.Request)

// serving serves on a real socket by serve; HTTP/2 needs TLS here.
func serving(t *testing.T, http2 bool, serve serveFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(edge.Handler(serve, time.Minute))
	if s.EnableHTTP2 = http2; http2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// speak sends raw bytes and returns the answer of HTTP/1.1.
func speak(t *testing.T, s *httptest.Server, raw string) (*http.Response, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp, br
}

// A request is what the client sent: nothing is unescaped, merged or lost, and
// fields of one name are in their order.
func TestARequestIsAsItCame(t *testing.T) {
	got := make(chan message.Request, 1)
	s := serving(t, false, func(_ context.Context, c message.Client, r *message.Request) {
		got <- *r
		text, err := io.ReadAll(r.Body)
		if string(text) != "hello" || err != nil {
			t.Errorf("the body is %q, %v", text, err)
		}
		c.Begin(http.StatusNoContent, nil)
	})
	speak(t, s, "POST /a%2Fb%20c/d?x=%20&x=;y HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-two: a\r\nX-One: 2, 3\r\nX-TWO:  b \r\nX-One:\r\nX-One: 1\r\nContent-Length: 5\r\n\r\nhello")
	r := <-got
	if r.Method != "POST" || r.Path != "/a%2Fb%20c/d" || r.Query != "x=%20&x=;y" || r.Proto != 11 || r.Length != 5 || r.TLS != nil {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string][]string{"X-One": {"1", "2, 3", "", "1"}, "X-Two": {"a", "b"}, "Content-Length": {"5"}, "Host": nil} {
		var values []string
		for _, f := range r.Header {
			if f.Name == name {
				values = append(values, f.Value)
			}
		}
		if !slices.Equal(values, want) {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
}

// Behind a listener of this package a request knows whom its connection is with.
func TestARequestKnowsItsPeer(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peers := make(chan string, 1)
	s := edge.NewServer(edge.Handler(func(_ context.Context, c message.Client, r *message.Request) {
		if r.Peer != nil {
			peers <- r.Peer.String()
		}
		close(peers)
		c.Begin(http.StatusNoContent, nil)
	}, time.Minute), edge.Timeouts{Head: time.Minute, Body: time.Minute, Write: time.Minute}, false)
	var ended sync.WaitGroup
	ended.Go(func() { _ = s.Serve(edge.Listen(inner, edge.Limits{Total: 10, Write: time.Minute})) })
	defer ended.Wait()
	defer s.Close()
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if peer := <-peers; peer != c.LocalAddr().String() {
		t.Errorf("the peer is %q, want %s", peer, c.LocalAddr())
	}
}

// An answer has every field that it was begun with, those of one name in their
// order, whatever stands between them.
func TestAnAnswerHasItsFieldsInOrder(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := serving(t, http2, func(_ context.Context, c message.Client, _ *message.Request) {
			c.Begin(http.StatusTeapot, message.Header{
				{Name: "X-One", Value: "1"},
				{Name: "X-Two", Value: "a"},
				{Name: "X-One", Value: "2"},
				{Name: "X-Three", Value: ""},
				{Name: "X-One", Value: "1"},
				{Name: "X-Two", Value: "b, c"},
			})
			_, _ = c.Write([]byte("short"))
		})
		resp, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot || string(text) != "short" || err != nil || resp.ProtoMajor == 2 != http2 {
			t.Errorf("%s: status %d, %q, %v", resp.Proto, resp.StatusCode, text, err)
		}
		for name, want := range map[string][]string{"X-One": {"1", "2", "1"}, "X-Two": {"a", "b, c"}, "X-Three": {""}} {
			if got := resp.Header[name]; !slices.Equal(got, want) {
				t.Errorf("%s: %s: %q, want %q", resp.Proto, name, got, want)
			}
		}
	}
}

// A body that nobody reads ends its connection on HTTP/1.1, unless it is small and
// here: what follows the answer could else not be told from it. On HTTP/2 the
// stream alone ends.
func TestABodyThatIsNotReadEndsItsConnection(t *testing.T) {
	for _, tt := range []struct {
		name  string
		http2 bool
		size  int
		read  bool
		ends  bool
	}{
		{"none", false, 0, false, false},
		{"small", false, 1000, false, false},
		{"large", false, 1 << 20, false, true},
		{"large and read", false, 1 << 20, true, false},
		{"large, HTTP/2", true, 1 << 20, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serving(t, tt.http2, func(_ context.Context, c message.Client, r *message.Request) {
				if tt.read {
					if n, err := io.Copy(io.Discard, r.Body); n != r.Length || err != nil {
						t.Errorf("%d bytes, %v", n, err)
					}
				}
				c.Begin(http.StatusOK, nil)
			})
			post := func(size int) (resp *http.Response, reused bool) {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					t.Fatal(err)
				}
				if resp, err = s.Client().Do(r); err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				return resp, reused
			}
			first, _ := post(tt.size)
			if _, reused := post(0); first.StatusCode != 200 || first.Close != tt.ends || reused == tt.ends {
				t.Errorf("status %d, says that the connection ends: %v; it is used again: %v", first.StatusCode, first.Close, reused)
			}
		})
	}
}

// A body that stalls ends with a deadline; one that came whole leaves none behind,
// however long the answer takes.
func TestABodyHasSoLongToCome(t *testing.T) {
	for _, whole := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var took time.Duration
			var err error
			inMemory(t, edge.Handler(func(ctx context.Context, c message.Client, r *message.Request) {
				_, err = io.ReadAll(r.Body)
				took = time.Since(start)
				if whole {
					time.Sleep(time.Hour)
					if ctx.Err() != nil {
						t.Errorf("the request's context ended: %v", context.Cause(ctx))
					}
				}
				c.Begin(http.StatusOK, nil)
			}, 10*time.Second), func(c net.Conn) {
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
				if whole {
					time.Sleep(9 * time.Second)
					_, _ = io.WriteString(c, "world")
				}
				if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
					t.Errorf("the answer is %v", err)
				}
			})
			switch {
			case whole && (err != nil || took != 9*time.Second), !whole && (!errors.Is(err, os.ErrDeadlineExceeded) || took != 10*time.Second):
				t.Errorf("whole %v: after %v %v", whole, took, err)
			}
		})
	}
}

// inMemory serves one connection inside a bubble, and what the client does with it.
func inMemory(t *testing.T, h http.Handler, client func(net.Conn)) {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- theirs
	s := &http.Server{Handler: h}
	ended := make(chan struct{})
	go func() { _ = s.Serve(l); close(ended) }()
	client(ours)
	_ = ours.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
}

// A oneConn is a listener of one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// What was written before Abort arrives, and the client can tell that it is not all.
// On HTTP/2 the stream ends alone.
func TestAbortBreaksOffAfterWhatWasWritten(t *testing.T) {
	for _, tt := range []struct {
		name, length string
		http2        bool
	}{{"of unknown length", "", false}, {"of a known length", "100", false}, {"HTTP/2", "", true}} {
		t.Run(tt.name, func(t *testing.T) {
			s := serving(t, tt.http2, func(_ context.Context, c message.Client, r *message.Request) {
				var h message.Header
				if tt.length != "" {
					h = h.Add("Content-Length", tt.length)
				}
				c.Begin(http.StatusOK, h)
				_, err := c.Write([]byte("a part"))
				if err := errors.Join(err, c.Flush()); err != nil {
					t.Error(err)
				}
				if r.Path != "/whole" {
					c.Abort()
				}
			})
			get := func(path string) (string, error) {
				resp, err := s.Client().Get(s.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				return string(text), err
			}
			if text, err := get("/"); text != "a part" || err == nil {
				t.Errorf("the client got %q, %v", text, err)
			}
			if text, err := get("/whole"); tt.length == "" && (text != "a part" || err != nil) {
				t.Errorf("the next request's client got %q, %v", text, err)
			}
		})
	}
}

// Flush sends what was written while the answer goes on.
func TestFlushSendsWhatWasWritten(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		seen := make(chan struct{})
		s := serving(t, http2, func(ctx context.Context, c message.Client, _ *message.Request) {
			c.Begin(http.StatusOK, nil)
			_, err := c.Write([]byte("first"))
			if err := errors.Join(err, c.Flush()); err != nil {
				t.Error(err)
			}
			select {
			case <-seen:
			case <-ctx.Done():
			}
			_, _ = c.Write([]byte(" second"))
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, text); err != nil || string(text) != "first" {
			t.Fatalf("%q, %v", text, err)
		}
		close(seen)
		rest, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(rest) != " second" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	}
}

// After 101 the connection is the caller's, with what the client sent already, and
// the head has no field about a body.
func TestHijackHandsTheConnectionOver(t *testing.T) {
	s := serving(t, false, func(_ context.Context, c message.Client, r *message.Request) {
		c.Begin(http.StatusSwitchingProtocols, message.Header{{Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "echo"}, {Name: "X-Request-Id", Value: "1"}})
		conn, rw, err := c.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := rw.ReadString('\n')
		_, werr := io.WriteString(conn, line)
		if err := errors.Join(err, werr); err != nil {
			t.Error(err)
		}
	})
	resp, br := speak(t, s, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
	line, err := br.ReadString('\n')
	if resp.StatusCode != 101 || line != "hello\n" || err != nil {
		t.Errorf("status %d, then %q, %v", resp.StatusCode, line, err)
	}
	want := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}, "X-Request-Id": {"1"}}
	for name := range resp.Header {
		if !slices.Equal(resp.Header[name], want[name]) && name != "Date" {
			t.Errorf("%s: %q", name, resp.Header[name])
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}
