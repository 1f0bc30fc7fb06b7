//go:build linux

package processtest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/memory"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const mib = 1 << 20

// peak is the most memory that the process had resident, in bytes.
func (p *process) peak() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.TrimSpace(rest[:max(0, strings.Index(rest, "kB"))]))
	if !ok || err != nil {
		p.t.Fatalf("no peak in %s", text)
	}
	return kib << 10
}

// within fails the test if the process took more than so much since before, and
// if it does not serve any more.
func (p *process) within(s *stamp, before, most int) {
	p.t.Helper()
	if grown := p.peak() - before; grown > most {
		p.t.Errorf("the process grew by %d MiB, want at most %d", grown/mib, most/mib)
	} else {
		p.t.Logf("the process grew by %d MiB, at most %d are allowed", grown/mib, most/mib)
	}
	e2e.Await(p.t, "the gateway serves", func() bool {
		req, err := newRequest(p.t.Context(), p, s.Key, plainCall())
		if err != nil {
			p.t.Fatal(err)
		}
		resp, err := p.http.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// startBounded starts one gateway that may hold so many bytes.
func startBounded(t *testing.T, held int, opt e2e.Options) (*stamp, *process) {
	t.Helper()
	configure := opt.Configure
	opt.Configure = func(c *gateway.Config) {
		c.Limits.Held = memory.Size(held)
		if configure != nil {
			configure(c)
		}
	}
	s := startStamp(t, stampOptions{Options: opt, notice: time.Millisecond, timeout: time.Millisecond})
	return s, s.processes[0]
}

// What is only announced takes no memory: 100 connections that announce 32 MiB
// each and send nothing.
func TestAnnouncedBodiesTakeNoMemory(t *testing.T) {
	s, p := startBounded(t, 512*mib, e2e.Options{})
	before := p.peak()
	for range 100 {
		_, _ = fmt.Fprintf(e2e.Dial(t, p.url), "POST %s HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Length: %d\r\n\r\n{", plainCall().path, s.Key, 32*mib)
	}
	e2e.Await(t, "all have begun", func() bool { st, ok := p.status(); return ok && st.InFlight == 100 })
	p.within(s, before, 32*mib)
}

// One key cannot take more than its share with bodies: 200 of 20 MB at once.
// What is over is refused and says when to come back.
func TestBodiesOfOneKeyAreBounded(t *testing.T) {
	s, p := startBounded(t, 256*mib, e2e.Options{Latency: azuresim.Latency{FirstToken: time.Second}})
	before := p.peak()
	body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("x", 20_000_000) + `"}]}`)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards codes
	codes := map[int]int{}
	for range 200 {
		c := e2e.Dial(t, p.url)
		wg.Go(func() {
			head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", plainCall().path, s.Key, len(body))
			_, _ = c.Write([]byte(head))
			go func() { _, _ = c.Write(body) }() // the answer may come first
			answer := make([]byte, 64)
			n, _ := io.ReadAtLeast(c, answer, len("HTTP/1.1 200"))
			code := 0
			_, _ = fmt.Sscanf(string(answer[:n]), "HTTP/1.1 %d", &code)
			mu.Lock()
			codes[code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Logf("answers: %v", codes)
	if codes[http.StatusServiceUnavailable] == 0 {
		t.Error("none was refused")
	}
	p.within(s, before, 2*256*mib)
}

// Readers that never read cost what the budget has room for, however large the
// answers are: 500 of them, each with an answer of about 860 kB.
func TestAnswersOfSlowReadersAreBounded(t *testing.T) {
	s, p := startBounded(t, 256*mib, e2e.Options{Latency: azuresim.Latency{Tokens: 150_000}})
	before := p.peak()
	body := `{"messages":[{"role":"user","content":"Say much."}],"max_tokens":150000}`
	var open []net.Conn
	for range 500 {
		c := e2e.Dial(t, p.url)
		open = append(open, c)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Length: %d\r\n\r\n%s", plainCall().path, s.Key, len(body), body)
	}
	e2e.Await(t, "answers wait for their readers", func() bool { return p.metric("stampgate_held_bytes") > 20*mib })
	settle(t, func() float64 { return p.metric("stampgate_held_bytes") })
	if held := p.metric("stampgate_held_bytes"); held > 128*mib {
		t.Errorf("%v MiB are held for one client, which may hold 128", held/mib)
	}
	for _, c := range open {
		_ = c.Close()
	}
	p.within(s, before, 2*256*mib)
}

// metric reads a series of the admin listener; 0 if it does not answer.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	resp, err := http.Get(p.admin + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// settle waits until a figure is the same ten times in a row.
func settle(t *testing.T, figure func() float64) {
	t.Helper()
	last, same := -1.0, 0
	e2e.Await(t, "a figure that settles", func() bool {
		now := figure()
		if now != last {
			last, same = now, 0
		}
		same++
		return same > 10
	})
}

// The streams of HTTP/2 multiply nothing: 20 connections that want 100 streams
// each get 32, and leave at most what a connection may, though their windows take
// one byte at a time.
func TestStreamsOfHTTP2AreBounded(t *testing.T) {
	s, p := startBounded(t, 256*mib, e2e.Options{
		TLS: true, Latency: azuresim.Latency{Tokens: 150_000}, Configure: func(c *gateway.Config) { c.HTTP2 = true },
	})
	before := p.peak()
	refused := make(chan int, 20)
	for range 20 {
		secured := tls.Client(e2e.Dial(t, p.url), &tls.Config{
			RootCAs: p.http.Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "localhost",
			NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		})
		go func() { refused <- openStreams(secured, s.Key, 100) }()
	}
	for range 20 {
		if n := <-refused; n < 100-32 {
			t.Errorf("%d of 100 streams were refused, want at least %d", n, 100-32)
		}
	}
	settle(t, func() float64 { return p.metric("stampgate_held_bytes") })
	// A megabyte each, twice for what waits to be collected, and what 640 requests
	// cost beside that.
	p.within(s, before, 20*2*mib+640*(128<<10)+64*mib)
}

// openStreams asks so many times on a connection whose streams take one byte,
// and returns how many were refused.
func openStreams(c net.Conn, key string, n int) (refused int) {
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	body := []byte(`{"messages":[{"role":"user","content":"Say much."}],"max_tokens":150000}`)
	go func() {
		for i := range n {
			var head bytes.Buffer
			e := hpack.NewEncoder(&head)
			for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", plainCall().path}, {"api-key", key}, {"content-type", "application/json"}} {
				_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
			}
			id := uint32(2*i + 1)
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
			_ = f.WriteData(id, true, body)
		}
	}()
	answered := 0
	for refused+answered < n {
		frame, err := f.ReadFrame()
		if err != nil {
			return n - answered // the connection was ended: all the others are
		}
		switch frame.(type) {
		case *http2.RSTStreamFrame:
			refused++
		case *http2.HeadersFrame:
			answered++
		}
	}
	return refused
}
