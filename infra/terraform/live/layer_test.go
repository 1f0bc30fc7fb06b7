// Package live_test runs the script that applies layers, with something that
// stands for Terraform and notes how it was called.
package live_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/needs"
)

// terraform notes its arguments and where its own files are, hands over what a
// file of the layer's name holds, and answers any other output with its arguments.
const terraform = `#!/bin/bash
echo "$TF_DATA_DIR $*" >>"$CALLS"
dir="${1#-chdir=}"
if [ "$2" = init ]; then echo "Initializing"; fi
if [ "$2 $3" = "output -json" ]; then cat "$OUTPUTS/$(basename "$TF_DATA_DIR").json"; elif [ "$2" = output ]; then echo "${*:3}"; fi
if [ "$2" = "$FAIL" ]; then exit 1; fi
`

type bench struct {
	t    *testing.T
	dir  string // a copy of live
	env  []string
	work string
	out  string // what the last run printed for others to read
}

func newBench(t *testing.T) *bench {
	t.Helper()
	needs.Tool(t, "bash", "python3")
	work := t.TempDir()
	b := &bench{t: t, dir: filepath.Join(work, "live"), work: work}
	for _, name := range []string{"live/example-eu/20-region", "live/example-eu/30-instances", "live/example-eu/50-stamp", "bin", "outputs"} {
		if err := os.MkdirAll(filepath.Join(work, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile("layer")
	if err != nil {
		t.Fatal(err)
	}
	b.write("live/layer", string(script))
	b.write("bin/terraform", terraform)
	b.write("live/example-eu/boundary.tfvars", "")
	b.env = append(os.Environ(), "PATH="+filepath.Join(work, "bin")+":"+os.Getenv("PATH"), "CALLS="+filepath.Join(work, "calls"),
		"OUTPUTS="+filepath.Join(work, "outputs"), "STAMPGATE_STATE=stsgeustate/tf")
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.work, name), []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// layer runs the script and returns how Terraform was called since the last time.
func (b *bench) layer(env []string, args ...string) ([]string, error) {
	b.t.Helper()
	_ = os.Remove(filepath.Join(b.work, "calls"))
	cmd := exec.CommandContext(b.t.Context(), filepath.Join(b.dir, "layer"), args...)
	cmd.Env = append(slices.Clone(b.env), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Logf("%s%s", out, stderr.String())
	}
	b.out = string(out)
	calls, _ := os.ReadFile(filepath.Join(b.work, "calls"))
	return strings.Split(strings.TrimSpace(string(calls)), "\n"), err
}

func TestEachRegionHasAStateOfItsOwn(t *testing.T) {
	b := newBench(t)
	for _, region := range []string{"swedencentral", "francecentral"} {
		b.write("outputs/20-region-"+region+".json", `{"regions": {"value": {"`+region+`": {"resource_group_name": "rg-`+region+`"}}}}`)
		calls, err := b.layer(nil, "example-eu", "20-region", region, "apply")
		if err != nil {
			t.Fatal(err)
		}
		want := "key=example-eu/20-region-" + region + ".tfstate"
		if len(calls) != 3 || !strings.Contains(calls[0], want) || !strings.Contains(calls[0], "storage_account_name=stsgeustate") || !strings.Contains(calls[0], "container_name=tf") {
			t.Errorf("called %q, want an init with %s", calls, want)
		}
		if !strings.HasPrefix(calls[0], filepath.Join(b.dir, "example-eu/20-region/.terraform/20-region-"+region)+" ") {
			t.Errorf("Terraform's own files are shared: %q", calls[0])
		}
		if !strings.Contains(calls[1], "apply -var-file=") || !strings.Contains(calls[1], "-var location="+region) {
			t.Errorf("applied by %q", calls[1])
		}
	}

	// The next layer gets both regions in one map, and the boundary's settings.
	calls, err := b.layer(nil, "example-eu", "30-instances", "plan", "-out=x")
	if err != nil {
		t.Fatal(err)
	}
	if len(calls) != 2 || !strings.Contains(calls[1], "/boundary.tfvars ") || !strings.HasSuffix(calls[1], "-out=x") || strings.Contains(calls[1], "location=") {
		t.Errorf("planned by %q", calls)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "example-eu/.handover/all.tfvars.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got["regions"]["swedencentral"]["resource_group_name"] != "rg-swedencentral" || got["regions"]["francecentral"]["resource_group_name"] != "rg-francecentral" {
		t.Errorf("handed over %s", text)
	}
}

// A failed apply hands nothing over.
func TestAFailedApplyHandsNothingOver(t *testing.T) {
	b := newBench(t)
	b.write("outputs/30-instances.json", `{}`)
	if _, err := b.layer([]string{"FAIL=apply"}, "example-eu", "30-instances", "apply"); err == nil {
		t.Error("the failure is not passed on")
	}
	if _, err := os.Stat(filepath.Join(b.dir, "example-eu/.handover/30-instances.json")); err == nil {
		t.Error("something was handed over")
	}
}

// Whoever has only the states gets the handover of them: output writes it, and
// prints nothing but what was asked for. What is destroyed hands over nothing more.
func TestTheHandoverFollowsTheState(t *testing.T) {
	b := newBench(t)
	b.write("outputs/50-stamp-swedencentral.json", `{"stamps": {"value": {"swedencentral": {"public_host_name": "swc"}}}}`)
	file := filepath.Join(b.dir, "example-eu/.handover/50-stamp-swedencentral.json")

	if _, err := b.layer(nil, "example-eu", "50-stamp", "swedencentral", "output", "-raw", "gateway_config"); err != nil {
		t.Fatal(err)
	}
	if b.out != "-raw gateway_config\n" {
		t.Errorf("printed %q, want what terraform prints and no more", b.out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != `{"stamps": {"swedencentral": {"public_host_name": "swc"}}}` {
		t.Fatalf("handed over %s, %v", text, err)
	}

	// Outputs that cannot be read leave what was handed over before.
	b.write("outputs/50-stamp-swedencentral.json", "")
	if _, err := b.layer(nil, "example-eu", "50-stamp", "swedencentral", "output"); err == nil {
		t.Error("the failure is not passed on")
	}
	if text, err := os.ReadFile(file); err != nil || len(text) == 0 {
		t.Errorf("left %q, %v", text, err)
	}

	if _, err := b.layer([]string{"FAIL=destroy"}, "example-eu", "50-stamp", "swedencentral", "destroy"); err == nil {
		t.Error("the failure is not passed on")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("a destroy that failed took the handover away")
	}
	if _, err := b.layer(nil, "example-eu", "50-stamp", "swedencentral", "destroy"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a stamp that was destroyed is still handed over")
	}
}

func TestUsage(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{}, {"example-eu"}, {"example-eu", "99-nothing", "plan"}, {"example-eu", "20-region", "plan"}} {
		if calls, err := b.layer(nil, args...); err == nil || calls[0] != "" {
			t.Errorf("layer %q: %v, Terraform was called: %q", args, err, calls)
		}
	}
}
