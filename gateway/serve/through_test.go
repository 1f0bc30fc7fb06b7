package serve_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	bodies "github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/relay"
)

// through carries out a call whose body passes straight through.
func (r *rig) through(t *testing.T, body string, length int64) (relay.Result, *sink) {
	t.Helper()
	c := r.call(t.Context(), http.Header{}, plainBody)
	c.Body = bodies.Through(strings.NewReader(body), length)
	w := newSink()
	return r.serve(w, c), w
}

// A backend that cannot be reached has read nothing of a body which passes straight
// through: the next one gets all of it.
func TestAConnectFailureLeavesTheBodyForTheNextTarget(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for _, length := range []int{len(large), -1} {
		b := good(t)
		r := newRig(t, setup{endpoints: []string{refusing(t), b.url}})
		res, w := r.through(t, large, int64(length))
		asked, got := b.seen()
		if res.Attempts != 2 || w.text() != goodAnswer || got != large {
			t.Fatalf("%d attempts, %q to the client, %d of %d bytes arrived", res.Attempts, w.text(), len(got), len(large))
		}
		if int(asked.ContentLength) != length || slices.Equal(asked.TransferEncoding, []string{"chunked"}) != (length < 0) {
			t.Errorf("length %d: announced %d, %q", length, asked.ContentLength, asked.TransferEncoding)
		}
	}
}

// What has been sent is gone: the request is not repeated, whatever the backend or
// its connection did.
func TestABodyThatWasSentIsNotRepeated(t *testing.T) {
	for name, do := range map[string]script{
		"500":               says(answer("500 Internal Server Error", jsonHeader, "{}")),
		"503":               says(answer("503 Service Unavailable", jsonHeader, "{}")),
		"408":               says(answer("408 Request Timeout", jsonHeader, "{}")),
		"a lost connection": says(""),
		"half an answer":    says(answer("200 OK", jsonHeader, goodAnswer)[:70]),
	} {
		t.Run(name, func(t *testing.T) {
			first, second := newBackend(t, do), good(t)
			r := newRig(t, setup{endpoints: []string{first.url, second.url}})
			res, w := r.through(t, plainBody, int64(len(plainBody)))
			if res.Attempts != 1 || first.requests.Load() != 1 || second.conns.Load() != 0 {
				t.Errorf("%d attempts, %d requests to the first and %d to the second", res.Attempts, first.requests.Load(), second.conns.Load())
			}
			if told(res).Status != http.StatusBadGateway || w.text() != "" || res.Outcome != "failed" {
				t.Errorf("told %+v, %q, outcome %s", told(res), w.text(), res.Outcome)
			}
		})
	}
}

// A refusal that cost nothing is no failure: the client may send its body again at
// once where another target is left, and else when the first one opens.
func TestARefusalOfABodyThatWasSentIsTold(t *testing.T) {
	throttles := answer("429 Too Many Requests", jsonHeader+"Retry-After: 7\r\n", "{}")
	for name, tt := range map[string]struct {
		answer  string
		another bool
		status  int
		after   time.Duration
	}{
		"429, another is left":    {throttles, true, http.StatusServiceUnavailable, time.Second},
		"429 by the only one":     {throttles, false, http.StatusTooManyRequests, 7 * time.Second},
		"no such deployment":      {answer("404 Not Found", jsonHeader, `{"error":{"code":"DeploymentNotFound"}}`), true, http.StatusServiceUnavailable, time.Second},
		"our credential is wrong": {answer("401 Unauthorized", jsonHeader, "{}"), true, http.StatusServiceUnavailable, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			endpoints := []string{newBackend(t, says(tt.answer)).url}
			if tt.another {
				endpoints = append(endpoints, good(t).url)
			}
			r := newRig(t, setup{endpoints: endpoints})
			res, _ := r.through(t, plainBody, int64(len(plainBody)))
			got := told(res)
			if res.Attempts != 1 || got.Status != tt.status || got.Final || got.After <= tt.after/2 || got.After > 2*tt.after {
				t.Errorf("told %+v after %d attempts", got, res.Attempts)
			}
		})
	}
}
