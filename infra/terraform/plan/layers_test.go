package plan_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// layers are the folders of the example's layers.
func layers(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "infra", "terraform", "live", "example-eu", "[0-9]*"))
	if err != nil || len(all) != 6 {
		t.Fatalf("layers %q, %v", all, err)
	}
	return all
}

// What layers have in common is written once, in common: a layer has a link to it,
// and no copy that could come to differ.
func TestLayersLinkToWhatTheyHaveInCommon(t *testing.T) {
	variable := regexp.MustCompile(`(?m)^variable "(\w+)"`)
	home := map[string]string{} // of each variable of common
	files, err := filepath.Glob(filepath.Join(root, "infra", "terraform", "live", "example-eu", "common", "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, m := range variable.FindAllStringSubmatch(read(t, f), -1) {
			home[m[1]] = filepath.Base(f)
		}
	}
	if len(home) < 8 {
		t.Errorf("common declares %d variables", len(home))
	}
	linked := map[string]int{}
	for _, layer := range layers(t) {
		files, err := filepath.Glob(filepath.Join(layer, "*.tf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name := filepath.Join(filepath.Base(layer), filepath.Base(f))
			if to, err := os.Readlink(f); err == nil {
				if filepath.Dir(to) != filepath.Join("..", "common") {
					t.Errorf("%s leads to %s, want a file of ../common", name, to)
				}
				linked[filepath.Base(to)]++
				continue
			}
			for _, m := range variable.FindAllStringSubmatch(read(t, f), -1) {
				if common := home[m[1]]; common != "" {
					t.Errorf("%s declares %s, want a link to ../common/%s", name, m[1], common)
				}
			}
		}
	}
	for _, f := range files {
		if n := linked[filepath.Base(f)]; n < 2 {
			t.Errorf("%d layers link to common/%s: what one alone has is no common thing", n, filepath.Base(f))
		}
	}
}

// One Entra tenant holds both subscriptions: every layer signs in to it, so that a
// subscription of another is not found.
func TestEveryLayerSignsInToTheTenant(t *testing.T) {
	provider := regexp.MustCompile(`(?ms)^provider "azurerm" \{\n.*?^\}`)
	tenant := regexp.MustCompile(`(?m)^  tenant_id += var\.tenant_id$`)
	for _, layer := range layers(t) {
		block := provider.FindString(read(t, filepath.Join(layer, "versions.tf")))
		if !tenant.MatchString(block) {
			t.Errorf("%s: its provider signs in to whatever tenant is at hand:\n%s", filepath.Base(layer), block)
		}
	}
}
