package devstack

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test program stands in for the stack's programs when it is called by one
// of their names: impostors show what no healthy program does.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); !strings.HasSuffix(name, ".test") {
		os.Exit(impostor(name))
	}
	// A program under the race detector takes a second to end; impostors need not.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// impostorEnv says how an impostor behaves. It is read from GODEBUG, one of the
// few variables that children see of ours; the runtime ignores what it does not
// know.
const impostorEnv = "GODEBUG"

func impostor(name string) int {
	behaviour := os.Getenv(impostorEnv)
	fmt.Fprintf(os.Stderr, "{\"message\":\"I am %s\"}\n", name)
	switch {
	case strings.Contains(behaviour, name+"=dies"):
		if strings.Contains(behaviour, "=stubborn") {
			awaitReadySibling()
		}
		fmt.Fprintln(os.Stderr, `{"level":"error","message":"the answer is 42"}`)
		return 3
	case strings.Contains(behaviour, name+"=stubborn"):
		signal.Ignore(syscall.SIGTERM)
	}
	fmt.Fprintln(os.Stderr, `{"level":"info","message":"ready"}`)
	wait := make(chan os.Signal, 1)
	if !strings.Contains(behaviour, name+"=stubborn") {
		signal.Notify(wait, syscall.SIGTERM)
	}
	<-wait
	fmt.Fprintln(os.Stderr, `{"message":"bye"}`)
	return 0
}

// awaitReadySibling waits until another impostor, whose log is beside ours, has
// said that it is ready: a stubborn one is deaf only from then on.
func awaitReadySibling() {
	own, err := os.Readlink("/proc/self/fd/2")
	if err != nil {
		panic(err)
	}
	for range time.Tick(time.Millisecond) {
		logs, _ := filepath.Glob(filepath.Join(filepath.Dir(own), "*.log"))
		for _, path := range logs {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), `"ready"`) {
				return
			}
		}
	}
}

// impostors fills a folder with programs that are this one.
func impostors(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"controlplane", "gateway", "loadtest"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// busy listens on an address until the test ends.
func busy(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
}
