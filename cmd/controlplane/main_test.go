package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asCommand makes the test binary the command itself.
const asCommand = "CONTROLPLANE_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

func config(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "controlplane.yaml")
	text := strings.ReplaceAll("listen: 127.0.0.1:0\ntokenFile: D/token\nsigningKeyFile: D/key\nembedded: {dir: D/etcd}\nboundaries: {eu: {}}\n", "D", dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodesAndWords(t *testing.T) {
	good := config(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("lisen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no configuration":   {nil, 2, "config"},
		"an unknown flag":    {[]string{"--confg", good}, 2, "confg"},
		"an argument":        {[]string{"--config", good, "x"}, 2, "x"},
		"the version":        {[]string{"--version"}, 0, "controlplane version"},
		"help":               {[]string{"--help"}, 0, "--allow-loopback-backends"},
		"a good check":       {[]string{"check", "--config", good}, 0, "is valid: 1 boundaries"},
		"a bad check":        {[]string{"check", "--config", bad}, 2, "lisen"},
		"a bad start":        {[]string{"--config", bad}, 2, "lisen"},
		"a file that is not": {[]string{"--config", "missing.yaml"}, 2, "missing.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := process(t, c.args...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", got, c.code, c.want, out)
			}
		})
	}
}

func TestItSaysReadyInJSONAndStopsOnSIGTERM(t *testing.T) {
	cmd := process(t, "--config", config(t))
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct{ Message, URL string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("stderr has a line that is no JSON: %s", lines.Text())
		}
		if line.Message == "ready" {
			ready = true
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !ready || stdout.Len() > 0 {
		t.Errorf("ready %v, stdout %q, ended with %v", ready, stdout.String(), err)
	}
}
