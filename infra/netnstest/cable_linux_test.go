package netnstest_test

import (
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A cable joins two tap devices in user space, for kernels without netem: what
// the switch sends to the gateway comes out late, in order. The way back is
// immediate, as with a delay on the switch's port.
type cable struct {
	frames chan lateFrame
	done   chan struct{}
	wg     sync.WaitGroup
}

type lateFrame struct {
	due  time.Time
	data []byte
}

const (
	// maxFrame is more than an Ethernet frame of 1,500 bytes with its header.
	maxFrame = 1 << 11
	// cableFrames may be on their way: a thousand packets, netem's own default.
	cableFrames = 1000
)

// layCable makes a tap device in each namespace and joins them until the test
// ends.
func layCable(t *testing.T, gateway, gatewayDevice, hub, hubDevice string, delay time.Duration) {
	t.Helper()
	open := func(namespace, device string) (f *os.File) {
		must(t, inNamespace(namespace, func() (err error) {
			f, err = openTap(device)
			return err
		}))
		return f
	}
	near := open(gateway, gatewayDevice)
	far := open(hub, hubDevice)
	c := &cable{frames: make(chan lateFrame, cableFrames), done: make(chan struct{})}
	c.wg.Go(func() { carry(near, func(b []byte) { _, _ = far.Write(b) }) })
	c.wg.Go(func() { carry(far, func(b []byte) { c.send(append([]byte(nil), b...), delay) }) })
	c.wg.Go(func() { c.deliver(near) })
	t.Cleanup(func() {
		close(c.done)
		_ = near.Close()
		_ = far.Close()
		c.wg.Wait()
	})
}

// carry hands on what is read until the device is closed.
func carry(from *os.File, to func([]byte)) {
	buf := make([]byte, maxFrame)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		to(buf[:n])
	}
}

// send drops what does not fit, as a queue in a network does.
func (c *cable) send(b []byte, delay time.Duration) {
	select {
	case c.frames <- lateFrame{time.Now().Add(delay), b}:
	default:
	}
}

func (c *cable) deliver(to *os.File) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case f := <-c.frames:
			timer.Reset(time.Until(f.due))
			select {
			case <-c.done:
				return
			case <-timer.C:
			}
			_, _ = to.Write(f.data) // a device that is down loses it
		}
	}
}

// openTap makes a tap device in the thread's namespace. It goes when closed.
func openTap(name string) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte // the rest of struct ifreq
	}{flags: syscall.IFF_TAP | syscall.IFF_NO_PI}
	copy(request.name[:syscall.IFNAMSIZ-1], name)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("make a tap device", errno)
	}
	return os.NewFile(uintptr(fd), "tap "+name), nil
}
