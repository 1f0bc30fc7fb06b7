package netnstest_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ip and tc run the command of that name; the error holds what it said.
func ip(args ...string) error { return second(output("ip", args...)) }

func tc(args ...string) error { return second(output("tc", args...)) }

func second(_ []byte, err error) error { return err }

func output(name string, args ...string) ([]byte, error) {
	// A cleanup needs it after the test's context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.Join(strings.Fields(string(out)), " "))
	}
	return out, nil
}

// must stops the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// addNamespace makes a namespace that goes with the test.
func addNamespace(t *testing.T, name string) {
	t.Helper()
	must(t, ip("netns", "add", name))
	t.Cleanup(func() {
		if err := ip("netns", "del", name); err != nil {
			t.Error(err)
		}
	})
	must(t, ip("-n", name, "link", "set", "lo", "up"))
}

func namespaceFile(name string) string { return filepath.Join("/run/netns", name) }

// setnsNumber is the number of setns(2), which package syscall does not have on
// every machine.
func setnsNumber() (uintptr, error) {
	switch runtime.GOARCH {
	case "amd64":
		return 308, nil
	case "arm64", "riscv64", "loong64":
		return 268, nil
	}
	return 0, fmt.Errorf("the number of setns(2) on %s is not known here", runtime.GOARCH)
}

func setns(path string) error {
	number, err := setnsNumber()
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := syscall.RawSyscall(number, f.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return os.NewSyscallError("setns "+path, errno)
	}
	return nil
}

// inNamespace runs f on a thread that is in the namespace: sockets and tap
// devices that f opens belong to it for good. f starts no goroutine that opens
// any.
//
// The thread goes back afterwards rather than ends, because the kernel kills a
// child with the thread that started it (Pdeathsig).
func inNamespace(name string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home := fmt.Sprintf("/proc/self/task/%d/ns/net", syscall.Gettid())
		back, err := os.Open(home)
		if err != nil {
			result <- err
			return
		}
		defer back.Close()
		if err := setns(namespaceFile(name)); err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		err = f()
		if backErr := setns(fmt.Sprintf("/proc/self/fd/%d", back.Fd())); backErr != nil {
			result <- backErr // still locked: nobody else may get this thread
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// dialer opens connections from within a namespace. Addresses are literal, so
// nothing is looked up.
func dialer(name string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		nsErr := inNamespace(name, func() error {
			conn, err = (&net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}).DialContext(ctx, network, addr)
			return err
		})
		return conn, nsErr
	}
}

// client returns an HTTP client whose requests come from the namespace.
func client(t *testing.T, namespace string, timeout time.Duration) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: dialer(namespace), MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: timeout}
}

// sweep removes the namespaces of test processes that died before they could.
func sweep() {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return // there are none
	}
	for _, e := range entries {
		var pid, number int
		var rest string
		if n, _ := fmt.Sscanf(e.Name(), "sg-%d-%d-%s", &pid, &number, &rest); n != 3 {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = ip("netns", "del", e.Name()) // somebody else swept it
		}
	}
}
