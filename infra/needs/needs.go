// Package needs says what a test cannot run without: tools, root, a disk that
// can be filled.
//
// What is missing on someone's machine skips the test, in words that a search
// for SKIPPED finds. In CI, which has everything and is root, it is a failure: a
// rule that is never checked there is no rule. It never installs anything. Only
// tests import it.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Tool skips the test where one of the programs is not installed, and fails it
// in CI.
func Tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		// Where administrators' programs lie, which is not in everyone's path.
		if _, err := os.Stat("/usr/sbin/" + name); err != nil {
			Missing(t, name+" is not installed")
		}
	}
}

// Missing skips the test for a reason, and fails it in CI.
func Missing(t testing.TB, why string) {
	t.Helper()
	if CI() {
		t.Fatal("CI has to have what this test needs: " + why)
	}
	t.Skip("SKIPPED:", why)
}

// Root skips the test where this process is not root, what for being the words
// that follow, and fails it in CI.
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root: without it "+what)
	}
}

// CI reports whether the tests run in continuous integration.
func CI() bool {
	value := os.Getenv("CI")
	return value != "" && value != "false"
}
