package netnstest_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/needs"
)

var binDir string // the commands under test

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "netnstest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "netnstest:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	// The tests wait more than they work, so all of them may run at once: what
	// -parallel says on the command line still counts.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, "netnstest:", err)
		return 1
	}
	if os.Geteuid() == 0 {
		sweep()
	}
	return m.Run()
}

// build makes the commands, once.
var build = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binDir+"/", "./cmd/gateway", "./cmd/loadtest")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the commands: %w: %s", err, out)
	}
	return nil
})

// require skips the test, and says why, where it cannot run.
func require(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: processes on a real network take half a minute")
	}
	needs.Root(t, "network namespaces cannot be made")
	needs.Tool(t, "ip", "tc")
	need(t, "network namespaces with bridges and tc", abilities().setup)
	must(t, build())
}
