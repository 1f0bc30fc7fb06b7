package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/cmd/internal/command"
)

// A line is what is read of the log here.
type line struct {
	Level, Message, URL string
}

// serving starts a gateway whose credential is at hand and returns it when it
// says that it is ready, with what reads the rest of its log.
func serving(t *testing.T) (*exec.Cmd, *bufio.Scanner, line) {
	t.Helper()
	dir := folder(t)
	policy := strings.Replace(aPolicy, "{managedIdentity: {}}", "{apiKeyEnv: GATEWAY_TEST_KEY}", 1)
	if err := os.WriteFile(filepath.Join(dir, "own.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	config := write(t, dir, aFileBase+"policy: {file: D/own.yaml}\ndrain: {notice: 1ms, timeout: 10s}\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], "--config", config)
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0", "GATEWAY_TEST_KEY=x")
	var out strings.Builder
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out.Len() > 0 {
			t.Errorf("it writes to its output: %s", out.String())
		}
	})
	log := bufio.NewScanner(stderr)
	for log.Scan() {
		var l line
		if err := json.Unmarshal(log.Bytes(), &l); err != nil {
			t.Fatalf("the log has a line that is no JSON: %s", log.Text())
		}
		if l.Message == "ready" {
			return cmd, log, l
		}
	}
	t.Fatalf("it ended before it was ready: %v", cmd.Wait())
	return nil, nil, line{}
}

// Either signal that asks for an end gets an orderly one: health fails, and the
// exit code is 0.
func TestASignalEndsItWithSuccess(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, log, ready := serving(t)
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequestWithContext(t.Context(), "GET", ready.URL+"/health/live", nil)))
			if err != nil {
				t.Fatalf("it says that it is ready at %q: %v", ready.URL, err)
			}
			if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
				t.Errorf("alive at %q: %d", ready.URL, resp.StatusCode)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			for log.Scan() {
				var l line
				if err := json.Unmarshal(log.Bytes(), &l); err != nil || l.Level == "error" {
					t.Errorf("while it ends it says %s (%v)", log.Text(), err)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

// Goroutines are for whoever looks into a process that hangs: it goes on.
func TestSIGQUITWritesAllGoroutinesAndItGoesOn(t *testing.T) {
	cmd, log, _ := serving(t)
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	for log.Scan() && !strings.HasPrefix(log.Text(), "goroutine ") {
		continue
	}
	if !strings.HasPrefix(log.Text(), "goroutine ") {
		t.Errorf("no goroutine is shown, the last line is %q", log.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for log.Scan() {
		continue
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// What goes wrong while it runs is told from what is wrong with a configuration.
func TestAnAddressInUseIsAFailureWhileRunningWhosever(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	at := taken.Addr().String()
	for name, config := range map[string]string{
		"of clients": strings.Replace(aFileBase, "127.0.0.1:0", at, 1) + fromFile,
		"of admins":  aFileBase + fromFile + "admin: {listen: \"" + at + "\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := gatewayCommand(t, "--config", write(t, folder(t), config))
			if got.code != command.Failed || !strings.Contains(got.errors, "address already in use") || !strings.Contains(got.errors, at) || got.out != "" {
				t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
			}
		})
	}
}

func TestBackendsOnThisMachineNeedTheSwitch(t *testing.T) {
	dir := folder(t)
	loop := strings.NewReplacer("https://swc.openai.azure.com", "http://127.0.0.1:80", "{managedIdentity: {}}", "{apiKeyEnv: KEY}").Replace(aPolicy)
	if err := os.WriteFile(filepath.Join(dir, "loop.yaml"), []byte(loop), 0o600); err != nil {
		t.Fatal(err)
	}
	config := write(t, dir, aFileBase+"policy: {file: D/loop.yaml}\n")
	if got := gatewayCommand(t, "check", "--config", config); got.code != command.Usage || !strings.Contains(got.errors, "backends[0].endpoint") {
		t.Errorf("without: %d %s", got.code, got.errors)
	}
	if got := gatewayCommand(t, "check", "--config", config, "--allow-loopback-backends"); got.code != 0 || got.errors != "" {
		t.Errorf("with it: %d %s", got.code, got.errors)
	}
}

// Every fault of a configuration is told at once, each with its path.
func TestEveryFaultOfAConfigurationIsToldWithItsPath(t *testing.T) {
	config := write(t, folder(t), "boundary: eu\nlisten: nowhere\nresidency: {countries: []}\nadmin: {listen: x}\n")
	got := gatewayCommand(t, "check", "--config", config)
	if got.code != command.Usage {
		t.Errorf("exit code %d", got.code)
	}
	for _, path := range []string{"region", "listen", "residency.countries", "admin.listen", "policy"} {
		if !strings.Contains(got.errors, path) {
			t.Errorf("no word of %s in\n%s", path, got.errors)
		}
	}
}

func TestHelpSaysWhatTheExitCodesMean(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"check", "--help"}} {
		got := gatewayCommand(t, args...)
		if got.code != 0 || got.errors != "" || !strings.Contains(got.out, "Exit codes: 0 ") || !strings.Contains(got.out, "--config") {
			t.Errorf("%v: %d\n%s%s", args, got.code, got.out, got.errors)
		}
	}
}
