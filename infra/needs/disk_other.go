//go:build !linux

package needs

import "testing"

// SmallDisk skips the test, and fails it in CI: only on Linux is a small disk at hand.
func SmallDisk(t testing.TB, _ int) string {
	t.Helper()
	Missing(t, "Linux: only there a small file system can be mounted")
	return ""
}

// Fill is not reached without a small disk.
func Fill(testing.TB, string) {}
