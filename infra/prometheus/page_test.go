package prometheus_test

import (
	"maps"
	"os"
	"regexp"
	"testing"
)

// The page names every metric that is registered, and no other.
func TestThePageNamesEachMetric(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	known, told := registered(t), map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(stampgate_[a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = true
		if !known[m[1]] {
			t.Errorf("nobody registers %s", m[1])
		}
	}
	for name := range known {
		if !told[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// The page names every alert, and no other.
func TestThePageNamesEachAlert(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules rulesFile
	load(t, "rules.yml", &rules)
	known := map[string]string{} // its severity
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				known[r.Alert] = r.Labels["severity"]
			}
		}
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(Stampgate[A-Za-z]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = m[2]
	}
	if !maps.Equal(known, told) {
		t.Errorf("the rules have %v,\nthe page %v", known, told)
	}
}
