package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/cmd/internal/command/commandtest"
)

// serving starts a gateway whose credential is at hand, and returns it when it says
// that it is ready.
func serving(t *testing.T) *commandtest.Running {
	t.Helper()
	dir := folder(t)
	policy := strings.Replace(aPolicy, "{managedIdentity: {}}", "{apiKeyEnv: GATEWAY_TEST_KEY}", 1)
	if err := os.WriteFile(filepath.Join(dir, "own.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := commandtest.New(t, "--config", write(t, dir, aFileBase+"policy: {file: D/own.yaml}\ndrain: {notice: 1ms, timeout: 10s}\n"))
	cmd.Env = append(cmd.Env, "GATEWAY_TEST_KEY=x")
	return commandtest.Start(t, cmd)
}

// ended sends the signal and wants a good end, with nothing said on the output.
func ended(t *testing.T, r *commandtest.Running, signal os.Signal) (log string) {
	t.Helper()
	log, err := r.End(t, signal)
	if err != nil || r.Out.Len() > 0 {
		t.Errorf("ended with %v, and wrote %q to its output", err, r.Out.String())
	}
	return log
}

// Either signal that asks for an end gets an orderly one: health fails, and the
// exit code is 0.
func TestASignalEndsItWithSuccess(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serving(t)
			var ready struct{ URL string }
			if err := json.Unmarshal(r.Ready, &ready); err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequestWithContext(t.Context(), "GET", ready.URL+"/health/live", nil)))
			if err != nil {
				t.Fatalf("it says that it is ready at %q: %v", ready.URL, err)
			}
			if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
				t.Errorf("alive at %q: %d", ready.URL, resp.StatusCode)
			}
			if log := ended(t, r, signal); strings.Contains(log, `"level":"error"`) {
				t.Errorf("while it ends it says\n%s", log)
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
	r := serving(t)
	if err := r.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	for r.Log.Scan() && !strings.HasPrefix(r.Log.Text(), "goroutine ") {
		continue
	}
	if !strings.HasPrefix(r.Log.Text(), "goroutine ") {
		t.Errorf("no goroutine is shown, the last line is %q", r.Log.Text())
	}
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for r.Log.Scan() { // the dump is no JSON
		continue
	}
	if err := r.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A terminal that is closed, or a habit of reloading, ends nobody's calls.
func TestSIGHUPChangesNothing(t *testing.T) {
	r := serving(t)
	if err := r.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ended(t, r, syscall.SIGTERM)
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
			got := commandtest.Run(t, "--config", write(t, folder(t), config))
			if got.Code != command.Failed || !strings.Contains(got.Errors, "address already in use") || !strings.Contains(got.Errors, at) || got.Out != "" {
				t.Errorf("exit code %d:\n%s%s", got.Code, got.Out, got.Errors)
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
	if got := commandtest.Run(t, "check", "--config", config); got.Code != command.Usage || !strings.Contains(got.Errors, "backends[0].endpoint") {
		t.Errorf("without: %d %s", got.Code, got.Errors)
	}
	if got := commandtest.Run(t, "check", "--config", config, "--allow-loopback-backends"); got.Code != 0 || got.Errors != "" {
		t.Errorf("with it: %d %s", got.Code, got.Errors)
	}
}

// Every fault of a configuration is told at once, each with its path.
func TestEveryFaultOfAConfigurationIsToldWithItsPath(t *testing.T) {
	config := write(t, folder(t), "boundary: eu\nlisten: nowhere\nresidency: {countries: []}\nadmin: {listen: x}\n")
	got := commandtest.Run(t, "check", "--config", config)
	if got.Code != command.Usage {
		t.Errorf("exit code %d", got.Code)
	}
	for _, path := range []string{"region", "listen", "residency.countries", "admin.listen", "policy"} {
		if !strings.Contains(got.Errors, path) {
			t.Errorf("no word of %s in\n%s", path, got.Errors)
		}
	}
}

func TestHelpSaysWhatTheExitCodesMean(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"check", "--help"}} {
		got := commandtest.Run(t, args...)
		if got.Code != 0 || got.Errors != "" || !strings.Contains(got.Out, "Exit codes: 0 ") || !strings.Contains(got.Out, "--config") {
			t.Errorf("%v: %d\n%s%s", args, got.Code, got.Out, got.Errors)
		}
	}
}
