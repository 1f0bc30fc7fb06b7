package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
)

// ended runs the command to its end and returns exit code, output and errors.
func ended(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	cmd := process(t, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func configOf(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "controlplane.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "D/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A fault of the configuration is told by check and by the start with the same
// words, each with its path.
func TestCheckFailsWhereTheStartWouldAndSaysTheSame(t *testing.T) {
	const rest = "tokenFile: D/token\nsigningKeyFile: D/key\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing at all":      {"", []string{"is empty", "tokenFile", "signingKeyFile", "boundaries"}},
		"plain HTTP":          {rest + "listen: 0.0.0.0:9400\nembedded: {dir: D/e}\nboundaries: {eu: {}}\n", []string{"tls: 0.0.0.0:9400 is not loopback", "certFile and keyFile"}},
		"no place for etcd":   {rest + "boundaries: {eu: {}, us: {}}\n", []string{"boundaries.eu", "boundaries.us", "embedded.dir"}},
		"an etcd by no URL":   {rest + "boundaries: {eu: {etcd: {endpoints: [\"h:1\"]}}}\n", []string{"boundaries.eu", "etcd.endpoints[0]"}},
		"a name that is none": {rest + "embedded: {dir: D/e}\nboundaries: {\"e u\": {}}\n", []string{`"e u"`, "small letters"}},
		"a word that is none": {rest + "borders: {}\n", []string{"borders"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := configOf(t, c.text)
			var said [2]string
			for i, args := range [][]string{{"check", "--config", path}, {"--config", path}} {
				code, out, errs := ended(t, args...)
				fault, hint, _ := strings.Cut(errs, "\nsee ")
				if code != command.Usage || out != "" || hint == "" {
					t.Errorf("%v: exit code %d:\n%s%s", args, code, out, errs)
				}
				said[i] = strings.TrimPrefix(fault, "controlplane: ")
			}
			if said[0] != said[1] || !strings.HasPrefix(said[0], path+": ") {
				t.Errorf("check says %q, the start %q", said[0], said[1])
			}
			for _, want := range c.want {
				if !strings.Contains(said[0], want) {
					t.Errorf("%q lacks %q", said[0], want)
				}
			}
		})
	}
}

func TestCheckLeavesNothingBehind(t *testing.T) {
	path := config(t)
	code, out, errs := ended(t, "check", "--config", path)
	if code != command.Done || errs != "" || out != path+" is valid: 1 boundaries, listening on 127.0.0.1:0\n" {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestAnAddressInUseEndsItWithItsName(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := configOf(t, "listen: "+taken.Addr().String()+"\ntokenFile: D/token\nsigningKeyFile: D/key\nembedded: {dir: D/etcd}\nboundaries: {eu: {}}\n")
	code, out, errs := ended(t, "--config", path)
	if code != command.Failed || out != "" || !strings.Contains(errs, "address already in use") || !strings.Contains(errs, taken.Addr().String()) {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "etcd")); err == nil {
		t.Error("an etcd was started for nothing")
	}
}

// The ready line is what scripts and the development stack wait for. Ctrl-C ends
// it as SIGTERM does, and neither token nor key was ever said.
func TestTheReadyLineAndItsEndByCtrlC(t *testing.T) {
	path := config(t)
	cmd := process(t, "--config", path, "--allow-loopback-backends")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		var l struct {
			Message   string
			URL       string
			PublicKey string `json:"public_key"`
			Version   string
			Etcd      map[string][]string
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
		}
		if l.Message != "ready" {
			continue
		}
		if !strings.HasPrefix(l.URL, "http://127.0.0.1:") || !strings.HasPrefix(l.PublicKey, "ed25519:") || l.Version == "" || len(l.Etcd["eu"]) != 1 {
			t.Errorf("ready line %s", lines.Text())
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v:\n%s", err, log.String())
	}
	for _, name := range []string{"token", "key"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		for secret := range strings.FieldsSeq(string(text)) {
			if len(secret) > 20 && strings.Contains(log.String(), secret) {
				t.Errorf("what the %s file holds is in the log", name)
			}
		}
	}
}
