// Package check_test checks what `make infra-check` says of a machine that lacks
// something.
package check_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A tool that is missing is named; in CI it is an error.
func TestMissingToolsAreNamed(t *testing.T) {
	// A machine with what the script itself needs, and nothing else.
	bin := t.TempDir()
	for _, tool := range []string{"bash", "id", "env"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	setup := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), "./setup")
		cmd.Env = append([]string{"PATH=" + bin}, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := setup()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, tool := range []string{"terraform", "promtool", "buildah", "systemd-analyze"} {
		if !strings.Contains(out, "SKIPPED infra-check: "+tool+" is not installed") {
			t.Errorf("%s is not named: %s", tool, out)
		}
	}
	if out, err := setup("CI=true"); err == nil {
		t.Errorf("in CI it is no error: %s", out)
	}
}

// The provider is not built for a try of the release's check: where it cannot run
// it says so, loudly, and fails.
func TestValidateSaysThatItDidNotRun(t *testing.T) {
	bin := t.TempDir()
	for _, tool := range []string{"bash", "dirname"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), "./validate")
	cmd.Env = []string{"PATH=" + bin}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DID NOT RUN") || !strings.Contains(string(out), "not fit for a release") {
		t.Errorf("%v: %s", err, out)
	}
}
