package policy

import (
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
)

// The process decides, too: it takes a policy that counts the region alone only if
// its own configuration does.
func TestAProcessAgreesToTheRegionAlone(t *testing.T) {
	doc := mustDecode(t, readValid(t, "region-alone.yaml"))
	own := &geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "FR", "DE"}}
	if _, err := Compile(doc, Options{Local: own}); err == nil || !strings.Contains(err.Error(), "residency.regionalProcessing: region is wider") {
		t.Errorf("a process that counts the geography: %v", err)
	}
	own.RegionalProcessing = geo.InRegion
	if _, err := Compile(doc, Options{Local: own}); err != nil {
		t.Errorf("a process that agrees: %v", err)
	}
}

// What a deployment may be served by besides itself is refused or declared, where
// processing stays inside.
func TestWhatServesBesideTheDeployment(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Document)
		fault  string
	}{
		"a model router that does not say what it chooses": {func(d *Document) {
			d.Backends[0].Deployments[0].Model = "model-router"
		}, "servedAs"},
		"one that does": {func(d *Document) {
			d.Backends[0].Deployments[0].Model, d.Backends[0].Deployments[0].ServedAs = "model-router", []string{"gpt-5.4"}
		}, ""},
		"a name of a model, instant models allowed": {func(d *Document) {
			d.Backends[0].InstantModels, d.Backends[0].Deployments[0].Name = InstantAllowed, "M"
		}, "deployments[0].name"},
		"a name of a model family, instant models allowed": {func(d *Document) {
			d.Backends[0].InstantModels, d.Backends[0].Deployments[0].Name = InstantAllowed, "GPT-6-sol"
		}, "deployments[0].name"},
		"another name, instant models allowed": {func(d *Document) {
			d.Backends[0].InstantModels, d.Backends[0].Deployments[0].Name = InstantAllowed, "payroll"
		}, ""},
		"a name of a model, none instant": {func(d *Document) {
			d.Backends[0].InstantModels, d.Backends[0].Deployments[0].Name = InstantNone, "m"
		}, ""},
		"at rest, both": {func(d *Document) {
			d.Residency.Processing = geo.AtRest
			d.Backends[0].InstantModels, d.Backends[0].Deployments[0].Name, d.Backends[0].Deployments[0].Model = InstantAllowed, "m", "model-router"
		}, ""},
	} {
		doc := &Document{
			Boundary: "b", Residency: Residency{Countries: []geo.Country{"SE"}}, Stamps: []Stamp{{Region: "swedencentral"}},
			Backends: []Backend{{
				Name: "b", Region: "swedencentral", Endpoint: "https://b.example", Credential: Credential{ManagedIdentity: &ManagedIdentity{}},
				Deployments: []Deployment{{Name: "d", Model: "m", Version: "1", SKU: geo.Standard}, {Name: "e", Model: "m", Version: "1", SKU: geo.Standard}},
			}},
			Routes: []Route{{Name: "r", Model: "m", Version: "1"}},
		}
		tt.change(doc)
		_, err := Compile(doc, Options{})
		if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %v, want a fault of %q", name, err, tt.fault)
		}
	}
}
