// Package compose_test checks the single machine's files as their readers would.
package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/auth"
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

// check loads the file as Docker Compose does, against the specification's schema.
func check(t *testing.T, file string) (string, error) {
	t.Helper()
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", abs)
	cmd.Dir = filepath.Join("..", "tools", "composecheck")
	cmd.Env = append(os.Environ(), "STAMPGATE_VERSION=v1.0.0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestTheComposeFileFollowsItsSchema(t *testing.T) {
	if out, err := check(t, "compose.yaml"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := read(t, "compose.yaml")
	for name, tc := range map[string]struct{ old, broken, want string }{
		"a misspelt setting":      {"stop_grace_period", "stop_grace_perido", "stop_grace_perido"},
		"a secret that is none":   {"secrets: [postgres.password]", "secrets: [postgres.pasword]", "postgres.pasword"},
		"a network that is none":  {"networks: [store]", "networks: [stroe]", "stroe"},
		"a duration without unit": {"stop_grace_period: 3m", "stop_grace_period: long", "stop_grace_period"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "compose.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(text, tc.old, tc.broken, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := check(t, file); err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v: %s, want something about %q", err, out, tc.want)
			}
		})
	}
}

// Every file that is bound exists, or prepare makes it.
func TestWhatIsBoundIsThere(t *testing.T) {
	found := 0
	for _, m := range regexp.MustCompile(`source: (\.\.?/[^,]+),`).FindAllStringSubmatch(read(t, "compose.yaml"), -1) {
		found++
		if strings.HasPrefix(m[1], "./state/") {
			continue
		}
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	if found < 6 {
		t.Errorf("%d files are bound", found)
	}
}

func TestTheGatewayStartsWithItsFiles(t *testing.T) {
	cfg, err := gateway.ParseConfig([]byte(read(t, "gateway.yaml")))
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	// Docker kills after stop_grace_period.
	grace, err := time.ParseDuration(regexp.MustCompile(`stop_grace_period: (\S+)`).FindStringSubmatch(read(t, "compose.yaml"))[1])
	if drain := time.Duration(cfg.Drain.Notice + cfg.Drain.Timeout); err != nil || grace < drain+10*time.Second {
		t.Errorf("%v: stop_grace_period %v, the drain takes up to %v", err, grace, drain)
	}
	for _, m := range regexp.MustCompile(`/run/secrets/([a-z.]+)`).FindAllStringSubmatch(read(t, "gateway.yaml"), -1) {
		if !strings.Contains(read(t, "compose.yaml"), m[1]+": {file: ") {
			t.Errorf("there is no secret %s", m[1])
		}
	}
}

// The single machine is shared: the gateway has a limit, and Go knows of it.
func TestGoKnowsTheMemoryLimit(t *testing.T) {
	text := read(t, "compose.yaml")
	limit := regexp.MustCompile(`mem_limit: (\d+)m\n`).FindStringSubmatch(text)
	goLimit := regexp.MustCompile(`GOMEMLIMIT: (\d+)MiB`).FindStringSubmatch(text)
	if limit == nil || goLimit == nil {
		t.Fatalf("mem_limit %q, GOMEMLIMIT %q", limit, goLimit)
	}
	most, _ := strconv.Atoi(limit[1])
	if got, _ := strconv.Atoi(goLimit[1]); got != most*9/10 {
		t.Errorf("GOMEMLIMIT = %d MiB, want 90 %% of %d MiB", got, most)
	}
}

func TestPrepareMakesWhatIsNeeded(t *testing.T) {
	needs.Tool(t, "openssl")
	state := filepath.Join(t.TempDir(), "state")
	prepare := func() string {
		cmd := exec.CommandContext(t.Context(), "./prepare", "gateway.example.com")
		cmd.Env = append(os.Environ(), "STAMPGATE_STATE_DIR="+state)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	out := prepare()
	m := regexp.MustCompile(`shown once: (\S+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	if boundary, ok := auth.ParseKey(m[1]); !ok || boundary != "eu" {
		t.Errorf("%q is no key of the boundary", m[1])
	}
	text := read(t, filepath.Join(state, "policy.yaml"))
	doc, err := policy.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if faults, _ := policy.Validate(doc, policy.Options{}); len(faults) > 0 {
		t.Error(faults)
	}
	if strings.Contains(text, m[1]) || strings.Contains(text, strings.Repeat("0", 64)) {
		t.Error("the policy holds the key itself, or no hash of it")
	}
	for _, name := range []string{"tls.crt", "tls.key", "admin.token", "postgres.password", "grafana.password"} {
		if read(t, filepath.Join(state, name)) == "" {
			t.Errorf("%s is empty", name)
		}
	}
	// Again: nothing that is used already changes.
	before := read(t, filepath.Join(state, "tls.key"))
	if again := prepare(); strings.Contains(again, "shown once") || read(t, filepath.Join(state, "tls.key")) != before {
		t.Error("a second run changed what the first made")
	}
}

// The name under which prepare says to load the image is the one that is started.
func TestTheImageIsLoadedUnderItsName(t *testing.T) {
	name := regexp.MustCompile(`image: (stampgate):\$\{STAMPGATE_VERSION`).FindStringSubmatch(read(t, "compose.yaml"))
	if name == nil {
		t.Fatal("compose.yaml does not name the image")
	}
	want := "skopeo copy oci-archive:stampgate-VERSION-linux-amd64.oci.tar docker-daemon:" + name[1] + ":VERSION"
	cmd := exec.CommandContext(t.Context(), "./prepare")
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
		t.Errorf("prepare says %s, want %q", out, want)
	}
}

func TestPrometheusReadsItsConfiguration(t *testing.T) {
	needs.Tool(t, "promtool")
	dir := t.TempDir()
	text := strings.ReplaceAll(read(t, "prometheus.yml"), "/run/secrets/admin.token", filepath.Join(dir, "token"))
	for name, content := range map[string]string{"prometheus.yml": text, "rules.yml": read(t, "../prometheus/rules.yml"), "token": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
