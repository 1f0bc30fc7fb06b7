// Package prometheus_test checks the alerts and the dashboards: that promtool
// takes them, that each alert is tested both ways, and that they speak only of
// metrics which the commands register.
package prometheus_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/infra/needs"
)

var root = filepath.Join("..", "..")

type rulesFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Record, Expr, For string
			Labels, Annotations      map[string]string
		}
	}
}

type testsFile struct {
	Tests []struct {
		Alerts []struct {
			Name     string `yaml:"alertname"`
			Expected []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func load(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestPromtool(t *testing.T) {
	needs.Tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	// With one threshold moved the tests fail: or they would show nothing.
	dir := t.TempDir()
	for name, change := range map[string][2]string{"rules.yml": {"stampgate_gossip_members) < 3", "stampgate_gossip_members) < 1"}, "rules_test.yml": {}} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		broken := strings.Replace(string(text), change[0], change[1], 1)
		if change[0] != "" && broken == string(text) {
			t.Fatalf("%q is not in %s", change[0], name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "promtool", "test", "rules", "rules_test.yml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "StampgateGatewaysMissing") {
		t.Errorf("a moved threshold is not found: %v: %s", err, out)
	}
}

// Each alert is shown to fire and to be silent, is sorted by urgency, and tells
// whoever is woken what to do.
func TestEachAlertIsTestedBothWays(t *testing.T) {
	var rules rulesFile
	var tests testsFile
	load(t, "rules.yml", &rules)
	load(t, "rules_test.yml", &tests)
	fires, silent := map[string]int{}, map[string]int{}
	for _, test := range tests.Tests {
		for _, a := range test.Alerts {
			if len(a.Expected) > 0 {
				fires[a.Name]++
			} else {
				silent[a.Name]++
			}
		}
	}
	alerts := 0
	for _, g := range rules.Groups {
		if len(g.Rules) > 20 {
			t.Errorf("%s has %d rules; Azure takes 20 in a group", g.Name, len(g.Rules))
		}
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
			if fires[r.Alert] == 0 || silent[r.Alert] == 0 {
				t.Errorf("%s: %d tests in which it fires, %d in which it is silent; want both", r.Alert, fires[r.Alert], silent[r.Alert])
			}
			if r.Annotations["summary"] == "" || r.Annotations["action"] == "" || r.For == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: needs for, severity, summary and action", r.Alert)
			}
		}
	}
	if alerts < 15 {
		t.Errorf("%d alerts were found", alerts)
	}
}

// registered finds the metrics that the commands register, by reading the code:
// names written out, and names that a function puts together from a prefix and
// its first argument.
func registered(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, folder := range []string{"gateway", "stamp", "controlplane"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, d := range file.Decls {
				namesIn(d, names)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) < 20 {
		t.Fatalf("%d metrics were found", len(names))
	}
	return names
}

// namesIn looks at one declaration: a prefix belongs to the function literal in it
// that uses it.
func namesIn(d ast.Decl, names map[string]bool) {
	prefixes := map[string]string{} // by the name of the function
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt: // gauge := func(name …) { … "stampgate_gossip_" + name … }
			if name, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Rhs) == 1 {
				if prefix := prefixIn(n.Rhs[0]); prefix != "" {
					prefixes[name.Name] = prefix
				}
			}
		case *ast.CallExpr: // gauge("members", "help", …)
			name, ok := n.Fun.(*ast.Ident)
			if !ok || len(n.Args) == 0 || prefixes[name.Name] == "" {
				return true
			}
			if s, ok := literal(n.Args[0]); ok {
				names[prefixes[name.Name]+s] = true
			}
		case *ast.BasicLit:
			if s, ok := literal(n); ok && regexp.MustCompile(`^stampgate_[a-z_]*[a-z]$`).MatchString(s) {
				names[s] = true
			}
		}
		return true
	})
}

// prefixIn is what a function literal puts before a name.
func prefixIn(e ast.Expr) (prefix string) {
	if _, ok := e.(*ast.FuncLit); !ok {
		return ""
	}
	ast.Inspect(e, func(n ast.Node) bool {
		if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.ADD {
			if s, ok := literal(b.X); ok && strings.HasPrefix(s, "stampgate_") {
				prefix = s
			}
		}
		return true
	})
	return prefix
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// unknown lists the metrics of an expression that nobody registers.
func unknown(expr string, known, recorded map[string]bool) []string {
	var wrong []string
	for _, name := range regexp.MustCompile(`\bstampgate[_:][a-z0-9_:]+`).FindAllString(expr, -1) {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !known[name] && !known[base] && !recorded[name] {
			wrong = append(wrong, name)
		}
	}
	return wrong
}

func TestRulesSpeakOfMetricsThatExist(t *testing.T) {
	known, recorded := registered(t), records(t)
	var rules rulesFile
	load(t, "rules.yml", &rules)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, name := range unknown(r.Expr, known, recorded) {
				t.Errorf("%s%s: nobody registers %s", r.Alert, r.Record, name)
			}
		}
	}
	if got := unknown("rate(stampgate_request_total[5m])", known, recorded); len(got) != 1 {
		t.Errorf("a misspelt metric: %q, want it found", got)
	}
}

// Each outcome of a call is a failure to the alerts, or is listed here as none: a
// new one must not be a failure that nobody counts.
func TestEachOutcomeIsJudged(t *testing.T) {
	none := []string{"ok", "rejected", "throttled", "client_gone", "drained", "revoked"}
	var text []byte
	for _, file := range []string{"relay/relay.go", "refusal/table.go"} {
		more, err := os.ReadFile(filepath.Join(root, "gateway", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, more...)
	}
	outcomes := regexp.MustCompile(`\bOutcome[A-Z]\w* += "([a-z_]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(outcomes) < 12 {
		t.Fatalf("%d outcomes were found", len(outcomes))
	}
	var rules rulesFile
	load(t, "rules.yml", &rules)
	found := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if !strings.HasPrefix(r.Record, "stampgate:request_failures:") {
				continue
			}
			found++
			failures := strings.Split(regexp.MustCompile(`outcome=~"([a-z_|]+)"`).FindStringSubmatch(r.Expr)[1], "|")
			for _, o := range outcomes {
				if slices.Contains(failures, o[1]) == slices.Contains(none, o[1]) {
					t.Errorf("%s: is the outcome %s a failure or not?", r.Record, o[1])
				}
			}
		}
	}
	if found != 4 {
		t.Errorf("%d records of failures, want 4", found)
	}
}

func records(t *testing.T) map[string]bool {
	t.Helper()
	var rules rulesFile
	load(t, "rules.yml", &rules)
	all := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				all[r.Record] = true
			}
		}
	}
	return all
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	Targets    []struct{ Expr string }
	Panels     []panel
}

// Each dashboard is one that Grafana takes, with queries that Prometheus parses,
// of metrics that exist, from the data source that the viewer chooses.
func TestDashboards(t *testing.T) {
	known, recorded := registered(t), records(t)
	files, err := filepath.Glob(filepath.Join("..", "grafana", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	uids := map[string]bool{}
	var queries strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			UID, Title    string
			SchemaVersion int
			Panels        []panel
			Templating    struct{ List []struct{ Name, Type string } }
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if d.UID == "" || uids[d.UID] || d.Title == "" || d.SchemaVersion == 0 || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: needs a uid of its own, a title, a schema version and the data source as its first variable", f)
		}
		uids[d.UID] = true
		ids, drawn := map[int]bool{}, 0
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: panel %d is there twice", f, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			drawn++
			if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 || p.Title == "" {
				t.Errorf("%s: panel %q needs a title, queries, and ${datasource}", f, p.Title)
			}
			for _, target := range p.Targets {
				for _, name := range unknown(target.Expr, known, recorded) {
					t.Errorf("%s: %s: nobody registers %s", f, p.Title, name)
				}
				fmt.Fprintf(&queries, "      - {record: 'q:%d', expr: %q}\n", queries.Len(), plain(target.Expr))
			}
		}
		if drawn < 5 {
			t.Errorf("%s: %d panels", f, drawn)
		}
	}
	parses(t, queries.String(), true)
	parses(t, "      - {record: 'q:0', expr: 'sum by (region (up)'}\n", false)
}

// plain is a query with Grafana's variables filled in.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$boundary", "eu", "$region", "swc").Replace(expr)
}

// parses has promtool read the queries, as rules.
func parses(t *testing.T, queries string, want bool) {
	t.Helper()
	needs.Tool(t, "promtool")
	file := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(file, []byte("groups:\n  - name: queries\n    rules:\n"+queries), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", file).CombinedOutput(); (err == nil) != want {
		t.Errorf("parsed: %v, want %v: %s", err == nil, want, out)
	}
}
