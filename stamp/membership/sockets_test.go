package membership_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

// startReal runs a gateway on loopback sockets.
func startReal(t *testing.T, cfg membership.Config) *membership.Membership {
	t.Helper()
	cfg.Boundary, cfg.Region, cfg.Fast = "eu", "swedencentral", true
	cfg.Channels = membertest.Config(0).Channels
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.Logger = zerolog.New(t.Output())
	cfg.Registerer = prometheus.NewRegistry()
	m, err := membership.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", cfg.Name, err)
		}
	})
	select {
	case <-m.Started():
	case err := <-done:
		done <- err
		t.Fatalf("%s did not start", cfg.Name)
	}
	return m
}

// The same on real sockets: keys, a message by packet and one by stream, a leave, in both
// kinds of transport.
func TestThreeGatewaysOnRealSockets(t *testing.T) {
	for _, tcpOnly := range []bool{false, true} {
		t.Run(fmt.Sprint("TCP only ", tcpOnly), func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/keys"
			_, line := key()
			write(t, path, line)
			var stamp []*membership.Membership
			for i := range 3 {
				cfg := membership.Config{Name: fmt.Sprint("gw-", i), KeyFile: path, TCPOnly: tcpOnly}
				if i > 0 {
					cfg.Join = []string{stamp[0].LocalAddr().String()}
				}
				stamp = append(stamp, startReal(t, cfg))
			}
			membertest.Await(t, 30*time.Second, "three members", func() bool {
				return !slices.ContainsFunc(stamp, func(m *membership.Membership) bool { return len(m.Members()) != 3 })
			})
			broadcast := func(size int) func() bool {
				payload := make([]byte, size)
				stamp[0].Channel(membertest.Channel).Broadcast(1, payload, membership.Urgent)
				return func() bool {
					return !slices.ContainsFunc(stamp[1:], func(m *membership.Membership) bool {
						list := m.Channel(membertest.Channel).Messages()
						return len(list) != 1 || len(list[0].Payload) != size
					})
				}
			}
			took := membertest.Await(t, 10*time.Second, "a small payload", broadcast(100))
			tookLarge := membertest.Await(t, 10*time.Second, "a large payload", broadcast(10_000))
			t.Logf("received after %v, a large one after %v", took, tookLarge)
			for _, m := range stamp {
				if s := m.Status(); !s.Running || !s.Encrypted || s.Keys != 1 || len(s.Members) != 3 || (s.Transport == "tcp") != tcpOnly {
					t.Errorf("status %+v", s)
				}
			}
		})
	}
}

// A port that gets HTTP, silence or a packet that lies about its length.
func TestTheTCPOnlyPortBearsGarbage(t *testing.T) {
	t.Parallel()
	m := startReal(t, membership.Config{Name: "gw-0", TCPOnly: true})
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "P", "P\x00\x00", "P\xff\xffshort", "P\x00\x05hello", "S", "Sgarbage", ""} {
		c, err := net.Dial("tcp", m.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(text))
		_ = c.Close()
	}
	head := binary.BigEndian.AppendUint16([]byte("P"), 1000)
	slow, err := net.Dial("tcp", m.LocalAddr().String()) // never finishes
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	_, _ = slow.Write(head)
	membertest.Await(t, 10*time.Second, "all counted", func() bool { return m.Status().Dropped["library"] >= 6 })
}

func TestATakenPortIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tcpOnly := range []bool{false, true} {
		m, err := membership.New(membership.Config{
			Boundary: "eu", Region: "swedencentral", Name: "gw-0", Listen: l.Addr().String(), TCPOnly: tcpOnly, Logger: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("TCP only %v: %v", tcpOnly, err)
		}
		if !m.Owner("anything") || len(m.Members()) != 0 {
			t.Error("without gossip a gateway does every job itself")
		}
	}
	m, err := membership.New(membership.Config{
		Boundary: "eu", Region: "swedencentral", Name: "gw-0", Listen: "127.0.0.1:0", Advertise: "0.0.0.0:1", Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "advertise") {
		t.Errorf("an address that nobody can reach: %v", err)
	}
	if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "before") {
		t.Errorf("a second Run: %v", err)
	}
}
