package plan_test

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/terraform/plan"
)

// What the tests of a layer take for given is what earlier layers hand over: the
// same names, the same attributes.
func TestLayersFit(t *testing.T) {
	e := planned(t)
	var given map[string]any
	if err := json.Unmarshal([]byte(read(t, root+"/infra/terraform/live/example-eu/tests/handover.tfvars.json")), &given); err != nil {
		t.Fatal(err)
	}
	outputs := map[string][]string{}
	for _, p := range e.All() {
		for name := range p.Outputs {
			outputs[name] = append(outputs[name], p.Shape(name)...)
		}
	}
	for name, value := range given {
		got := slices.Compact(slices.Sorted(slices.Values(outputs[name])))
		want := plan.Shape(name, value)
		// A region without a public host name, or a list, is known as a whole.
		if !slices.Equal(got, want) {
			t.Errorf("%s: the layers hand over\n%q, the tests take\n%q", name, got, want)
		}
	}
}

// The policy that layer 30 gives is one that the control plane takes as it is.
func TestThePolicyIsOne(t *testing.T) {
	e := planned(t)
	doc, faults, warnings := policyOf(t, e)
	for _, f := range append(faults, warnings...) {
		t.Errorf("%v", f)
	}
	if len(doc.Backends) != 2 || !doc.Residency.RequirePrivateAddresses || len(doc.Backends[0].Addresses) != 2 {
		t.Errorf("%d backends, private %v, addresses %v", len(doc.Backends), doc.Residency.RequirePrivateAddresses, doc.Backends[0].Addresses)
	}
}

// A boundary smaller than Azure's geography has a policy too, and its gateways
// take it: both have the same word on how far a regional deployment reaches.
func TestAPolicyOfOneCountryIsOne(t *testing.T) {
	e := planned(t).As("one_country")
	doc, faults, _ := policyOf(t, e) // a warning says what was chosen
	for _, f := range faults {
		t.Errorf("%v", f)
	}
	for region, p := range e.Stamps {
		text, _ := p.Outputs["gateway_config"].(string)
		cfg, err := gateway.ParseConfig([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", region, err, text)
		}
		if cfg.Residency.RegionalProcessing != "region" || doc.Residency.RegionalProcessing != "region" {
			t.Errorf("%s: the gateway says %q, the policy %q, want region", region, cfg.Residency.RegionalProcessing, doc.Residency.RegionalProcessing)
		}
	}
}

func policyOf(t *testing.T, e *plan.Example) (doc *policy.Document, faults, warnings []policy.Fault) {
	t.Helper()
	text, _ := e.Instances.Outputs["policy"].(string)
	doc, err := policy.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	faults, warnings = policy.Validate(doc, policy.Options{})
	return doc, faults, warnings
}

// Each gateway's configuration is one that a gateway starts with.
func TestTheGatewaysConfigurationIsOne(t *testing.T) {
	e := planned(t)
	for name, variant := range map[string]*plan.Example{"front door": e, "strict": e.Strict()} {
		for region, p := range variant.Stamps {
			text, _ := p.Outputs["gateway_config"].(string)
			cfg, err := gateway.ParseConfig([]byte(text))
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", name, region, err, text)
			}
			if err := cfg.Validate(); err != nil {
				t.Errorf("%s %s: %v\n%s", name, region, err, text)
			}
			if len(cfg.FrontDoor.IDs) > 0 != (name == "front door") {
				t.Errorf("%s %s: front door ids %q", name, region, cfg.FrontDoor.IDs)
			}
		}
	}
}

// And the control plane's, which stands beside etcd.
func TestTheControlPlanesConfigurationIsOne(t *testing.T) {
	tf := needTerraform(t)
	if err := tf.Check(t.Context(), "modules/policy-store"); err != nil {
		t.Fatal(err)
	}
	plans, _, err := tf.Test(t.Context(), "modules/policy-store")
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"three_over_zones", "an_old_signing_key_is_trusted_for_a_while"} {
		text, _ := plans[run].Outputs["controlplane_config"].(string)
		file := filepath.Join(t.TempDir(), "controlplane.yaml")
		write(t, file, text)
		cfg, err := controlplane.LoadConfig(file)
		if err != nil {
			t.Fatalf("%s: %v\n%s", run, err, text)
		}
		if etcd := cfg.Boundaries["eu"].Etcd; len(etcd.Endpoints) != 3 || etcd.CertFile == "" || cfg.TLS.CertFile == "" {
			t.Errorf("%s: %+v", run, cfg)
		}
	}
}

// What a machine is told at its first start is YAML that cloud-init reads, and
// holds no secret.
func TestCloudInit(t *testing.T) {
	e := planned(t)
	machines := map[string]string{}
	for region, p := range e.Stamps {
		for _, r := range p.Of("azurerm_orchestrated_virtual_machine_scale_set") {
			machines[region] = r.Blocks("os_profile")[0].Text("custom_data")
		}
	}
	// In the layer their identity is not known before it exists; in the module's
	// tests it is given.
	tf := needTerraform(t)
	if err := tf.Check(t.Context(), "modules/policy-store"); err != nil {
		t.Fatal(err)
	}
	plans, _, err := tf.Test(t.Context(), "modules/policy-store")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range plans["three_over_zones"].Of("azurerm_linux_virtual_machine") {
		machines[r.Index] = r.Text("custom_data")
	}
	if len(machines) != 5 {
		t.Fatalf("%d kinds of machines, want two stamps and three members", len(machines))
	}
	for name, data := range machines {
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil || !strings.HasPrefix(string(text), "#cloud-config\n") {
			t.Fatalf("%s: %v: %.40s", name, err, text)
		}
		var doc struct {
			Files []struct{ Path, Content, Permissions string } `yaml:"write_files"`
			Run   [][]string                                    `yaml:"runcmd"`
		}
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(doc.Files) < 3 || len(doc.Run) == 0 {
			t.Errorf("%s: %d files, %d commands", name, len(doc.Files), len(doc.Run))
		}
		for _, f := range doc.Files {
			if !strings.HasPrefix(f.Path, "/etc/") || strings.Contains(f.Path, "/secrets/") {
				t.Errorf("%s writes %s", name, f.Path)
			}
			if strings.HasSuffix(f.Path, ".yaml") && yaml.Unmarshal([]byte(f.Content), new(any)) != nil {
				t.Errorf("%s: %s is no YAML", name, f.Path)
			}
		}
	}
}
