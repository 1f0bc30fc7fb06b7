// Package helm_test checks the chart with helm and kubeconform: that it lints,
// that what it renders is what Kubernetes takes, that its gateways start with the
// configuration it writes, and that it refuses what a stamp must not be.
package helm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/gateway"
)

// kubernetes is the version that the chart is rendered for: helm by itself
// believes in an old one.
const kubernetes = "1.36.3"

var tools = filepath.Join("..", "tools")

// tool runs a command pinned under infra/tools. Go builds it the first time.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=" + filepath.Join(tools, "chart", "go.mod"), name}, args...)...)
	// helm looks for its settings at home: none of the machine's count.
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return out.String() + errs.String(), err
}

func render(t *testing.T, set ...string) (string, error) {
	t.Helper()
	args := []string{"template", "swc", "stampgate", "--namespace", "stampgate", "--kube-version", kubernetes, "-f", "testdata/values.yaml"}
	for _, s := range set {
		args = append(args, "--set-json", s)
	}
	return tool(t, "helm", args...)
}

func TestLint(t *testing.T) {
	if out, err := tool(t, "helm", "lint", "--strict", "--kube-version", kubernetes, "-f", "testdata/values.yaml", "stampgate"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// schemas are Kubernetes' own, made once.
var schemas = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "k8sschema-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "run", ".", dir)
	cmd.Dir = filepath.Join(tools, "k8sschema")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func conform(t *testing.T, manifests string) (string, error) {
	t.Helper()
	dir, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	return tool(t, "kubeconform", "-strict", "-summary", "-schema-location", dir+"/{{.ResourceKind}}{{.KindSuffix}}.json", file)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := schemas(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func TestWhatItRendersConforms(t *testing.T) {
	for name, set := range map[string][]string{
		"behind Front Door":      nil,
		"behind Traffic Manager": {`service={"kind":"public","sourceRanges":["0.0.0.0/0"],"privateLinkSubnet":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			manifests, err := render(t, set...)
			if err != nil {
				t.Fatalf("%v: %s", err, manifests)
			}
			if out, err := conform(t, manifests); err != nil || !strings.Contains(out, "Valid: 7") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	manifests, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"an unknown field": {"terminationGracePeriodSeconds", "terminationGraceSeconds"},
		"a wrong type":     {"replicas: 3", `replicas: "three"`},
	} {
		broken := strings.Replace(manifests, change[0], change[1], 1)
		if broken == manifests {
			t.Fatalf("%q is not rendered", change[0])
		}
		if out, err := conform(t, broken); err == nil {
			t.Errorf("%s is not found: %s", name, out)
		}
	}
}

// object finds what is rendered of a kind.
func object(t *testing.T, manifests, kind, name string) map[string]any {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(manifests))
	for {
		var o map[string]any
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			t.Fatalf("no %s %s is rendered", kind, name)
		} else if err != nil {
			t.Fatal(err)
		}
		if o["kind"] == kind && at(o, "metadata", "name") == name {
			return o
		}
	}
}

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// configured reads the configuration that the chart writes, as a gateway does.
func configured(t *testing.T, manifests string) gateway.Config {
	t.Helper()
	text, _ := at(object(t, manifests, "ConfigMap", "swc"), "data", "gateway.yaml").(string)
	cfg, err := gateway.ParseConfig([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	cfg.Name = "swc-0"
	if err := cfg.Validate(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	return cfg
}

func TestItsGatewaysStart(t *testing.T) {
	manifests, err := render(t)
	if err != nil {
		t.Fatalf("%v: %s", err, manifests)
	}
	cfg := configured(t, manifests)
	if cfg.Boundary != "eu" || len(cfg.FrontDoor.IDs) != 1 || cfg.Policy.Etcd == nil || cfg.Policy.Etcd.CAFile == "" || cfg.Gossip.Join[0] != "dns+swc-gossip.stampgate.svc.cluster.local:7946" {
		t.Errorf("configuration %+v", cfg)
	}
	pods := at(object(t, manifests, "StatefulSet", "swc"), "spec", "template", "spec")
	grace, _ := at(pods, "terminationGracePeriodSeconds").(int)
	if drain := time.Duration(cfg.Drain.Notice + cfg.Drain.Timeout); time.Duration(grace)*time.Second < drain+10*time.Second {
		t.Errorf("Kubernetes kills after %d s, the drain takes up to %v", grace, drain)
	}
	// Each file of the configuration is in a volume that is mounted.
	for _, file := range []string{cfg.TLS.CertFile, cfg.Admin.TokenFile, cfg.Gossip.KeyFile, cfg.Policy.Etcd.CAFile, cfg.Policy.CacheDir + "/x"} {
		mounted := false
		for i := range 5 {
			path, _ := at(pods, "containers", 0, "volumeMounts", i, "mountPath").(string)
			mounted = mounted || path != "" && strings.HasPrefix(file, path+"/")
		}
		if !mounted {
			t.Errorf("%s is not mounted", file)
		}
	}
}

// Behind a Private Link Service, or a proxy in front, all clients have one address.
func TestOneAddressMayHaveAllConnections(t *testing.T) {
	public := `service={"kind":"public","sourceRanges":["0.0.0.0/0"],"privateLinkSubnet":""}`
	for name, tc := range map[string]struct {
		set  []string
		want int // 0: the gateway's default, a quarter
	}{
		"internal":                          {nil, 16384},
		"internal, of fewer connections":    {[]string{`gateway.limits.connections=2000`}, 2000},
		"internal, with a bound of its own": {[]string{`gateway.limits={"connectionsPerSource":100,"held":"256MiB"}`}, 100},
		"public":                            {[]string{public}, 0},
		"public, with a bound of its own":   {[]string{public, `gateway.limits.connectionsPerSource=100`}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			manifests, err := render(t, tc.set...)
			if err != nil {
				t.Fatalf("%v: %s", err, manifests)
			}
			if got := configured(t, manifests).Limits.ConnectionsPerSource; got != tc.want {
				t.Errorf("limits.connectionsPerSource = %d, want %d", got, tc.want)
			}
		})
	}
}

// Go collects its garbage before Kubernetes ends the process: 90 % of the limit.
func TestGoKnowsTheMemoryLimit(t *testing.T) {
	for set, want := range map[string]string{
		``: "1843MiB", `resources.limits.memory="1Gi"`: "921MiB", `resources.limits.memory="600Mi"`: "540MiB",
	} {
		var sets []string
		if set != "" {
			sets = []string{set}
		}
		manifests, err := render(t, sets...)
		if err != nil {
			t.Fatalf("%v: %s", err, manifests)
		}
		env := at(object(t, manifests, "StatefulSet", "swc"), "spec", "template", "spec", "containers", 0, "env", 0)
		if at(env, "name") != "GOMEMLIMIT" || at(env, "value") != want {
			t.Errorf("%s: %v, want GOMEMLIMIT %s", set, env, want)
		}
	}
}

// Gossip needs both protocols, and peers that are not ready yet.
func TestGossipHasBothProtocols(t *testing.T) {
	manifests, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	s := object(t, manifests, "Service", "swc-gossip")
	if at(s, "spec", "clusterIP") != "None" || at(s, "spec", "publishNotReadyAddresses") != true ||
		at(s, "spec", "ports", 0, "protocol") != "TCP" || at(s, "spec", "ports", 1, "protocol") != "UDP" {
		t.Errorf("%v", s["spec"])
	}
}

// The values' schema refuses what a stamp must not be.
func TestTheSchemaBites(t *testing.T) {
	for name, tc := range map[string]struct{ set, want string }{
		"two gateways":               {`replicas=2`, "replicas"},
		"a tag instead of a digest":  {`image={"repository":"r","digest":"latest"}`, "digest"},
		"no repository":              {`image.repository=""`, "repository"},
		"no identity":                {`identity.clientID=""`, "clientID"},
		"no countries":               {`gateway.residency.countries=[]`, "countries"},
		"etcd in clear":              {`gateway.policy.etcd.endpoints=["http://10.10.0.36:2379"]`, "endpoints"},
		"no keys to trust":           {`gateway.policy.trustedKeys=[]`, "trustedKeys"},
		"a listener of one's own":    {`gateway.listen="0.0.0.0:80"`, "gateway"},
		"public, open to who knows":  {`service={"kind":"public","sourceRanges":[],"privateLinkSubnet":""}`, "sourceRanges"},
		"internal with source range": {`service={"kind":"internal","sourceRanges":["0.0.0.0/0"]}`, "sourceRanges"},
		"a misspelt value":           {`replica=3`, "replica"},
		"no limit of memory":         {`resources.limits.memory=null`, "memory"},
		"memory in another unit":     {`resources.limits.memory="2G"`, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := render(t, tc.set); err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v: %.300s, want something about %s", err, out, tc.want)
			}
		})
	}
}
