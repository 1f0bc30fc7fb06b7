//go:build unix

package descriptor

import "syscall"

// Limit returns how many descriptors the process may have open, 0 if that is not
// known. Go raises the soft limit to the hard one when the process starts.
func Limit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Cur) //nolint:unconvert // signed on some systems
}
