//go:build linux

package processtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// gatewayBinary is the command under test.
var gatewayBinary string

// spawn runs functions on one operating-system thread that lives as long as the
// tests: Linux sends a child the signal it asked for when the thread that
// started it ends, not the process.
var spawn = make(chan func())

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "processtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, "processtest:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	gatewayBinary = filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-trimpath", "-o", gatewayBinary, "github.com/stampgate/stampgate/cmd/gateway")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "processtest: build the gateway: %v\n%s", err, out)
		return 1
	}
	go func() {
		runtime.LockOSThread()
		for f := range spawn {
			f()
		}
	}()
	return m.Run()
}
