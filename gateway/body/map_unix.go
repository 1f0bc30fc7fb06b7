//go:build unix

package body

import (
	"os"
	"syscall"
)

// mapped maps a file that nobody else knows, and so nobody shortens.
func mapped(f *os.File, size int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_PRIVATE)
}

func unmap(p []byte) error { return syscall.Munmap(p) }
