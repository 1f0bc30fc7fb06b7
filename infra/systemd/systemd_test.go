// Package systemd_test checks the units as systemd reads them, and runs what a
// machine does with Azure against servers that stand for Azure's.
package systemd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/needs"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func units(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// image installs everything into a root like that of an image.
func image(t *testing.T) string {
	t.Helper()
	root, binaries := t.TempDir(), t.TempDir()
	program := func(path string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"gateway", "controlplane", "stampctl"} {
		program(filepath.Join(binaries, name))
	}
	for _, path := range []string{"usr/bin/etcd", "usr/bin/prometheus", "bin/sh", "bin/chown", "usr/bin/install"} {
		program(filepath.Join(root, path))
	}
	if out, err := exec.CommandContext(t.Context(), "./install", root, binaries).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Targets that the units name, from this machine.
	targets := filepath.Join(root, "usr/lib/systemd/system")
	if err := os.MkdirAll(targets, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"multi-user", "network-online", "timers", "basic", "sysinit", "shutdown", "network"} {
		text := read(t, "/usr/lib/systemd/system/"+name+".target")
		if err := os.WriteFile(filepath.Join(targets, name+".target"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func verify(t *testing.T, root string) (string, error) {
	t.Helper()
	args := []string{"verify", "--root=" + root}
	for _, pattern := range []string{"*.service", "*.timer"} {
		args = append(args, units(t, filepath.Join(root, "etc/systemd/system", pattern))...)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

func TestUnitsVerify(t *testing.T) {
	needs.Tool(t, "systemd-analyze")
	root := image(t)
	if out, err := verify(t, root); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v: %s", err, out)
	}
	// A misspelt setting is found, or the check above would show nothing.
	unit := filepath.Join(root, "etc/systemd/system/stampgate.service")
	broken := strings.Replace(read(t, unit), "NoNewPrivileges", "NoNewPriviliges", 1)
	if err := os.WriteFile(unit, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := verify(t, root); !strings.Contains(out, "NoNewPriviliges") {
		t.Errorf("a misspelt setting is not found: %s", out)
	}
}

// Exposure as systemd counts it: 2.0 at most for each service.
func TestServicesAreSandboxed(t *testing.T) {
	needs.Tool(t, "systemd-analyze")
	root := image(t)
	security := func(unit string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit).CombinedOutput()
		return string(out), err
	}
	for _, unit := range units(t, filepath.Join(root, "etc/systemd/system/*.service")) {
		out, err := security(unit)
		t.Log(strings.TrimSpace(out[strings.LastIndex(out, "Overall"):]))
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(unit), err)
		}
	}
	// Without its sandbox the gateway's is above that.
	unit := filepath.Join(root, "etc/systemd/system/stampgate.service")
	open := regexp.MustCompile(`(?m)^(Protect|Private|Restrict|SystemCall|Capability).*\n`).ReplaceAllString(read(t, unit), "")
	if err := os.WriteFile(unit, []byte(open), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := security(unit); err == nil {
		t.Error("a service without a sandbox passes")
	}
}

// setting returns the value of a unit's setting.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(read(t, unit))
	if m == nil {
		t.Fatalf("%s does not set %s", unit, name)
	}
	return m[1]
}

// systemd must not kill a gateway that drains as it was told to.
func TestStoppingTakesLongerThanTheDrain(t *testing.T) {
	cfg, err := gateway.ParseConfig([]byte("boundary: eu\nregion: swedencentral\nlisten: 0.0.0.0:8443\n"))
	if err != nil {
		t.Fatal(err)
	}
	stop, err := time.ParseDuration(setting(t, "stampgate.service", "TimeoutStopSec"))
	if err != nil {
		t.Fatal(err)
	}
	drain := time.Duration(cfg.Drain.Notice) + time.Duration(cfg.Drain.Timeout)
	if stop < drain+10*time.Second {
		t.Errorf("TimeoutStopSec = %v, the gateway's defaults drain for %v", stop, drain)
	}
	if got := setting(t, "stampgate.service", "Type"); got != "notify" {
		t.Errorf("Type = %s: systemd would call it started before it serves", got)
	}
}

// Go collects its garbage before systemd slows the gateway down: 90 % of MemoryHigh,
// of whatever memory the machine has.
func TestGoKnowsTheMemoryLimit(t *testing.T) {
	high, err := strconv.Atoi(strings.TrimSuffix(setting(t, "stampgate.service", "MemoryHigh"), "%"))
	if err != nil {
		t.Fatal(err)
	}
	line := setting(t, "stampgate.service", "ExecStartPre")
	script, ok := strings.CutPrefix(line, "+/bin/sh -c '")
	if !ok {
		t.Fatalf("the first ExecStartPre is %q", line)
	}
	file := strings.TrimPrefix(setting(t, "stampgate.service", "EnvironmentFile"), "-")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "meminfo"), []byte("MemTotal:       16384000 kB\nMemFree: 1 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// As systemd would give it to the shell.
	script = strings.NewReplacer("$$", "$", "%%", "%", "/proc/", dir+"/", file, filepath.Join(dir, "env")).Replace(strings.TrimSuffix(script, "'"))
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := read(t, filepath.Join(dir, "env")), fmt.Sprintf("GOMEMLIMIT=%dKiB\n", 16384000/1000*9*high); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What cloud-init enables is there.
func TestMachinesEnableWhatIsInstalled(t *testing.T) {
	found := 0
	for _, module := range []string{"stamp", "policy-store"} {
		text := read(t, filepath.Join("..", "terraform", "modules", module, "main.tf"))
		for _, m := range regexp.MustCompile(`"(stampgate[a-z-]*\.(?:service|timer))"`).FindAllStringSubmatch(text, -1) {
			found++
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s enables %s: %v", module, m[1], err)
			}
		}
	}
	if found < 6 {
		t.Errorf("%d units are enabled", found)
	}
}

// cloud stands for Azure's metadata, vault and storage.
type cloud struct {
	*httptest.Server
	mu      sync.Mutex // guards what follows
	secrets map[string]string
	busy    int // requests for tokens that fail first
	events  []map[string]any
	posted  []string
	saved   map[string]string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{secrets: map[string]string{}, saved: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	fromMachine := r.Header.Get("Metadata") == "true"
	name, isSecret := strings.CutPrefix(r.URL.Path, "/secrets/")
	switch {
	case strings.HasPrefix(r.URL.Path, "/metadata/") && !fromMachine:
		w.WriteHeader(http.StatusBadRequest)
	case r.URL.Path == "/metadata/identity/oauth2/token" && c.busy > 0:
		c.busy--
		w.WriteHeader(http.StatusTooManyRequests)
	case r.URL.Path == "/metadata/identity/oauth2/token" && r.URL.Query().Get("client_id") == "the-identity":
		_, _ = fmt.Fprintf(w, `{"access_token":"for %s"}`, r.URL.Query().Get("resource"))
	case r.URL.Path == "/metadata/instance/compute":
		_, _ = io.WriteString(w, `{"name":"vmss-swc_1"}`)
	case r.URL.Path == "/metadata/scheduledevents" && r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(map[string]any{"Events": c.events})
	case r.URL.Path == "/metadata/scheduledevents":
		c.posted = append(c.posted, string(body))
	case isSecret && r.Header.Get("Authorization") == "Bearer for https://vault.azure.net" && c.secrets[name] != "":
		_ = json.NewEncoder(w).Encode(map[string]string{"value": c.secrets[name]})
	case r.Method == http.MethodPut && r.Header.Get("Authorization") == "Bearer for https://storage.azure.com" && r.Header.Get("x-ms-blob-type") == "BlockBlob":
		c.saved[r.URL.Path] = string(body)
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// azure runs the script as a machine would.
func (c *cloud) azure(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	needs.Tool(t, "python3")
	cmd := exec.CommandContext(t.Context(), "./azure", args...)
	cmd.Env = append(append(os.Environ(), "STAMPGATE_IMDS="+c.URL, "STAMPGATE_VAULT="+c.URL+"/", "STAMPGATE_IDENTITY=the-identity",
		"STAMPGATE_WAIT=0.01"), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestSecretsAreFetched(t *testing.T) {
	c := newCloud(t)
	c.secrets = map[string]string{"tls-crt": "certificate", "tls-key": "key", "etcd-ca-crt": "authority\n"}
	c.busy = 2 // the identity is not known at once
	folder := filepath.Join(t.TempDir(), "secrets")
	names := []string{"STAMPGATE_SECRETS=tls-crt tls-key etcd-ca-crt"}
	if out, err := c.azure(t, names, "secrets", folder); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{"tls.crt": "certificate\n", "tls.key": "key\n", "etcd-ca.crt": "authority\n"} {
		file := filepath.Join(folder, name)
		if got := read(t, file); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
		if info, _ := os.Stat(file); info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}

	// One secret is gone: nothing changes, so that no certificate meets another's key.
	c.mu.Lock()
	c.secrets["tls-crt"] = "new certificate"
	delete(c.secrets, "tls-key")
	c.mu.Unlock()
	if out, err := c.azure(t, names, "secrets", folder); err == nil {
		t.Errorf("a missing secret is no error: %s", out)
	}
	if got := read(t, filepath.Join(folder, "tls.crt")); got != "certificate\n" {
		t.Errorf("half of a pair was replaced: %q", got)
	}

	c.mu.Lock()
	c.secrets["tls-key"] = "new key"
	c.mu.Unlock()
	out, err := c.azure(t, names, "secrets", folder)
	if err != nil || strings.Contains(out, "etcd-ca.crt") || !strings.Contains(out, "tls.key is new") {
		t.Errorf("%v: only what changed is replaced: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestGoodbyeDrainsFirst(t *testing.T) {
	c := newCloud(t)
	c.events = []map[string]any{
		{"EventId": "other", "EventType": "Terminate", "Resources": []string{"vmss-swc_2"}},
		{"EventId": "reboot", "EventType": "Reboot", "Resources": []string{"vmss-swc_1"}},
		{"EventId": "ours", "EventType": "Terminate", "Resources": []string{"vmss-swc_1"}},
	}
	// What stands for systemctl notes that the event was not answered before.
	dir := t.TempDir()
	systemctl := filepath.Join(dir, "systemctl")
	if err := os.WriteFile(systemctl, []byte("#!/bin/sh\necho \"$@\" >"+dir+"/asked\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := c.azure(t, []string{"STAMPGATE_SYSTEMCTL=" + systemctl}, "goodbye", "stampgate.service"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := read(t, dir+"/asked"); got != "stop stampgate.service\n" {
		t.Errorf("systemctl %q", got)
	}
	if want := []string{`{"StartRequests": [{"EventId": "ours"}]}`}; !slices.Equal(c.posted, want) {
		t.Errorf("answered %q, want %q", c.posted, want)
	}
}

func TestSnapshotsAreSaved(t *testing.T) {
	c := newCloud(t)
	etcdctl := filepath.Join(t.TempDir(), "etcdctl")
	script := "#!/bin/sh\nfor last; do :; done\n[ \"$1 $2\" = '--endpoints https://10.10.0.36:2379' ] && echo contents >\"$last\"\n"
	if err := os.WriteFile(etcdctl, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"STAMPGATE_ETCDCTL=" + etcdctl, "STAMPGATE_ETCD=https://10.10.0.36:2379", "STAMPGATE_SNAPSHOTS=" + c.URL + "/etcd"}
	if out, err := c.azure(t, env, "snapshot"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(c.saved) != 1 {
		t.Fatalf("saved %v", c.saved)
	}
	for name, text := range c.saved {
		if !regexp.MustCompile(`^/etcd/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-.+\.db$`).MatchString(name) || text != "contents\n" {
			t.Errorf("%s: %q", name, text)
		}
	}
	// etcd is away: that is a failed service, not an empty snapshot.
	env[1] = "STAMPGATE_ETCD=https://10.10.0.99:2379"
	if _, err := c.azure(t, env, "snapshot"); err == nil || len(c.saved) != 1 {
		t.Errorf("%v, saved %d", err, len(c.saved))
	}
}

func TestUsage(t *testing.T) {
	c := newCloud(t)
	for _, args := range [][]string{nil, {"secrets"}, {"reboot", "x"}} {
		_, err := c.azure(t, nil, args...)
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
			t.Errorf("azure %q: %v, want exit code 2", args, err)
		}
	}
}
