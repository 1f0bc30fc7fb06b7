package serve_test

import (
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// Where this machine has no descriptor for another connection to a backend, the
// answer is 503 overloaded and the backend is not blamed. Idle connections to other
// backends make room first, and what a connection held is free once it has ended.
func TestWithoutDescriptorsTheAnswerIsOverloaded(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 2)
	slow := newBackend(t, func(_ int, c net.Conn) bool {
		begun <- struct{}{}
		<-hold
		_, err := c.Write([]byte(answer("200 OK", jsonHeader, goodAnswer)))
		return err == nil
	})
	slots := descriptor.NewSlots(2)
	r := newRig(t, setup{endpoints: []string{slow.url}, dialer: upstream.Dialer{Slots: slots}})
	front := r.front()
	json := http.Header{"Content-Type": {"application/json"}}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { wantGood(t, r.post(front, json, plainBody), "1") })
	}
	<-begun
	<-begun
	got := r.post(front, json, plainBody)
	if got.StatusCode != http.StatusServiceUnavailable || slow.requests.Load() != 2 {
		t.Errorf("with every descriptor in use: %d, %d requests arrived", got.StatusCode, slow.requests.Load())
	}
	noEvidence(t, r)
	close(hold)
	wg.Wait()
	r.pools.Close()
	if n := slots.Used(); n != 0 {
		t.Errorf("%d descriptors are held after the end", n)
	}
}

// What one backend's idle connections hold is given up for another's.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	throttled := newBackend(t, func(_ int, c net.Conn) bool {
		_, err := c.Write([]byte(answer("429 Too Many Requests", "Retry-After: 1\r\n", "")))
		return err == nil
	})
	slots := descriptor.NewSlots(1)
	r := newRig(t, setup{endpoints: []string{throttled.url, good(t).url}, dialer: upstream.Dialer{Slots: slots}})
	wantGood(t, r.ask(plainBody), "2")
	if n := slots.Used(); n > 1 {
		t.Errorf("%d connections are open, at most one may be", n)
	}
}
