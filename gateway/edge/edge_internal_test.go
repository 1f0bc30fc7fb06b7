package edge

import (
	"net"
	"testing"
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
