package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrMissing means that the machine has no terraform.
var ErrMissing = errors.New("terraform is not installed")

// providerVersion is the one that the stand-in's schema was taken from.
const providerVersion = "5.2.0"

// A Terraform runs the terraform of this machine on a copy of the modules, with
// the stand-in for the Azure provider. It asks no registry and no cloud.
type Terraform struct {
	dir    string // the copy of infra
	config string // Terraform's own configuration
}

// Prepare builds the stand-in into the repository's .cache and copies infra to
// dir, so that runs neither touch the sources nor each other.
func Prepare(ctx context.Context, repository, dir string) (*Terraform, error) {
	if _, err := exec.LookPath("terraform"); err != nil {
		return nil, ErrMissing
	}
	repository, err := filepath.Abs(repository)
	if err != nil {
		return nil, err
	}
	mirror := filepath.Join(dir, "mirror")
	binary := filepath.Join(mirror, "registry.terraform.io", "hashicorp", "azurerm", providerVersion, platform(),
		"terraform-provider-azurerm_v"+providerVersion+"_x5")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, ".") //nolint:gosec // the path is ours
	build.Dir = filepath.Join(repository, "infra", "tools", "azurermstub")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the stand-in for the provider: %w: %s", err, out)
	}
	t := &Terraform{dir: filepath.Join(dir, "infra"), config: filepath.Join(dir, "terraformrc")}
	for _, part := range []string{"terraform", "prometheus", "grafana"} {
		if err := copyTree(filepath.Join(repository, "infra", part), filepath.Join(t.dir, part)); err != nil {
			return nil, err
		}
	}
	text := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path    = %q\n    include = [\"registry.terraform.io/hashicorp/*\"]\n  }\n}\n", mirror)
	return t, os.WriteFile(t.config, []byte(text), 0o600)
}

// copyTree copies what is in the sources, not what terraform left there.
func copyTree(from, to string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".terraform" || d.Name() == ".handover"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o700)
		case d.Name() == ".terraform.lock.hcl":
			return nil
		}
		text, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o600) //nolint:gosec // the path is of our own sources
	})
}

// Dir is the copy of a folder under infra/terraform.
func (t *Terraform) Dir(folder string) string { return filepath.Join(t.dir, "terraform", folder) }

// Check initialises and validates a configuration under infra/terraform, its
// tests included.
func (t *Terraform) Check(ctx context.Context, folder string) error {
	tests := "-test-directory=" + testsOf(folder)
	if _, err := t.run(ctx, folder, "init", "-backend=false", "-input=false", tests); err != nil {
		return err
	}
	_, err := t.run(ctx, folder, "validate", tests)
	return err
}

// Test runs the tests of a configuration that was checked, and returns the plan
// of each run and which of them failed.
func (t *Terraform) Test(ctx context.Context, folder string, args ...string) (map[string]*Plan, []string, error) {
	out, err := t.run(ctx, folder, append([]string{"test", "-json", "-verbose", "-test-directory=" + testsOf(folder)}, args...)...)
	plans, failed, parseErr := Parse(out)
	if parseErr != nil {
		return nil, nil, parseErr
	}
	if err != nil && len(failed) == 0 {
		return nil, nil, err // it failed before any run
	}
	return plans, failed, nil
}

// Layer checks one layer of the example boundary and plans it with the example's
// settings. What it refuses is in tests of its own, see Refusals.
func (t *Terraform) Layer(ctx context.Context, layer, region string) (map[string]*Plan, error) {
	folder := filepath.Join("live", "example-eu", layer)
	if err := t.Check(ctx, folder); err != nil {
		return nil, err
	}
	plans, failed, err := t.Test(ctx, folder, layerArgs("layer", region)...)
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%s %s: %s", layer, region, strings.Join(failed, "\n"))
	}
	return plans, err
}

// Refusals runs the tests of what a layer refuses, after it was planned.
func (t *Terraform) Refusals(ctx context.Context, layer, region string) (failed []string, err error) {
	plans, failed, err := t.Test(ctx, filepath.Join("live", "example-eu", layer), layerArgs("refusals", region)...)
	if err == nil && len(plans) == 0 {
		err = fmt.Errorf("%s: no test of what it refuses was run", layer)
	}
	return failed, err
}

func layerArgs(file, region string) []string {
	args := []string{"-filter=tests/" + file + ".tftest.hcl", "-var-file=../boundary.tfvars", "-var-file=../tests/handover.tfvars.json"}
	if region != "" {
		args = append(args, "-var=location="+region)
	}
	return args
}

// testsOf says where a configuration's tests are: modules keep theirs apart, as
// unit tests.
func testsOf(folder string) string {
	if strings.HasPrefix(folder, "modules") {
		return "tests/unit"
	}
	return "tests"
}

// platform is how a mirror of Terraform's names this machine's.
func platform() string { return runtime.GOOS + "_" + runtime.GOARCH }

func (t *Terraform) run(ctx context.Context, folder string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "terraform", args...) //nolint:gosec // the arguments are ours
	cmd.Dir = t.Dir(folder)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+t.config, "TF_IN_AUTOMATION=1", "NO_COLOR=1", "CHECKPOINT_DISABLE=1")
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("terraform %s in %s: %w: %s", args[0], folder, err, tail(errs.Bytes(), out.Bytes()))
	}
	return out.Bytes(), nil
}

// tail is the end of what was said, errors first.
func tail(errs, out []byte) []byte {
	const most = 4 << 10
	text := append(bytes.Clone(errs), out...)
	return text[:min(len(text), most)]
}
