package edge

import (
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// One host is one source, however many addresses its network gives it.
func TestSourceIsOneHost(t *testing.T) {
	for _, tt := range []struct {
		name, one, other string
		same             bool
	}{
		{"one address", "192.0.2.1:1", "192.0.2.1:2", true},
		{"two addresses", "192.0.2.1:1", "192.0.2.2:1", false},
		{"one address, once in IPv6's clothes", "192.0.2.1:1", "[::ffff:192.0.2.1]:2", true},
		{"one network of IPv6", "[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:1", true},
		{"two networks of IPv6", "[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		{"one link, two interfaces", "[fe80::1%a]:1", "[fe80::1%b]:1", true},
	} {
		address := func(text string) net.Addr {
			a, err := net.ResolveTCPAddr("tcp", text)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		if same := source(address(tt.one)) == source(address(tt.other)); same != tt.same {
			t.Errorf("%s: the same source: %v", tt.name, same)
		}
	}
}

func TestCounterGivesBackWhatItLent(t *testing.T) {
	c := NewCounter[string](2)
	for round := range 3 {
		for i, want := range []bool{true, true, false} {
			if c.Enter("a") != want {
				t.Fatalf("round %d, use %d of a: not two for each", round, i+1)
			}
		}
		if !c.Enter("b") {
			t.Fatalf("round %d: b has to wait for a", round)
		}
		c.Leave("a")
		c.Leave("a")
		c.Leave("b")
	}
	if len(c.used) != 0 {
		t.Errorf("%v is kept of what nobody uses", c.used)
	}
}

// An earlier deadline that someone set holds for a write that begins after it was
// set; one that has passed, or of the last answer, does not hold for the next.
func TestAnEarlierWriteDeadlineHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nobody reads: every write waits for its deadline
		defer far.Close()
		c := &conn{Conn: near, listener: Listen(nil, Limits{Write: time.Minute})}
		wait := func() time.Duration {
			start := time.Now()
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if d := wait(); d != 500*time.Millisecond {
			t.Errorf("a write with a deadline in 500 ms took %v", d)
		}
		if d := wait(); d != time.Minute {
			t.Errorf("a write after that deadline took %v", d)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		noteState(c, http.StateIdle)
		if d := wait(); d != time.Minute {
			t.Errorf("a write of the next answer took %v", d)
		}
		_ = c.SetDeadline(time.Now().Add(time.Hour))
		if d := wait(); d != time.Minute {
			t.Errorf("a write with a later deadline took %v", d)
		}
	})
}
