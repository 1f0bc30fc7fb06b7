package geo

import "testing"

// Azure may process what a regional deployment gets anywhere in the geography of
// its region: [NL] with westeurope is no boundary, unless the operator takes the
// narrower of Microsoft's two sentences.
func TestARegionalDeploymentReachesItsGeography(t *testing.T) {
	for name, c := range map[string]struct {
		region RegionID
		sku    SKU
		r      Residency
		field  string // "" = admitted
	}{
		"the Netherlands alone":             {"westeurope", Standard, Residency{Countries: []Country{"NL"}}, "sku"},
		"the same, reserved":                {"westeurope", ProvisionedManaged, Residency{Countries: []Country{"NL"}}, "sku"},
		"the whole geography":               {"westeurope", Standard, Residency{Countries: []Country{"NL", "IE"}}, ""},
		"Ireland alone":                     {"northeurope", Standard, Residency{Countries: []Country{"IE"}}, "sku"},
		"Singapore alone":                   {"southeastasia", Standard, Residency{Countries: []Country{"SG"}}, "sku"},
		"Singapore and Hong Kong":           {"southeastasia", Standard, Residency{Countries: []Country{"SG", "HK"}}, ""},
		"Hong Kong alone":                   {"eastasia", Standard, Residency{Countries: []Country{"HK"}}, "sku"},
		"a geography of one country":        {"swedencentral", Standard, Residency{Countries: []Country{"SE"}}, ""},
		"the geography without the country": {"westeurope", Standard, Residency{Countries: []Country{"IE"}}, "region"},
		"said to be the region alone":       {"westeurope", Standard, Residency{Countries: []Country{"NL"}, RegionalProcessing: InRegion}, ""},
		"said to be the geography":          {"westeurope", Standard, Residency{Countries: []Country{"NL"}, RegionalProcessing: InGeography}, "sku"},
		"at rest: processing may leave":     {"westeurope", Standard, Residency{Countries: []Country{"NL"}, Processing: AtRest}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.Boundary = "b"
			f, err := NewFence(c.r)
			if err != nil {
				t.Fatal(err)
			}
			site := goodSite()
			site.Region, site.SKU = c.region, c.sku
			target, err := f.Admit(site)
			checkAdmission(t, target, err, c.field)
		})
	}
}
