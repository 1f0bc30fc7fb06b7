package policy

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

// processedIn is the reference model: in which countries may a call to this
// deployment be processed? It is written from the design's words without the
// fence, as plainly as possible; nil means anywhere in the world.
func processedIn(doc *Document, b Backend, d Deployment) []geo.Country {
	home := b.Country
	for r := range geo.Regions() {
		if r.ID == b.Region {
			home = r.Country
		}
	}
	switch {
	case d.SKU == "" && b.Kind == "openai-compatible":
		return []geo.Country{home}
	case d.SKU == "Standard", d.SKU == "ProvisionedManaged":
		// "may be processed anywhere in the region's geography": Azure has two
		// geographies of more than one country.
		europe, asia := []geo.RegionID{"westeurope", "northeurope"}, []geo.RegionID{"eastasia", "southeastasia"}
		switch {
		case doc.Residency.RegionalProcessing == "region", doc.Residency.Processing == "at-rest":
			return []geo.Country{home}
		case slices.Contains(europe, b.Region):
			return []geo.Country{"NL", "IE"}
		case slices.Contains(asia, b.Region):
			return []geo.Country{"HK", "SG"}
		}
		return []geo.Country{home}
	case strings.HasPrefix(string(d.SKU), "DataZone"):
		zones := map[string][]geo.Country{"US": {"US"}, "EU": {"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"}}
		maps.Copy(zones, doc.Residency.DataZones)
		all, found := []geo.Country{home}, false
		for _, countries := range zones {
			if slices.Contains(countries, home) {
				all, found = append(all, countries...), true
			}
		}
		if found {
			return all
		}
	}
	return nil
}

// insideModel reports whether the model lets a target be in a snapshot.
func insideModel(doc *Document, t *Target) error {
	for _, b := range doc.Backends {
		u, err := url.Parse(b.Endpoint)
		if err != nil || b.Name != t.Backend {
			continue
		}
		if !strings.EqualFold(u.Hostname(), t.Host()) || u.Scheme != "https" {
			return fmt.Errorf("%s is dialled at %s, declared %s", t.Backend, t.HostPort(), b.Endpoint)
		}
		for _, d := range b.Deployments {
			if d.Name != t.Deployment {
				continue
			}
			countries := processedIn(doc, b, d)
			if doc.Residency.Processing == "at-rest" && d.SKU != "" {
				countries = processedIn(doc, b, Deployment{SKU: "Standard"})
			}
			if countries == nil {
				return fmt.Errorf("%s/%s is processed anywhere", b.Name, d.Name)
			}
			for _, c := range countries {
				if !slices.Contains(doc.Residency.Countries, c) {
					return fmt.Errorf("%s/%s may be processed in %s, outside %v", b.Name, d.Name, c, doc.Residency.Countries)
				}
			}
			return nil
		}
	}
	return fmt.Errorf("%s/%s is not in the document", t.Backend, t.Deployment)
}

// targetsOf returns everything that a snapshot could ever send a request to.
func targetsOf(s *Snapshot) []*Target {
	all := slices.Collect(s.Targets())
	for r := range s.Routes() {
		for _, stamp := range s.stamps {
			for _, tier := range r.Tiers(stamp.Region) {
				all = append(all, tier.Targets...)
			}
		}
	}
	return all
}

func checkInside(doc *Document, s *Snapshot) error {
	for _, t := range targetsOf(s) {
		if err := insideModel(doc, t); err != nil {
			return err
		}
		if !t.Valid() || t.Boundary() != doc.Boundary {
			return fmt.Errorf("%s/%s was not admitted by the fence of %q", t.Backend, t.Deployment, doc.Boundary)
		}
	}
	return nil
}

// seldom is true in one draw of n.
func seldom(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

// drawDocument makes a policy that is valid in about half of all draws and
// otherwise wrong in one place or two.
func drawDocument(t *rapid.T) *Document {
	pool := rapid.SliceOfNDistinct(rapid.SampledFrom([]geo.RegionID{
		"swedencentral", "westeurope", "francecentral", "norwayeast", "northeurope", "uksouth", "eastus2", "westus3", "japaneast", "southeastasia", "lab",
	}), 1, 3, rapid.ID).Draw(t, "regions")
	doc := &Document{Boundary: "b", Residency: drawResidency(t, pool)}
	for i, region := range pool {
		if i == 0 || rapid.Bool().Draw(t, "stamp") {
			others := slices.DeleteFunc(slices.Clone(pool), func(r geo.RegionID) bool { return r == region })
			if seldom(t, 20, "stray") {
				others = append(others, "eastus", "atlantis")
			}
			doc.Stamps = append(doc.Stamps, Stamp{Region: region, Fallback: rapid.Permutation(others).Draw(t, "fallback")})
		}
	}
	var names []string
	for i := range len(pool) + rapid.IntRange(0, 2).Draw(t, "more") {
		b := drawBackend(t, i, pool[i%len(pool)])
		doc.Backends = append(doc.Backends, b)
		for _, d := range b.Deployments {
			if d.Version == "1" && !d.SKU.Batch() {
				names = append(names, b.Name+"/"+d.Name)
			}
		}
	}
	r := Route{Name: "r", Model: "m", Version: "1"}
	if seldom(t, 4, "by hand") && len(names) > 0 {
		r.Tiers = []Tier{{Targets: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "targets")}}
	}
	doc.Routes = []Route{r}
	return doc
}

func drawResidency(t *rapid.T, pool []geo.RegionID) Residency {
	countries := rapid.SampledFrom([]geo.Country{"SE", "NL", "FR", "DE", "IT", "NO", "PL", "ES", "CH", "IE", "GB", "US", "JP", "SG", "HK"})
	inside := []geo.Country{"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"}
	if rapid.Bool().Draw(t, "few") {
		inside = rapid.SliceOfNDistinct(countries, 1, 5, rapid.ID).Draw(t, "countries")
	}
	for _, region := range pool {
		if r, ok := geo.Lookup(region); ok && !slices.Contains(inside, r.Country) && !seldom(t, 8, "outside") {
			inside = append(inside, r.Country)
		}
		for other, with := range map[geo.RegionID]geo.Country{"westeurope": "IE", "northeurope": "NL", "southeastasia": "HK"} {
			if region == other && !slices.Contains(inside, with) && rapid.Bool().Draw(t, "the rest of the geography") {
				inside = append(inside, with)
			}
		}
	}
	if slices.Contains(pool, "lab") && !slices.Contains(inside, "DE") && !seldom(t, 8, "lab outside") {
		inside = append(inside, "DE")
	}
	residency := Residency{Countries: inside, Processing: rapid.SampledFrom([]geo.Processing{"", "", "", "in-boundary", "at-rest"}).Draw(t, "processing")}
	residency.RegionalProcessing = rapid.SampledFrom([]geo.RegionalProcessing{"", "", "geography", "region"}).Draw(t, "regional")
	if seldom(t, 4, "zones") {
		residency.DataZones = map[string][]geo.Country{
			rapid.SampledFrom([]string{"EU", "US", "APAC"}).Draw(t, "zone"): rapid.SliceOfNDistinct(countries, 1, 4, rapid.ID).Draw(t, "members"),
		}
	}
	return residency
}

func drawBackend(t *rapid.T, i int, region geo.RegionID) Backend {
	b := Backend{
		Name: fmt.Sprintf("b%d", i), Region: region, Endpoint: fmt.Sprintf("https://b%d.example", i),
		Credential: Credential{ManagedIdentity: &ManagedIdentity{}},
	}
	if region == "lab" {
		b.Kind, b.Country = OpenAICompatible, "DE"
	} else if r, ok := geo.Lookup(region); ok && seldom(t, 6, "compatible") {
		b.Kind, b.Country = OpenAICompatible, r.Country
	}
	if seldom(t, 20, "lie") {
		b.Country = "SE"
	}
	skus := []geo.SKU{"Standard", "ProvisionedManaged", "Standard", "ProvisionedManaged", "Standard", "DataZoneStandard", "DataZoneProvisionedManaged", "DataZoneBatch", "GlobalStandard", "DeveloperTier", ""}
	for j := range rapid.IntRange(1, 3).Draw(t, "deployments") {
		d := Deployment{Name: fmt.Sprintf("d%d", j), Model: "m", Version: "1"}
		if j > 0 && rapid.Bool().Draw(t, "other version") {
			d.Version = "2"
		}
		if b.Kind != OpenAICompatible {
			d.SKU = skus[rapid.IntRange(0, 4+6*rapid.IntRange(0, 4).Draw(t, "wide")/4).Draw(t, "sku")]
		}
		if d.SKU.Provisioned() {
			d.PTU = rapid.IntRange(0, 300).Draw(t, "ptu")
			if seldom(t, 4, "spills") {
				d.SpilloverDeployment = fmt.Sprintf("d%d", rapid.IntRange(0, 2).Draw(t, "to"))
			}
		}
		b.Deployments = append(b.Deployments, d)
	}
	return b
}

// P1: for any policy, nothing that compiles lies outside the fence. P2: nor
// outside the fence of the process, whatever the policy says of itself.
func TestNoCompiledTargetLiesOutside(t *testing.T) {
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDocument(t)
		s, err := Compile(doc, Options{})
		if err != nil {
			return
		}
		compiled++
		if err := checkInside(doc, s); err != nil {
			t.Fatal(err)
		}
	})
	if compiled == 0 {
		t.Error("no generated policy compiled: the property was not tested")
	}
	t.Logf("%d generated policies compiled", compiled)
}

// The same, but the policy is drawn so that it compiles by itself far more
// often than the process's own residency allows.
func TestNoCompiledTargetLiesOutsideTheProcessesOwnResidency(t *testing.T) {
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDocument(t)
		own := geo.Residency{Boundary: "b", Countries: []geo.Country{"SE", "NL", "FR", "DE", "NO", "IT", "PL", "ES", "CH"}}
		if rapid.Bool().Draw(t, "Ireland too") {
			own.Countries = append([]geo.Country{"IE"}, own.Countries...)
		}
		if rapid.Bool().Draw(t, "small") {
			own.Countries = own.Countries[:4]
		}
		doc.Residency.Countries = slices.DeleteFunc(doc.Residency.Countries, func(c geo.Country) bool {
			return !slices.Contains(own.Countries, c) && rapid.IntRange(0, 9).Draw(t, "keep") > 0
		})
		s, err := Compile(doc, Options{Local: &own})
		if err != nil {
			return
		}
		compiled++
		mine := *doc // what the process says, in place of what the policy says
		if doc.Residency.Processing == geo.AtRest {
			t.Fatal("at rest, though the process wants in-boundary")
		}
		mine.Residency = Residency{Countries: own.Countries}
		if err := checkInside(&mine, s); err != nil {
			t.Fatal(err)
		}
	})
	if compiled == 0 {
		t.Error("no generated policy compiled: the property was not tested")
	}
}

// Whatever compiles keeps the rules of tiers, checked one by one.
func TestTiersOfAnyPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDocument(t)
		s, err := Compile(doc, Options{})
		if err != nil {
			return
		}
		for r := range s.Routes() {
			for _, stamp := range s.stamps {
				seen := make(map[Key]bool)
				passive := false
				for _, tier := range r.Tiers(stamp.Region) {
					if len(tier.Targets) == 0 {
						t.Fatal("an empty tier")
					}
					if len(doc.Routes[0].Tiers) == 0 && passive && !tier.Passive {
						t.Fatal("an own tier after a passive one")
					}
					passive = tier.Passive
					for _, target := range tier.Targets {
						if seen[target.Key] {
							t.Fatalf("%v twice", target.Key)
						}
						seen[target.Key] = true
						if again, _ := s.Target(target.Key); again != target {
							t.Fatalf("%v is not shared", target.Key)
						}
						if target.Model != r.Model || target.Version != r.Version || target.SKU().Batch() || target.Weight <= 0 {
							t.Fatalf("%+v in route %+v", target, r)
						}
						if tier.Passive && target.Region() == stamp.Region {
							t.Fatal("a passive tier with a target of the stamp's own region")
						}
						if len(doc.Routes[0].Tiers) == 0 && tier.Passive && !slices.Contains(stamp.Fallback, target.Region()) {
							t.Fatalf("%s is no fallback of %s", target.Region(), stamp.Region)
						}
					}
				}
			}
			if r.Tiers("nowhere") != nil {
				t.Fatal("tiers for a region without a stamp")
			}
		}
	})
}

// Any document, written by a program that is not ours, is read back as the same
// document.
func TestADocumentIsReadBackAsItWasWritten(t *testing.T) {
	text := rapid.OneOf(rapid.StringN(0, 20, -1), rapid.SampledFrom([]string{"no", "1.5", "~", "null", "- x", "a: b", "#", " ", "\u2028", "2024-11-20", "é", "=", "<<", "!!x", "&a", "*a", "0x1", ".inf"}))
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDocument(t)
		doc.Boundary = geo.Boundary(text.Draw(t, "boundary"))
		doc.Routes[0].Version = text.Draw(t, "version")
		doc.Routes[0].Timeouts.Total = Duration(rapid.Int64().Draw(t, "total"))
		doc.Backends[0].Deployments[0].Weight = rapid.Float64().Draw(t, "weight")
		switch rapid.IntRange(0, 3).Draw(t, "references") {
		case 1:
			doc.ExternalReferences.Rule = ReferenceRule(rapid.SampledFrom([]string{"refuse", "allow", "no", "1", "- x"}).Draw(t, "rule"))
		case 2:
			doc.ExternalReferences.Hosts = []string{text.Draw(t, "host"), "files.example"}
		}
		doc.OtherBoundaries = map[string]string{text.Draw(t, "other"): text.Draw(t, "address")}
		doc.Clients = []Client{{Name: text.Draw(t, "client"), Keys: []ClientKey{{SHA256: "00", NotAfter: time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()}}}}
		doc.Routes[0].Required = new(rapid.Bool().Draw(t, "required"))
		if rapid.Bool().Draw(t, "zone") {
			doc.Residency.DataZones = map[string][]geo.Country{text.Draw(t, "zone name"): nil, "z": {geo.Country(text.Draw(t, "country"))}}
		}
		text := mustEncode(t, doc)
		got, err := Decode(text)
		if err != nil {
			if strings.Contains(err.Error(), "secret") {
				return // a text that looks like one, drawn by chance
			}
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := difference(normal(doc), got); diff != "" {
			t.Fatal(diff)
		}
	})
}
