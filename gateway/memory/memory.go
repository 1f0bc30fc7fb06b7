// Package memory knows how much memory this process may use, and reads sizes as an
// operator writes them.
//
// It says nothing of what is held: that is bytebudget's. Only the gateway's
// configuration uses it.
package memory

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// Limit is how many bytes of memory this process may use: the less of
// GOMEMLIMIT and of its control group's; 0 if neither says.
func Limit() int64 {
	limit := debug.SetMemoryLimit(-1) // reads it
	if n, err := groupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); err == nil {
		limit = min(limit, n)
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// groupLimit reads the memory limit of this process's control group (version 2)
// and of those above it, as far as they can be seen.
func groupLimit(self, root string) (int64, error) {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0, err
	}
	_, group, ok := strings.Cut(strings.TrimSpace(string(text)), "0::/")
	if !ok {
		return 0, errors.New("not in a control group of version 2")
	}
	limit := int64(math.MaxInt64)
	for dir := filepath.Join(root, group); len(dir) >= len(root); dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "memory.max")) //nolint:gosec // the kernel names the group
		if err != nil {
			continue // the outermost group has none
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is none
			limit = min(limit, n)
		}
	}
	return limit, nil
}
