package geo

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testFence(t testing.TB, change func(*Residency)) *Fence {
	t.Helper()
	r := Residency{Boundary: "eu", Countries: []Country{"SE", "NL", "FR"}}
	if change != nil {
		change(&r)
	}
	f, err := NewFence(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func goodSite() Site {
	return Site{Region: "swedencentral", SKU: Standard, Endpoint: "https://swc.openai.azure.com", Deployment: "gpt-4o"}
}

// fieldsOf returns the fields that an error of Admit names.
func fieldsOf(err error) []string {
	var fields []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			if e, ok := errors.AsType[*SiteError](one); ok {
				fields = append(fields, e.Field)
			}
		}
	}
	return fields
}

func TestAdmittedTargetSaysWhatWasAdmitted(t *testing.T) {
	f := testFence(t, nil)
	target, err := f.Admit(Site{
		Region: "swedencentral", SKU: Standard, Endpoint: "https://SWC.OpenAI.azure.com.:0443/", Deployment: "gpt-4o",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !target.Valid() || target.Boundary() != "eu" || target.Region() != "swedencentral" || target.Country() != "SE" ||
		target.SKU() != Standard || target.Deployment() != "gpt-4o" || !target.TLS() {
		t.Errorf("%+v", target)
	}
	if target.Host() != "swc.openai.azure.com" || target.HostPort() != "swc.openai.azure.com:443" || target.Origin() != "https://swc.openai.azure.com" {
		t.Errorf("host %q, host:port %q, origin %q", target.Host(), target.HostPort(), target.Origin())
	}
}

func TestEveryFalseClaimIsNamed(t *testing.T) {
	f := testFence(t, func(r *Residency) { r.RequirePrivateAddresses = true })
	_, err := f.Admit(Site{Region: "swedencentral", SKU: GlobalStandard, Endpoint: "http://swc.openai.azure.com", Deployment: "x"})
	if got := fieldsOf(err); !slices.Equal(got, []string{"sku", "endpoint", "addresses"}) {
		t.Errorf("fields %v in: %v", got, err)
	}
}

func TestPrivateAddressesAreAskedForWhereTheyAreRequired(t *testing.T) {
	f := testFence(t, func(r *Residency) { r.RequirePrivateAddresses = true; r.AllowLoopback = true })
	site := goodSite()
	if _, err := f.Admit(site); !slices.Equal(fieldsOf(err), []string{"addresses"}) {
		t.Errorf("without addresses: %v", err)
	}
	site.Addresses = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
	if _, err := f.Admit(site); err != nil {
		t.Errorf("with addresses: %v", err)
	}
	site.Addresses, site.Endpoint = nil, "http://127.0.0.1:8080"
	if _, err := f.Admit(site); err != nil {
		t.Errorf("this machine needs none: %v", err)
	}
}

func TestPlaceDecides(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Site)
		field  string // "" = admitted
	}{
		"a region inside":                                 {func(*Site) {}, ""},
		"a region of another country":                     {func(s *Site) { s.Region = "eastus2" }, "region"},
		"westeurope may process in Ireland, too":          {func(s *Site) { s.Region = "westeurope" }, "sku"},
		"northeurope is Ireland, whatever Azure calls it": {func(s *Site) { s.Region = "northeurope" }, "region"},
		"no region":                    {func(s *Site) { s.Region = "" }, "region"},
		"a region that is not Azure's": {func(s *Site) { s.Region = "atlantis" }, "region"},
		"a region in other letters":    {func(s *Site) { s.Region = "SwedenCentral" }, "region"},
		"a canary region":              {func(s *Site) { s.Region = "eastus2euap" }, "region"},
		// A country that is given must not move a region of Azure inside.
		"a false country for a region of Azure": {func(s *Site) { s.Region = "eastus2"; s.Country = "SE" }, "country"},
		"the true country for a region":         {func(s *Site) { s.Country = "SE" }, ""},
		"a site inside":                         {func(s *Site) { s.Region = "lab"; s.Country = "FR"; s.SKU = "" }, ""},
		"a site outside":                        {func(s *Site) { s.Region = "lab"; s.Country = "US"; s.SKU = "" }, "region"},
		"a site with a malformed country":       {func(s *Site) { s.Region = "lab"; s.Country = "fr"; s.SKU = "" }, "country"},
		"no deployment type":                    {func(s *Site) { s.SKU = "" }, "sku"},
		"a server of another make in a region":  {func(s *Site) { s.SKU = ""; s.Country = "SE" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			site := goodSite()
			c.change(&site)
			target, err := testFence(t, nil).Admit(site)
			checkAdmission(t, target, err, c.field)
		})
	}
}

func checkAdmission(t *testing.T, target Target, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil || !target.Valid() {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if target.Valid() || target.CheckAddr(netip.MustParseAddr("20.1.2.3")) == nil {
		t.Error("a target in spite of a fault")
	}
	if !slices.Contains(fieldsOf(err), field) {
		t.Errorf("want a fault of %s, got %v", field, err)
	}
}

func TestReachDecides(t *testing.T) {
	euZone := []Country{"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"}
	whole := func(r *Residency) { r.Countries = euZone }
	for name, c := range map[string]struct {
		sku    SKU
		region RegionID
		change func(*Residency)
		ok     bool
	}{
		"Standard":                        {Standard, "swedencentral", nil, true},
		"ProvisionedManaged":              {ProvisionedManaged, "swedencentral", nil, true},
		"GlobalStandard":                  {GlobalStandard, "swedencentral", whole, false},
		"GlobalProvisionedManaged":        {GlobalProvisionedManaged, "swedencentral", whole, false},
		"GlobalBatch":                     {GlobalBatch, "swedencentral", whole, false},
		"DeveloperTier":                   {DeveloperTier, "swedencentral", whole, false},
		"a zone wider than the countries": {DataZoneStandard, "swedencentral", nil, false},
		"a zone inside the countries":     {DataZoneStandard, "swedencentral", whole, true},
		"reserved, zone inside":           {DataZoneProvisionedManaged, "swedencentral", whole, true},
		"reserved, zone wider":            {DataZoneProvisionedManaged, "swedencentral", nil, false},
		"batch, zone wider":               {DataZoneBatch, "swedencentral", nil, false},
		"a zone as the operator takes it": {DataZoneStandard, "swedencentral", func(r *Residency) { r.DataZones = map[string][]Country{"EU": {"SE", "FR"}} }, true},
		"a region that is in no zone":     {DataZoneStandard, "uksouth", func(r *Residency) { r.Countries = []Country{"GB"} }, false},
		"a new zone": {DataZoneStandard, "japaneast", func(r *Residency) {
			r.Countries = []Country{"JP", "KR"}
			r.DataZones = map[string][]Country{"APAC": {"JP", "KR"}}
		}, true},
		"an emptied zone holds no region":        {DataZoneStandard, "swedencentral", func(r *Residency) { r.DataZones = map[string][]Country{"EU": {}} }, false},
		"a second, narrow zone is no way out":    {DataZoneStandard, "swedencentral", func(r *Residency) { r.DataZones = map[string][]Country{"APAC": {"SE"}} }, false},
		"a zone that is not the first":           {DataZoneStandard, "eastus2", func(r *Residency) { r.Countries = []Country{"US"} }, true},
		"an unknown type":                        {"Turbo", "swedencentral", whole, false},
		"a type in other letters":                {"standard", "swedencentral", whole, false},
		"at rest: Global is accepted":            {GlobalStandard, "swedencentral", func(r *Residency) { r.Processing = AtRest }, true},
		"at rest: a wide zone is accepted":       {DataZoneStandard, "swedencentral", func(r *Residency) { r.Processing = AtRest }, true},
		"at rest: the region must be inside":     {GlobalStandard, "eastus2", func(r *Residency) { r.Processing = AtRest }, false},
		"at rest: an unknown type stays refused": {"Turbo", "swedencentral", func(r *Residency) { r.Processing = AtRest }, false},
	} {
		t.Run(name, func(t *testing.T) {
			site := goodSite()
			site.SKU, site.Region = c.sku, c.region
			target, err := testFence(t, c.change).Admit(site)
			if (err == nil) != c.ok || target.Valid() != c.ok {
				t.Errorf("admitted %v, want %v: %v", target.Valid(), c.ok, err)
			}
		})
	}
}

// Every spelling of an address, and every other thing that is not plainly the
// name of a host.
func TestEndpointIsAHostAndNothingElse(t *testing.T) {
	const secret = "hunter2hunter2"
	refused := []string{
		"", " ", "swc.openai.azure.com", "//swc.openai.azure.com", "https://", "https:///x", "https://:443", "https:swc.openai.azure.com",
		"http://swc.openai.azure.com", "ftp://swc.openai.azure.com", "wss://swc.openai.azure.com", "file:///etc/passwd",
		"https://swc.openai.azure.com/openai", "https://swc.openai.azure.com//", "https://swc.openai.azure.com/%2e",
		"https://swc.openai.azure.com?api-key=" + secret, "https://swc.openai.azure.com?", "https://swc.openai.azure.com#",
		"https://swc.openai.azure.com#" + secret, "https://me:" + secret + "@swc.openai.azure.com", "https://@swc.openai.azure.com",
		"https://swc.openai.azure.com:", "https://swc.openai.azure.com:0", "https://swc.openai.azure.com:65536", "https://swc.openai.azure.com:-1",
		"https://swc.openai.azure.com:443:443", "https://swc.openai.azure.com\\@evil.example", "https://swc.openai.azure.com\n", "https://swc openai",
		" https://swc.openai.azure.com", "https://ex%61mple.com", "https://a..com", "https://.a.com", "https://a.com..", "https://-a.com", "https://a-.com",
		"https://a_b.com", "https://bücher.example", "https://ｅｘａｍｐｌｅ.com", "https://a。com", "https://swc.openai.azure.com\u200b", "https://ßtraße.example",
		"https://" + strings.Repeat("a", 64) + ".com", "https://" + strings.Repeat("a.", 130) + "com",
		// Addresses in every spelling that some resolver reads.
		"https://10.20.0.4", "https://10.20.0.4.", "https://10.20.0.4:443", "https://2130706433", "https://0x7f.1", "https://0x7f000001", "https://0X7F.0.0.1",
		"https://0177.0.0.1", "https://127.1", "https://1.2.3", "https://a.0x7f", "https://swc.1", "https://0x", "https://1。2。3。4", "https://１２７.0.0.1",
		"https://[2001:db8::1]", "https://[::ffff:10.0.0.1]", "https://[fe80::1%25eth0]", "https://[64:ff9b::7f00:1]", "https://[1.2.3.4]", "https://[v1.x]",
		// This machine.
		"https://localhost", "https://localhost.", "https://LOCALHOST", "https://a.localhost", "https://A.LocalHost.", "http://localhost", "https://127.0.0.1",
		"https://127.0.0.1.", "https://127.9.9.9", "http://127.0.0.1:8080", "https://[::1]", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]", "https://0.0.0.0", "https://[::]",
	}
	f := testFence(t, nil)
	for _, endpoint := range refused {
		site := goodSite()
		site.Endpoint = endpoint
		target, err := f.Admit(site)
		if target.Valid() || !slices.Equal(fieldsOf(err), []string{"endpoint"}) {
			t.Errorf("%q admitted as %q: %v", endpoint, target.Host(), err)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.ContainsAny(err.Error(), "\n\u200b")) {
			t.Errorf("%q is repeated in the message: %v", endpoint, err)
		}
	}
	for endpoint, origin := range map[string]string{
		"https://swc.openai.azure.com":                    "https://swc.openai.azure.com",
		"https://swc.openai.azure.com/":                   "https://swc.openai.azure.com",
		"HTTPS://Swc.OpenAI.Azure.Com":                    "https://swc.openai.azure.com",
		"https://swc.openai.azure.com.":                   "https://swc.openai.azure.com",
		"https://swc.openai.azure.com:443":                "https://swc.openai.azure.com",
		"https://swc.openai.azure.com:08443":              "https://swc.openai.azure.com:8443",
		"https://xn--bcher-kva.example":                   "https://xn--bcher-kva.example",
		"https://gpu-1.lab.internal:8443":                 "https://gpu-1.lab.internal:8443",
		"https://3com.example":                            "https://3com.example",
		"https://0x7f.example":                            "https://0x7f.example",
		"https://a-z0-9.example":                          "https://a-z0-9.example",
		"https://" + strings.Repeat("z", 63) + ".example": "https://" + strings.Repeat("z", 63) + ".example",
		"https://" + strings.Repeat("a.", 126) + "a":      "https://" + strings.Repeat("a.", 126) + "a", // 253 characters
	} {
		site := goodSite()
		site.Endpoint = endpoint
		target, err := f.Admit(site)
		if err != nil || target.Origin() != origin {
			t.Errorf("%q: origin %q, %v", endpoint, target.Origin(), err)
		}
		if got, ok := Origin(endpoint); !ok || got != origin {
			t.Errorf("Origin(%q) = %q, %v", endpoint, got, ok)
		}
	}
}

func TestWhatIsNoEndpointHasNoOrigin(t *testing.T) {
	for _, endpoint := range []string{"", "https://", "https://:443", "swc.openai.azure.com", "https://a b", "https:a.com"} {
		if got, ok := Origin(endpoint); ok || got != "" {
			t.Errorf("Origin(%q) = %q", endpoint, got)
		}
	}
}

func TestLoopbackOnlyWhereItIsAllowed(t *testing.T) {
	f := testFence(t, func(r *Residency) { r.AllowLoopback = true; r.RequirePrivateAddresses = true })
	for endpoint, origin := range map[string]string{
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080",
		"https://127.0.0.2":              "https://127.0.0.2",
		"http://localhost.:80":           "http://localhost",
		"http://[::1]:8080":              "http://[::1]:8080",
		"http://[::1]":                   "http://[::1]",
		"http://[::ffff:127.0.0.1]:8080": "http://127.0.0.1:8080",
	} {
		site := goodSite()
		site.Endpoint = endpoint
		target, err := f.Admit(site)
		if err != nil || target.Origin() != origin {
			t.Fatalf("%s: %q %v", endpoint, target.Origin(), err)
		}
		if err := target.CheckAddr(netip.MustParseAddr("127.0.0.1")); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
		// A hosts file that says otherwise must not send plain HTTP abroad.
		for _, elsewhere := range []string{"20.1.2.3", "10.0.0.1", "169.254.169.254", "0.0.0.0"} {
			if target.CheckAddr(netip.MustParseAddr(elsewhere)) == nil {
				t.Errorf("%s may be reached at %s", endpoint, elsewhere)
			}
		}
	}
	for _, endpoint := range []string{"http://swc.openai.azure.com", "http://10.0.0.1", "https://2130706433", "http://127.1", "http://[::1%25lo]", "http://[fe80::1]"} {
		site := goodSite()
		site.Endpoint = endpoint
		site.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		if _, err := f.Admit(site); err == nil {
			t.Errorf("%s admitted", endpoint)
		}
	}
}

func TestNewFenceRefusesWhatSurroundsNothing(t *testing.T) {
	for name, r := range map[string]Residency{
		"no boundary":         {Countries: []Country{"SE"}},
		"no countries":        {Boundary: "eu"},
		"a malformed country": {Boundary: "eu", Countries: []Country{"SE", "Sweden"}},
		"small letters":       {Boundary: "eu", Countries: []Country{"se"}},
		"unknown zone":        {Boundary: "eu", Countries: []Country{"SE"}, DataZones: map[string][]Country{"Nordics": {"SE"}}},
		"unknown reach":       {Boundary: "eu", Countries: []Country{"SE"}, RegionalProcessing: "country"},
		"unknown processing":  {Boundary: "eu", Countries: []Country{"SE"}, Processing: "anywhere"},
		"everything at once":  {Processing: "anywhere", Countries: []Country{"*"}},
	} {
		if f, err := NewFence(r); err == nil || f != nil {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

// What surrounds the fence after NewFence must not reach into it.
func TestFenceSharesNoMemoryWithItsMaker(t *testing.T) {
	r := Residency{Boundary: "eu", Countries: []Country{"SE"}, DataZones: map[string][]Country{"EU": {"SE", "FR"}}}
	f, err := NewFence(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Countries[0] = "US"
	r.DataZones["EU"][1] = "SE"
	r.DataZones["US"] = nil
	f.Countries()[0] = "US"
	site := goodSite()
	site.SKU = DataZoneStandard
	if _, err := f.Admit(site); err == nil {
		t.Error("the zone was narrowed from outside")
	}
	if f.Contains("US") || !f.Contains("SE") || !slices.Equal(f.Countries(), []Country{"SE"}) {
		t.Error("the countries were changed from outside")
	}
	addresses := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
	site = goodSite()
	site.Addresses = addresses
	target, err := f.Admit(site)
	if err != nil {
		t.Fatal(err)
	}
	addresses[0] = netip.MustParsePrefix("20.0.0.0/8")
	if target.CheckAddr(netip.MustParseAddr("20.1.1.1")) == nil {
		t.Error("the addresses were changed from outside")
	}
}

// A property over everything that a policy can claim: what is admitted lies
// inside, by a judgement written without the fence.
func TestNothingOutsideIsAdmitted(t *testing.T) {
	var ids []RegionID
	country := map[RegionID]Country{"lab": "FR"}
	for r := range Regions() {
		ids = append(ids, r.ID)
		country[r.ID] = r.Country
	}
	ids = append(ids, "lab", "")
	skus := []SKU{"", Standard, ProvisionedManaged, DataZoneStandard, DataZoneProvisionedManaged, DataZoneBatch, GlobalStandard, GlobalProvisionedManaged, GlobalBatch, DeveloperTier, "Turbo"}
	codes := []Country{"SE", "NL", "FR", "DE", "IT", "NO", "PL", "ES", "CH", "US", "GB", "IE", "HK", "SG"}
	rapid.Check(t, func(t *rapid.T) {
		inside := rapid.SliceOfN(rapid.SampledFrom(codes), 1, 12).Draw(t, "countries")
		f, err := NewFence(Residency{Boundary: "b", Countries: inside})
		if err != nil {
			t.Fatal(err)
		}
		s := Site{
			Region: rapid.SampledFrom(ids).Draw(t, "region"), SKU: rapid.SampledFrom(skus).Draw(t, "sku"),
			Country:  rapid.SampledFrom([]Country{"", "SE", "FR", "US"}).Draw(t, "country"),
			Endpoint: "https://a.example", Deployment: "d",
		}
		target, err := f.Admit(s)
		if err != nil {
			return
		}
		where := country[s.Region]
		if s.Region == "lab" {
			where = s.Country
		}
		need := []Country{where}
		if s.SKU == Standard || s.SKU == ProvisionedManaged {
			switch s.Region {
			case "westeurope", "northeurope":
				need = append(need, "NL", "IE")
			case "eastasia", "southeastasia":
				need = append(need, "HK", "SG")
			}
		}
		if strings.HasPrefix(string(s.SKU), "DataZone") {
			need = append(need, map[bool][]Country{true: {"US"}, false: {"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"}}[where == "US"]...)
		}
		for _, c := range need {
			if !slices.Contains(inside, c) {
				t.Fatalf("%+v admitted into %v, but it may process in %s", s, inside, c)
			}
		}
		if strings.HasPrefix(string(s.SKU), "Global") || s.SKU == DeveloperTier || s.SKU == "Turbo" || target.Country() != where {
			t.Fatalf("%+v admitted", s)
		}
	})
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"https://swc.openai.azure.com", "https://127.0.0.1", "https://[::1]:443/", "https://a@b", "https://0x7f.1", "http://localhost:1", "https://a.b:99999"} {
		f.Add(s)
	}
	fence := testFence(f, nil)
	f.Fuzz(func(t *testing.T, endpoint string) {
		site := goodSite()
		site.Endpoint = endpoint
		target, err := fence.Admit(site)
		if err != nil {
			return
		}
		if !target.TLS() || isIPLiteral(target.Host()) || isLoopbackHost(target.Host()) || target.Host() != strings.ToLower(target.Host()) {
			t.Errorf("%q admitted as %q", endpoint, target.HostPort())
		}
		site.Endpoint = target.Origin()
		again, err := fence.Admit(site)
		if err != nil || again.Origin() != target.Origin() {
			t.Errorf("%q has the origin %q, which is not its own: %q %v", endpoint, target.Origin(), again.Origin(), err)
		}
	})
}
