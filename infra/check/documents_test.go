package check_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/serve"
)

// documents are the README, the pages of infra and those beside the code, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../README.md", "../*/*.md", "../*/*/*.md", "*/*/*/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all[f] = string(text)
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d pages", len(all))
	}
	return all
}

// A command of stampctl that a page names exists, with the flags that it is given.
func TestPagesNameCommandsThatExist(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "stampctl")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/stampctl")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	help := map[string]string{}
	helpOf := func(words []string) string {
		key := strings.Join(words, " ")
		if _, ok := help[key]; !ok {
			out, err := exec.CommandContext(t.Context(), binary, append(words, "--help")...).CombinedOutput()
			if err != nil {
				out = nil
			}
			help[key] = string(out)
		}
		return help[key]
	}
	found := 0
	for page, text := range documents(t) {
		for _, m := range regexp.MustCompile("`(?:bin/)?stampctl ([a-z][^`]*)`").FindAllStringSubmatch(strings.ReplaceAll(quoted(text), "\n", " "), -1) {
			found++
			var words []string
			for w := range strings.FieldsSeq(m[1]) {
				if !regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(w) || len(words) == 2 {
					break
				}
				words = append(words, w)
			}
			// The last word may be a name, such as a boundary's.
			out := helpOf(words)
			usage := "stampctl " + strings.Join(words, " ")
			if len(words) > 1 && !strings.Contains(out, usage) && !strings.Contains(helpOf(words[:1]), "Available Commands:") {
				out = helpOf(words[:1])
				usage = "stampctl " + words[0]
			}
			if !strings.Contains(out, usage) {
				t.Errorf("%s: there is no stampctl %s", page, m[1])
			}
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[1], -1) {
				if !strings.Contains(out, flag+" ") {
					t.Errorf("%s: stampctl %s has no %s", page, strings.Join(words, " "), flag)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d commands were found", found)
	}
}

// quoted is the text with each command of a block of code in quotes of its own,
// without what is said of it.
func quoted(text string) string {
	return regexp.MustCompile(`(?m)^ *((?:bin/)?stampctl [^#>\n]*?) *(?:[#>].*)?$`).ReplaceAllString(text, "`$1`")
}

// A layer that a page names is one.
func TestPagesNameLayersThatExist(t *testing.T) {
	found := 0
	for page, text := range documents(t) {
		for _, m := range regexp.MustCompile(`\b([1-9]0-[a-z]+)\b`).FindAllString(text, -1) {
			found++
			if _, err := os.Stat(filepath.Join("..", "terraform", "live", "example-eu", m)); err != nil {
				t.Errorf("%s: there is no layer %s", page, m)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d layers were found", found)
	}
}

// Every operation has its page, and the page of runbooks names each.
func TestEachOperationHasItsPage(t *testing.T) {
	index, err := os.ReadFile(filepath.Join("..", "runbooks", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join("..", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"new-region", "lose-a-region", "rotate-keys", "restore-etcd", "move-a-backend", "emergency-exit"} {
		if !slices.Contains(pages, filepath.Join("..", "runbooks", want+".md")) {
			t.Errorf("no page %s", want)
		}
	}
	for _, p := range pages {
		if name := filepath.Base(p); name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("the page of runbooks does not name %s", name)
		}
	}
}

// After a restore one publication is enough: the control plane takes a serial above
// all that gateways follow. Who cannot wait for it has one way.
func TestARestoredEtcdNeedsOnePublication(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "runbooks", "restore-etcd.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	if !strings.Contains(text, "publish once") || strings.Contains(text, "as often as") || !strings.Contains(text, "`policy.acceptOlder`") {
		t.Error("restore-etcd.md does not say: publish once; policy.acceptOlder")
	}
}

// What IN-FRONT.md says of the gateway's bounds is what its defaults are.
func TestInFrontKnowsTheBounds(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "IN-FRONT.md"))
	if err != nil {
		t.Fatal(err)
	}
	edge, err := os.ReadFile(filepath.Join("..", "..", "gateway", "edge", "edge.go"))
	if err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(filepath.Join("..", "..", "gateway", "limits.go"))
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(source []byte, name string) string {
		m := regexp.MustCompile(name + ` += (\d+) \* time\.Second`).FindSubmatch(source)
		if m == nil {
			t.Fatalf("%s is not found", name)
		}
		return string(m[1])
	}
	for _, want := range []string{
		fmt.Sprintf("up to %d MiB", serve.MaxBody>>20),
		"| under " + seconds(edge, "idleTimeout") + " s,",
		"| within " + seconds(limits, "defaultHeadTimeout") + " s |",
		"| within " + seconds(limits, "defaultBodyTimeout") + " s |",
		"`limits.connectionsPerSource`", "`http2: true`", "`service.kind: internal`",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("IN-FRONT.md does not say %q", want)
		}
	}
}

// The table of costs adds up.
func TestTheCostsAddUp(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "COSTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	sum, want := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]*) \|.*\| [*a-z ]*([\d,]+)\** \|$`).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(m[1], "**sum"):
			want = n
		case want == 0:
			sum += n
		}
	}
	if want == 0 || sum < want-20 || sum > want+20 {
		t.Errorf("the rows are %d, the sum is said to be about %d", sum, want)
	}
}
