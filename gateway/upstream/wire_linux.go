package upstream

import (
	"errors"
	"syscall"
)

// hungUp reports whether an idle socket cannot carry a request: its other end is
// gone, or has said something unasked, which on an idle connection is a farewell
// (an alert of TLS, 408). It takes nothing away from the socket's reader.
func hungUp(fd uintptr, buf []byte) bool {
	_, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
}
