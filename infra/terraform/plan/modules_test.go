package plan_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every module validates against the provider's schema and passes its own tests.
func TestModules(t *testing.T) {
	tf := needTerraform(t)
	for _, name := range modules(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join("modules", name)
			if err := tf.Check(t.Context(), folder); err != nil {
				t.Fatal(err)
			}
			plans, failed, err := tf.Test(t.Context(), folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range failed {
				t.Error(f)
			}
			if len(plans) == 0 {
				t.Error("the module has no tests")
			}
		})
	}
}

// Every layer is planned as the example's settings say, and refuses what its tests
// say that it does.
func TestLayers(t *testing.T) {
	planned(t)
	tf := needTerraform(t)
	for layer, region := range map[string]string{
		"10-boundary": "", "20-region": "francecentral", "30-instances": "", "40-stores": "", "50-stamp": "swedencentral", "60-edge": "",
	} {
		t.Run(layer, func(t *testing.T) {
			t.Parallel()
			failed, err := tf.Refusals(t.Context(), layer, region)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range failed {
				t.Error(f)
			}
		})
	}
}

// A mistake of the kinds that the stand-in's schema knows is found: or the test
// above would show nothing.
func TestTheSchemaBites(t *testing.T) {
	tf := needTerraform(t)
	for name, tc := range map[string]struct{ old, broken, want string }{
		"an attribute that was removed in version 5": {"accelerated_networking_enabled = true", "enable_accelerated_networking = true", "enable_accelerated_networking"},
		"a wrong type":              {`instances                   = var.instances`, `instances                   = "many"`, "a number is required"},
		"a required one is gone":    {"sku_name                    = var.vm_size\n", "", ""},
		"a block that is not there": {"termination_notification {", "terminate_notification {", "terminate_notification"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join("modules", "broken-"+regexp.MustCompile(`\W`).ReplaceAllString(name, "-"))
			copyModule(t, tf.Dir(filepath.Join("modules", "stamp")), tf.Dir(folder), tc.old, tc.broken)
			err := tf.Check(t.Context(), folder)
			if tc.want == "" { // optional in the schema: the provider itself asks for it
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want an error about %q", err, tc.want)
			}
		})
	}
}

func copyModule(t *testing.T, from, to, old, broken string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from, "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	replaced := false
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), old, broken, 1)
		replaced = replaced || changed != string(text)
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !replaced {
		t.Fatalf("%q is not in the module", old)
	}
}

func modules(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(root, "infra", "terraform", "modules", "*", "versions.tf"))
	if err != nil || len(folders) < 9 {
		t.Fatalf("%d modules, %v", len(folders), err)
	}
	var names []string
	for _, f := range folders {
		names = append(names, filepath.Base(filepath.Dir(f)))
	}
	return names
}

// configurations are the folders of all modules and layers.
func configurations(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"modules/*/versions.tf", "live/*/*/versions.tf"} {
		files, err := filepath.Glob(filepath.Join(root, "infra", "terraform", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			all = append(all, filepath.Dir(f))
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d configurations", len(all))
	}
	return all
}

func TestFormat(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil {
		needTerraform(t)
	}
	out, err := exec.CommandContext(t.Context(), "terraform", "fmt", "-check", "-recursive", "-diff", filepath.Join(root, "infra", "terraform")).Output()
	if err != nil {
		t.Errorf("terraform fmt -recursive infra/terraform: %v\n%s", err, out)
	}
}

// A rule is a validation of a variable or a precondition of a resource.
type ruleOf struct{ folder, object string }

// rulesIn counts the rules of each object of a configuration.
func rulesIn(t *testing.T, folder string) map[ruleOf]int {
	t.Helper()
	count := map[ruleOf]int{}
	files, _ := filepath.Glob(filepath.Join(folder, "*.tf"))
	head := regexp.MustCompile(`^(variable|resource) "([a-z0-9_]+)"(?: "([a-z0-9_]+)")? \{`)
	for _, f := range files {
		object := ""
		for line := range strings.Lines(read(t, f)) {
			if m := head.FindStringSubmatch(line); m != nil {
				object = "var." + m[2]
				if m[1] == "resource" {
					object = m[2] + "." + m[3]
				}
			}
			if s := strings.TrimSpace(line); s == "validation {" || s == "precondition {" {
				count[ruleOf{folder, object}]++
			}
		}
	}
	return count
}

// Each rule of ours has a test in which it refuses something: at least as many as
// the object has rules.
func TestEveryRuleHasAFailingTest(t *testing.T) {
	total := 0
	for _, folder := range configurations(t) {
		var tests strings.Builder
		files, _ := filepath.Glob(filepath.Join(folder, "tests", "*.tftest.hcl"))
		unit, _ := filepath.Glob(filepath.Join(folder, "tests", "unit", "*.tftest.hcl"))
		for _, f := range append(files, unit...) {
			tests.WriteString(read(t, f))
		}
		for rule, n := range rulesIn(t, folder) {
			total += n
			refusals := len(regexp.MustCompile(`expect_failures = \[[^\]]*\b`+regexp.QuoteMeta(rule.object)+`\b[^\]]*\]`).FindAllString(tests.String(), -1))
			if refusals < n {
				t.Errorf("%s: %s has %d rules and %d tests that it refuses something", filepath.Base(folder), rule.object, n, refusals)
			}
		}
	}
	if total < 50 {
		t.Errorf("%d rules were found", total)
	}
}

// Taken away one by one, each rule is missed by a test. It takes minutes, so it
// is for whoever changes rules: STAMPGATE_MUTATE=1 go test -run Mutat -v -timeout 60m.
func TestMutatedRulesAreMissed(t *testing.T) {
	if os.Getenv("STAMPGATE_MUTATE") == "" {
		t.Skip("STAMPGATE_MUTATE is not set: taking away every rule takes minutes")
	}
	tf := needTerraform(t)
	terraformDir := filepath.Join(root, "infra", "terraform")
	for _, folder := range configurations(t) {
		rel, _ := filepath.Rel(terraformDir, folder)
		var args []string
		if strings.HasPrefix(rel, "live") {
			args = []string{"-var-file=../boundary.tfvars", "-var-file=../tests/handover.tfvars.json", "-var=location=swedencentral"}
		}
		if err := tf.Check(t.Context(), rel); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(tf.Dir(rel), "*.tf"))
		for _, f := range files {
			text := read(t, f)
			for n, mutant := range mutants(text) {
				t.Run(fmt.Sprintf("%s %s %d", rel, filepath.Base(f), n), func(t *testing.T) {
					write(t, f, mutant)
					defer write(t, f, text)
					_, failed, err := tf.Test(t.Context(), rel, args...)
					if err == nil && len(failed) == 0 {
						t.Error("no test misses this rule")
					}
				})
			}
		}
	}
}

// mutants are the text without one of its rules each.
func mutants(text string) []string {
	var all []string
	for _, at := range regexp.MustCompile(`(?m)^ *(validation|precondition) \{$`).FindAllStringIndex(text, -1) {
		rest := text[at[1]:]
		from := strings.Index(rest, "condition")
		to := strings.Index(rest, "error_message")
		// The rule stays, and is always content. A validation has to name its variable.
		all = append(all, text[:at[1]]+rest[:from]+"condition = (true || "+strings.TrimSpace(strings.SplitN(rest[from:to], "=", 2)[1])+")\n"+rest[to:])
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
