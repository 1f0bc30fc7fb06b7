package release_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// mostBytes bounds the gateway's binary. What is linked is what can be attacked and
// what every machine pulls: who needs more says here what for.
const mostBytes = 25_000_000

// Built as a release is, the gateway stays small.
func TestTheGatewayIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the first build takes minutes")
	}
	binary := filepath.Join(t.TempDir(), "gateway")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "../../cmd/gateway")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostBytes {
		t.Errorf("the gateway has %d bytes, want at most %d: see what go version -m and go list -deps name that it had not", info.Size(), mostBytes)
	}
}
