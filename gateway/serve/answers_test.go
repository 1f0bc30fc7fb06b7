package serve_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
)

// An answer that is not whole and well-formed is a failed attempt, not the
// client's problem: the next target answers.
func TestBadAnswersAreFailedAttempts(t *testing.T) {
	half := goodAnswer[:len(goodAnswer)/2]
	for name, raw := range map[string]string{
		"the connection ends without an answer":   "",
		"no HTTP":                                 "SSH-2.0-OpenSSH_9.6\r\n",
		"an endless header":                       "HTTP/1.1 200 OK\r\nX-Fill: " + strings.Repeat("x", 70<<10) + "\r\n\r\n",
		"too many header lines":                   "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Fill: 1\r\n", 10<<10) + "\r\n",
		"a body shorter than its length":          "HTTP/1.1 200 OK\r\n" + jsonHeader + "Content-Length: 1000\r\n\r\n" + goodAnswer,
		"a body longer than its length":           "HTTP/1.1 200 OK\r\n" + jsonHeader + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(half)) + goodAnswer,
		"two lengths":                             "HTTP/1.1 200 OK\r\n" + jsonHeader + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + goodAnswer,
		"truncated JSON with the right length":    answer("200 OK", jsonHeader, half),
		"an empty body":                           answer("200 OK", jsonHeader, ""),
		"JSON with something after it":            answer("200 OK", jsonHeader, goodAnswer+goodAnswer),
		"a chunk that is none":                    "HTTP/1.1 200 OK\r\n" + jsonHeader + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXYZ\r\n",
		"chunks without an end":                   "HTTP/1.1 200 OK\r\n" + jsonHeader + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"an informational status over and over":   strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 10<<10),
		"a switch of protocols":                   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"an error event in a 200":                 answer("200 OK", "Content-Type: text/event-stream\r\n", `data: {"error":{"message":"overloaded"}}`+"\n\n"),
		"an error event after a prelude":          answer("200 OK", "Content-Type: text/event-stream\r\n", prelude+`data: {"error":{"message":"overloaded"}}`+"\n\n"),
		"a stream that ends before its first":     answer("200 OK", "Content-Type: text/event-stream\r\n", prelude),
		"a stream that is compressed":             answer("200 OK", "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", event+done),
		"a stream of nothing":                     answer("200 OK", "Content-Type: text/event-stream\r\n", ""),
		"a stream that opens with something else": answer("200 OK", "Content-Type: text/event-stream\r\n", "data: <html>\n\n"),
		"500":                        answer("500 Internal Server Error", jsonHeader, `{"error":{}}`),
		"502 of a balancer":          answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>"),
		"503 without a time":         answer("503 Service Unavailable", "", ""),
		"504":                        answer("504 Gateway Timeout", "", ""),
		"429":                        answer("429 Too Many Requests", "Retry-After: 1\r\n", "{}"),
		"503 with a time":            answer("503 Service Unavailable", "Retry-After: 1\r\n", "{}"),
		"401":                        answer("401 Unauthorized", jsonHeader, "{}"),
		"403":                        answer("403 Forbidden", jsonHeader, "{}"),
		"a deployment that is gone":  answer("404 Not Found", jsonHeader, `{"error":{"code":"DeploymentNotFound"}}`),
		"a status beyond HTTP":       answer("777 Odd", jsonHeader, "{}"),
		"529":                        answer("529 Site Overloaded", jsonHeader, "{}"),
		"408":                        answer("408 Request Timeout", jsonHeader, `{"error":{"code":"Timeout","message":"The operation was timeout."}}`),
		"409":                        answer("409 Conflict", jsonHeader, "{}"),
		"424":                        answer("424 Failed Dependency", jsonHeader, "{}"),
		"421":                        answer("421 Misdirected Request", jsonHeader, "{}"),
		"425":                        answer("425 Too Early", jsonHeader, "{}"),
		"449":                        answer("449 Retry With", jsonHeader, "{}"),
		"499":                        answer("499 Client Closed Request", jsonHeader, "{}"),
		"a redirect":                 answer("302 Found", "Location: /x\r\n", ""),
		"a retired model":            answer("410 Gone", jsonHeader, "{}"),
		"payment required":           answer("402 Payment Required", jsonHeader, "{}"),
		"a quota that is spent":      answer("400 Bad Request", jsonHeader, `{"error":{"code":"insufficient_quota"}}`),
		"a model that is missing":    answer("404 Not Found", jsonHeader, `{"error":{"code":"model_not_found"}}`),
		"a role that is missing":     answer("401 Unauthorized", jsonHeader, `{"error":{"code":"PermissionDenied"}}`),
		"an error in a plain 200":    answer("200 OK", jsonHeader, `{"error":{"message":"overloaded","type":"server_error","code":null}}`),
		"a limit in a plain 200":     answer("200 OK", jsonHeader, `{"error":{"code":"rate_limit_exceeded"}}`),
		"a limit as the first event": answer("200 OK", "Content-Type: text/event-stream\r\n", prelude+`data: {"error":{"code":"rate_limit_exceeded"}}`+"\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, other := newBackend(t, says(raw)), good(t)
			r := newRig(t, setup{endpoints: []string{bad.url, other.url}})
			wantGood(t, r.ask(plainBody), "2")
			if bad.requests.Load() != 1 || other.requests.Load() != 1 {
				t.Errorf("%d requests to the bad backend, %d to the good one, want one each", bad.requests.Load(), other.requests.Load())
			}
		})
	}
}

// What a backend says to the client about its own request is passed on as it
// is; another target would say the same.
func TestRejectionsArePassedOn(t *testing.T) {
	for _, status := range []string{"400 Bad Request", "404 Not Found", "405 Method Not Allowed", "413 Too Large", "415 Unsupported", "422 Unprocessable", "451 Unavailable"} {
		t.Run(status, func(t *testing.T) {
			const text = `{"error":{"code":"content_filter","message":"no"}}`
			b, other := newBackend(t, says(answer(status, jsonHeader, text))), good(t)
			r := newRig(t, setup{endpoints: []string{b.url, other.url}})
			if got := r.ask(plainBody); got.Status[:3] != status[:3] || got.text != text || other.conns.Load() != 0 {
				t.Errorf("%s %q, %d connections to the other target", got.Status, got.text, other.conns.Load())
			}
			if res := <-r.results; res.Outcome != relay.OutcomeRejected || res.Attempts != 1 {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// Informational answers do not count as a first byte, so that a backend that
// sends one now and then for ever is silent.
func TestInformationalAnswersDoNotPutOffTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, _ := memory(t, func(_ int, c net.Conn) bool {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return false
				}
				time.Sleep(time.Second)
			}
		})
		r := newRig(t, setup{
			endpoints: []string{"http://127.0.0.1:1"}, dialer: network,
			timeouts: "connect: 1s, firstByte: 5s, idle: 5s, total: 20s",
		})
		w := newSink()
		res := r.serve(w, r.call(t.Context(), http.Header{}, chatBody))
		if took := time.Since(w.start); res.Outcome != refusal.OutcomeTimeout || took != 5*time.Second {
			t.Errorf("outcome %s after %v, want a timeout after 5s", res.Outcome, took)
		}
	})
}

// Bytes pass as they are: nothing is unpacked, so nothing can explode here.
func TestCompressedAnswersAreUntouched(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte(`{"a":"b"}`), 100_000))
	_ = z.Close()
	b := newBackend(t, says(answer("200 OK", jsonHeader+"Content-Encoding: gzip\r\n", packed.String())))
	r := newRig(t, setup{endpoints: []string{b.url}})
	got := r.ask(plainBody)
	if got.StatusCode != 200 || got.text != packed.String() || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("status %d, %d bytes, encoding %q; want the same %d bytes, gzip", got.StatusCode, len(got.text), got.Header.Get("Content-Encoding"), packed.Len())
	}
}

// large is a request that takes a while to send.
func large() string {
	return `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 8<<20) + `"}]}`
}

// impatient is a backend that does something after the first bytes of a request, and
// then ends the connection. done waits for it.
func impatient(t *testing.T, do func(c net.Conn)) (url string, done func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(c, make([]byte, 100))
		do(c)
		_ = c.Close()
	}()
	return "http://" + l.Addr().String(), func() { <-served; _ = l.Close() }
}

// A backend may answer before it has read the request. Its answer counts.
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	const text = `{"error":{"code":"too_large"}}`
	url, done := impatient(t, func(c net.Conn) {
		_, _ = io.WriteString(c, answer("413 Too Large", jsonHeader+"Connection: close\r\n", text))
		_, _ = io.Copy(io.Discard, c) // until the gateway has seen the answer and hangs up
	})
	defer done()
	if got := newRig(t, setup{endpoints: []string{url}}).ask(large()); got.StatusCode != 413 || got.text != text {
		t.Errorf("status %d %q, want the backend's 413", got.StatusCode, got.text)
	}
}

// One that resets the connection instead of reading on is a failed attempt.
func TestResetWhileTheRequestIsSent(t *testing.T) {
	url, done := impatient(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	defer done()
	wantGood(t, newRig(t, setup{endpoints: []string{url, good(t).url}}).ask(large()), "2")
}

// A backend may end a kept connection at the very moment at which a request is
// sent on it. That is nobody's failure: the request is sent again on a new one.
func TestServerEndsAKeptConnection(t *testing.T) {
	b := newBackend(t, func(n int, c net.Conn) bool {
		if n == 2 {
			return false // the request is read, and the connection ends
		}
		_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
		return err == nil
	})
	r := newRig(t, setup{endpoints: []string{b.url}})
	front := r.front()
	for range 3 {
		wantGood(t, r.post(front, http.Header{}, plainBody), "1")
	}
	if b.conns.Load() != 2 || b.requests.Load() != 4 {
		t.Errorf("%d connections, %d requests; want 2 and 4", b.conns.Load(), b.requests.Load())
	}
}

// But what kills connections does not go round all that are kept.
func TestRequestThatKillsConnections(t *testing.T) {
	const kept = 8
	var deadly atomic.Bool
	entered := make(chan struct{}, kept)
	release := make(chan struct{})
	b := newBackend(t, func(_ int, c net.Conn) bool {
		if deadly.Load() {
			return false
		}
		entered <- struct{}{}
		<-release
		_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
		return err == nil
	})
	r := newRig(t, setup{endpoints: []string{b.url}})
	front := r.front()
	var wg sync.WaitGroup
	for range kept {
		wg.Go(func() { wantGood(t, r.post(front, http.Header{}, plainBody), "1") })
	}
	for range kept {
		<-entered
	}
	close(release)
	wg.Wait()
	deadly.Store(true)
	if got := r.post(front, http.Header{}, plainBody); got.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", got.StatusCode)
	}
	if n := b.requests.Load() - kept; n > 2 {
		t.Errorf("the deadly request was sent %d times", n)
	}
}

// What creates an object must not be repeated where it may have been created.
func TestStatefulCallIsNotRepeatedOnAKeptConnection(t *testing.T) {
	b := newBackend(t, func(n int, c net.Conn) bool {
		if n == 2 {
			return false
		}
		_, err := io.WriteString(c, answer("200 OK", jsonHeader, goodAnswer))
		return err == nil
	})
	other := good(t)
	r := newRig(t, setup{endpoints: []string{b.url, other.url}})
	front := r.front()
	wantGood(t, r.post(front, http.Header{}, storeBody), "1")
	if got := r.post(front, http.Header{}, storeBody); got.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d %q, want 502", got.StatusCode, got.text)
	}
	if b.requests.Load() != 2 || other.requests.Load() != 0 {
		t.Errorf("%d and %d requests, want 2 and none", b.requests.Load(), other.requests.Load())
	}
}
