package membertest

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The network does what its comment says, since everything else leans on it.
func TestPacketsAreLostDelayedAndCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t, 1)
		a, b := n.Next(), n.Next()
		count := func() (got int) {
			for range 1000 {
				if _, err := a.WriteTo([]byte("x"), b.Addr().String()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			for {
				select {
				case <-b.PacketCh():
					got++
				default:
					return got
				}
			}
		}
		if got := count(); got != 1000 {
			t.Errorf("%d of 1000 arrived", got)
		}
		n.SetLoss(0.3)
		if got := count(); got < 620 || got > 780 {
			t.Errorf("%d of 1000 arrived at 30 %% loss", got)
		}
		n.SetLoss(0)
		n.SetUDP(false)
		if got := count(); got != 0 {
			t.Errorf("%d arrived without UDP", got)
		}
		n.SetUDP(true)
		n.Partition([]netip.AddrPort{a.Addr()})
		if got := count(); got != 0 {
			t.Errorf("%d arrived across a cut", got)
		}
		n.Heal()
		n.SetDelay(40*time.Millisecond, 60*time.Millisecond)
		start := time.Now()
		if _, err := a.WriteTo([]byte("x"), b.Addr().String()); err != nil {
			t.Fatal(err)
		}
		p := <-b.PacketCh()
		if took := p.Timestamp.Sub(start); took < 40*time.Millisecond || took > 60*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got := a.Traffic(); got.Packets != 4001 || got.PacketBytes != 4001 {
			t.Errorf("counted %+v", got)
		}
	})
}

func TestADialIsRefusedOrTakesItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t, 2)
		a, b := n.Next(), n.Next()
		dial := func(to netip.AddrPort) (time.Duration, error) {
			start := time.Now()
			c, err := a.DialTimeout(to.String(), 2*time.Second)
			if err == nil {
				_ = c.Close()
			}
			return time.Since(start), err
		}
		if took, err := dial(netip.MustParseAddrPort("10.7.7.7:1")); !errors.Is(err, syscall.ECONNREFUSED) || took > 10*time.Millisecond {
			t.Errorf("nobody there: %v after %v", err, took)
		}
		if took, err := dial(b.Addr()); !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Second {
			t.Errorf("nobody accepts: %v after %v", err, took)
		}
		go func() {
			c := <-b.StreamCh()
			buf := make([]byte, 8)
			k, _ := c.Read(buf)
			_, _ = c.Write(buf[:k])
			_, err := c.Read(buf)
			t.Logf("the other end: %v", err)
		}()
		c, err := a.DialTimeout(b.Addr().String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8)
		_, _ = c.Write([]byte("hello"))
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != "hello" {
			t.Errorf("%q, %v", buf[:k], err)
		}
		n.Partition([]netip.AddrPort{a.Addr()})
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("a stream crosses a cut")
		}
		if took, err := dial(b.Addr()); !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Second {
			t.Errorf("across a cut: %v after %v", err, took)
		}
		n.Heal()
		b.Crash()
		if took, err := dial(b.Addr()); !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Second {
			t.Errorf("a crashed machine: %v after %v", err, took)
		}
		_ = n.At(b.Addr()).Shutdown()
		if _, err := dial(b.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v", err)
		}
	})
}
