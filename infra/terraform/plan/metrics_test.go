package plan_test

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Each gateway of the example sends its metrics, under its own name: all scrape
// themselves over loopback, so without it three gateways would send one series.
func TestEachGatewaySendsMetricsUnderItsName(t *testing.T) {
	const file = "/etc/stampgate/prometheus.yaml"
	for region, p := range planned(t).Stamps {
		data, err := base64.StdEncoding.DecodeString(p.Of("azurerm_orchestrated_virtual_machine_scale_set")[0].Blocks("os_profile")[0].Text("custom_data"))
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Files []struct{ Path, Content string } `yaml:"write_files"`
			Run   [][]string                       `yaml:"runcmd"`
		}
		if err := yaml.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		own := filepath.Join(dir, "prometheus.yaml")
		for _, f := range doc.Files {
			if f.Path == file {
				write(t, own, f.Content)
			}
		}
		started := false
		for _, c := range doc.Run {
			if c[0] == "sh" && !started {
				sh(t, dir, strings.ReplaceAll(c[2], file, own))
			}
			started = started || strings.Contains(strings.Join(c, " "), "enable --now")
		}
		var agent struct {
			Scrapes []struct {
				Static []struct{ Labels map[string]string } `yaml:"static_configs"`
			} `yaml:"scrape_configs"`
			Write []struct{ URL string } `yaml:"remote_write"`
		}
		if err := yaml.Unmarshal([]byte(read(t, own)), &agent); err != nil {
			t.Fatal(err)
		}
		if len(agent.Write) != 1 || !strings.HasPrefix(agent.Write[0].URL, "https://") {
			t.Errorf("%s: sent to %+v", region, agent.Write)
		}
		if got := agent.Scrapes[0].Static[0].Labels["instance"]; got != "swc000001" {
			t.Errorf("%s: the instance is %q, want the machine's name", region, got)
		}
	}
}
