package e2e

import (
	"net"
	"strings"
	"testing"
	"time"
)

// Await waits until what holds.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(Limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Dial opens a bare connection to the host of a URL, with a deadline for all
// that is done on it. It ends with the test.
func Dial(t testing.TB, url string) net.Conn {
	t.Helper()
	_, host, _ := strings.Cut(url, "://")
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(Limit)); err != nil {
		t.Fatal(err)
	}
	return c
}
