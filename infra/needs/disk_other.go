//go:build !linux

package needs

import "testing"

// SmallDisk skips the test: only on Linux is a small disk at hand.
func SmallDisk(t testing.TB, _ int) string {
	t.Helper()
	t.Skip("SKIPPED: a small file system needs Linux")
	return ""
}

// Fill is not reached without a small disk.
func Fill(testing.TB, string) {}
