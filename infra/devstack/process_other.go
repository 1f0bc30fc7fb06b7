//go:build !linux

package devstack

import (
	"errors"
	"os"
	"syscall"
)

var errLocked = errors.New("locked by another process")

func supported() error {
	return errors.New("the development stack runs on Linux only: it gives each simulated instance an address of its own in 127.0.0.0/8, and reads from /proc which processes are its own. Run it in a Linux container or virtual machine")
}

func childAttributes() *syscall.SysProcAttr { return nil }

func processStart(int) (string, bool) { return "", false }

func lockFile(string) (*os.File, error) { return nil, supported() }
