package check_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/serve"
)

// A block is the README's code in YAML that begins so.
func block(t *testing.T, begin string) []byte {
	t.Helper()
	_, rest, found := strings.Cut(string(text(t, "README.md")), "\n```yaml\n"+begin)
	body, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("the README has no YAML that begins with %q", begin)
	}
	return []byte(begin + body + "\n")
}

// What the README shows to copy is accepted as it stands.
func TestWhatTheReadmeShowsIsAccepted(t *testing.T) {
	cfg, err := gateway.ParseConfig(block(t, "boundary: eu\nregion:"))
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		t.Errorf("the gateway's configuration: %v", err)
	}
	if _, err := controlplane.ParseConfig(block(t, "listen:")); err != nil {
		t.Errorf("the control plane's configuration: %v", err)
	}
	if _, err := compiled(block(t, "boundary: eu\nresidency:")); err != nil {
		t.Errorf("the policy: %v", err)
	}
}

// The README's rows of the scorecard are rows of the whole one.
func TestTheReadmesScorecardIsThatOfLoadtest(t *testing.T) {
	rows := func(file string) (all [][]string) {
		_, rest, _ := strings.Cut(string(text(t, file)), "<!-- scorecard:begin -->\n")
		table, _, _ := strings.Cut(rest, "\n<!-- scorecard:end -->")
		for line := range strings.Lines(table) {
			if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") {
				all = append(all, strings.Split(strings.Trim(line, "| \n"), " | "))
			}
		}
		return all
	}
	whole, few := rows("loadtest/README.md"), rows("README.md")
	if len(few) != 11 || len(whole) < 50 {
		t.Fatalf("%d and %d rows, want a head and ten of more than 50", len(few), len(whole))
	}
	var columns []int
	for _, name := range few[0] {
		columns = append(columns, slices.Index(whole[0], name))
	}
	for _, row := range few {
		if !slices.ContainsFunc(whole, func(all []string) bool {
			for i, column := range columns {
				if column < 0 || all[column] != row[i] {
					return false
				}
			}
			return true
		}) {
			t.Errorf("loadtest/README.md has no such row: %q", row)
		}
	}
}

// The README's table of errors has every code of the gateway, with its status, and
// no other.
func TestTheReadmeExplainsEachCode(t *testing.T) {
	known, codes := map[string]bool{}, map[string]bool{}
	for c := range 256 { // beyond the table stands an internal error
		if r := refusal.Cause(c).Reply(); r.Code != "" {
			known[fmt.Sprint(r.Status, " ", r.Code)], codes[r.Code] = true, true
		}
	}
	if len(codes) != len(refusal.Codes()) {
		t.Fatalf("%d codes were found, want %d", len(codes), len(refusal.Codes()))
	}
	readme := string(text(t, "README.md"))
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z_]+)` \\| .+ \\| .+ \\|$").FindAllStringSubmatch(readme, -1) {
		told[m[1]+" "+m[2]] = true
		if !known[m[1]+" "+m[2]] {
			t.Errorf("no answer of the gateway is %s %s", m[1], m[2])
		}
	}
	for code := range known {
		if !told[code] {
			t.Errorf("%s is not explained", code)
		}
	}
	if want := fmt.Sprintf("larger than %d MiB", serve.MaxBody>>20); !strings.Contains(readme, want) {
		t.Errorf("it does not say %q", want)
	}
}

// The README names each alert that wakes somebody.
func TestTheReadmeNamesWhatWakesSomebody(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert  string
				Labels map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text(t, "infra/prometheus/rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Labels["severity"] == "critical" {
				want[r.Alert] = true
			}
		}
	}
	for _, m := range regexp.MustCompile("`(Stampgate[A-Za-z]+)`").FindAllStringSubmatch(string(text(t, "README.md")), -1) {
		if !want[m[1]] {
			t.Errorf("%s is no critical alert", m[1])
		}
		want[m[1]] = false
	}
	for name, missing := range want {
		if missing {
			t.Errorf("%s is not named", name)
		}
	}
}

// Folders that the README names as code exist.
func TestTheReadmesFoldersExist(t *testing.T) {
	found := regexp.MustCompile("\\./([a-z0-9]+(?:/[a-z0-9]+)*)(?:[ `]|/\\.\\.\\.)").FindAllStringSubmatch(string(text(t, "README.md")), -1)
	if len(found) < 8 {
		t.Fatalf("%d folders were found", len(found))
	}
	for _, m := range found {
		if info, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(m[1]))); err != nil || !info.IsDir() {
			t.Errorf("there is no folder %s", m[1])
		}
	}
}

// The README names each package of the house. That its links lead somewhere is
// tested in infra/archtest.
func TestTheReadmeNamesEachPackage(t *testing.T) {
	readme := string(text(t, "README.md"))
	for _, area := range []string{"gateway", "controlplane", "stamp"} {
		entries, err := os.ReadDir(filepath.Join("..", "..", area))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() && e.Name() != "testdata" && !strings.Contains(readme, "["+e.Name()+"]("+area+"/"+e.Name()+"/") {
				t.Errorf("%s/%s is not named: where the house is laid out, link [%s] to a file of it", area, e.Name(), e.Name())
			}
		}
	}
}

// What the README says of the global router are the sums of the page on health, and
// those add up.
func TestTheTimesOfTheGlobalRouterAddUp(t *testing.T) {
	sums := regexp.MustCompile(`\| ([\d. +×]+) = \*\*(\d+ s)\*\*`).FindAllStringSubmatch(string(text(t, "gateway/health/README.md")), -1)
	_, rest, _ := strings.Cut(string(text(t, "README.md")), "\n| to a stamp that fails under traffic ")
	table, _, _ := strings.Cut("| "+rest, "\n\n")
	said := regexp.MustCompile(`\| (\d+ s)( and one probe's timeout)?`).FindAllStringSubmatch(table, -1)
	if len(sums) != 10 || len(said) != 12 {
		t.Fatalf("%d sums and %d times were found", len(sums), len(said))
	}
	var told []string
	for i, m := range said {
		if m[2] == "" {
			told = append(told, m[1])
		} else if m[1] != said[i-8][1] { // of the stamp that fails under traffic
			t.Errorf("%q is not that of a failed stamp, %s", m[0], said[i-8][1])
		}
	}
	for i, m := range sums {
		total := 0.0
		for term := range strings.SplitSeq(m[1], "+") {
			product := 1.0
			for factor := range strings.SplitSeq(term, "×") {
				n, err := strconv.ParseFloat(strings.TrimSpace(factor), 64)
				if err != nil {
					t.Fatal(err)
				}
				product *= n
			}
			total += product
		}
		if want := fmt.Sprintf("%.0f s", math.Ceil(total)); m[2] != want || told[i] != want {
			t.Errorf("%s is %s; the page says %s, the README %s", m[1], want, m[2], told[i])
		}
	}
}
