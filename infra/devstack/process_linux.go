package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// childAttributes puts a child into a process group of its own and has the
// kernel kill it when the stack's own process dies without a chance to do so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// processStart identifies a process beyond its pid, which the system gives to
// another one later: the boot, and the moment in it when the process started.
// It returns false when there is no such process, or only its remains.
func processStart(pid int) (string, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field is the program's name in parentheses, and may itself hold
	// spaces and parentheses: count from the last one.
	_, rest, ok := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ") ")
	fields := strings.Fields(rest)
	const state, startTime = 0, 19 // fields 3 and 22 of proc_pid_stat(5)
	if !ok || len(fields) <= startTime || fields[state] == "Z" {
		return "", false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[startTime], true
}

// errLocked: another process holds the lock.
var errLocked = errors.New("locked by another process")

// lockFile takes the exclusive lock of a file, which the kernel gives back
// when the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// supported: see the other systems' file.
func supported() error { return nil }
