package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

// sound is a valid document that names every kind of value once or more.
func sound(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/valid/eu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// with is the sound document with one piece changed, which must be there.
func with(t *testing.T, old, changed string) []byte {
	t.Helper()
	text := sound(t)
	if !strings.Contains(text, old) {
		t.Fatalf("the document has no %q", old)
	}
	return []byte(strings.Replace(text, old, changed, 1))
}

// A field that holds another kind of value than it should is one fault at its
// path, and what it should hold is said.
func TestEveryKindOfFieldRefusesEveryOtherKindOfValue(t *testing.T) {
	const (
		list  = "is a list, want"
		block = "is a block of fields, want"
		one   = "is a single value, want"
	)
	for _, c := range []struct{ old, changed, path, says string }{
		{"boundary: eu", "boundary: [eu]", "boundary", list + " text"},
		{"boundary: eu", "boundary: {name: eu}", "boundary", block + " text"},
		{"in-boundary", "[in-boundary]", "residency.processing", list + " text"},
		{"requirePrivateAddresses: true", "requirePrivateAddresses: [true]", "residency.requirePrivateAddresses", list + " true or false"},
		{"requirePrivateAddresses: true", "requirePrivateAddresses: {a: b}", "residency.requirePrivateAddresses", block + " true or false"},
		{"requirePrivateAddresses: true", "requirePrivateAddresses: yes", "residency.requirePrivateAddresses", "neither true nor false"},
		{"requirePrivateAddresses: true", `requirePrivateAddresses: "true"`, "residency.requirePrivateAddresses", "neither true nor false"},
		{"requirePrivateAddresses: true", "requirePrivateAddresses: 1", "residency.requirePrivateAddresses", "neither true nor false"},
		{"requirePrivateAddresses: true", "requirePrivateAddresses:", "residency.requirePrivateAddresses", "has no value"},
		{"[SE, NL, FR, DE, IE]", "SE", "residency.countries", one + " a list"},
		{"[SE, NL, FR, DE, IE]", "{SE: NL}", "residency.countries", block + " a list"},
		{"[SE, NL, FR, DE, IE]", "[SE, [NL]]", "residency.countries[1]", list + " text"},
		{"{EU: [FR, DE, IT, NL, NO, PL, ES, SE, CH]}", "[EU]", "residency.dataZones", "want entries (name: value)"},
		{"{EU: [FR, DE, IT, NL, NO, PL, ES, SE, CH]}", "EU", "residency.dataZones", "want entries (name: value)"},
		{"{EU: [FR, DE, IT, NL, NO, PL, ES, SE, CH]}", "{EU: FR}", "residency.dataZones.EU", one + " a list"},
		{"{EU: [FR, DE, IT, NL, NO, PL, ES, SE, CH]}", "{[EU]: [FR]}", "residency.dataZones", "a key that is not plain text"},
		{"{EU: [FR, DE, IT, NL, NO, PL, ES, SE, CH]}", "{EU: [FR], EU: [DE]}", "residency.dataZones.EU", "is given twice"},
		{"ptu: 100", "ptu: [100]", "backends[0].deployments[0].ptu", list + " a whole number"},
		{"ptu: 100", "ptu: {n: 100}", "backends[0].deployments[0].ptu", block + " a whole number"},
		{"ptu: 100", "ptu: 1.5", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "ptu: 0x64", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "ptu: 0100", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "ptu: 1_00", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", `ptu: "100"`, "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "ptu: 1e2", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "ptu: 9223372036854775808", "backends[0].deployments[0].ptu", "not a whole number"},
		{"ptu: 100", "weight: [2]", "backends[0].deployments[0].weight", list + " a number"},
		{"ptu: 100", "weight: heavy", "backends[0].deployments[0].weight", "not a number"},
		{"ptu: 100", "weight: .inf", "backends[0].deployments[0].weight", "not a number"},
		{"ptu: 100", "weight: .nan", "backends[0].deployments[0].weight", "not a number"},
		{"ptu: 100", `weight: "2"`, "backends[0].deployments[0].weight", "not a number"},
		{"2027-01-01T00:00:00Z", "[2027-01-01]", "clients[0].keys[0].notAfter", list + " a time"},
		{"2027-01-01T00:00:00Z", "{year: 2027}", "clients[0].keys[0].notAfter", block + " a time"},
		{"2027-01-01T00:00:00Z", "tomorrow", "clients[0].keys[0].notAfter", "not a time such as"},
		{"2027-01-01T00:00:00Z", "01.01.2027", "clients[0].keys[0].notAfter", "not a time such as"},
		{"2027-01-01T00:00:00Z", "2027-13-01", "clients[0].keys[0].notAfter", "not a time such as"},
		{"2027-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "clients[0].keys[0].notAfter", "not a time such as"},
		{"2027-01-01T00:00:00Z", "9999-01-01", "clients[0].keys[0].notAfter", "not a time such as"},
		{"connect: 2s", "connect: [2s]", "routes[0].timeouts.connect", list},
		{"connect: 2s", "connect: 2", "routes[0].timeouts.connect", "not a duration"},
		{"connect: 2s", "connect: 2 s", "routes[0].timeouts.connect", "not a duration"},
		{"connect: 2s", "connect: soon", "routes[0].timeouts.connect", "not a duration"},
		{"timeouts: {", "timeouts: [{", "", ""},
		{"credential: {managedIdentity: {}}", "credential: managedIdentity", "backends[0].credential", one + " fields"},
		{"credential: {managedIdentity: {}}", "credential: {managedIdentity: yes}", "backends[0].credential.managedIdentity", one + " fields"},
		{"credential: {managedIdentity: {}}", "credential: [managedIdentity]", "backends[0].credential", "is a list, want fields"},
		{"addresses: [10.20.0.0/24]", "addresses: 10.20.0.0/24", "backends[0].addresses", one + " a list"},
	} {
		faults := faultsOf(t, with(t, c.old, c.changed), Options{})
		if c.path == "" {
			continue // no YAML at all: that it is refused, and nothing panics, is all
		}
		if len(faults) != 1 || faults[0].Path != c.path || !strings.Contains(faults[0].Text, c.says) || faults[0].Line == 0 {
			t.Errorf("%s: %v, want one fault at %s with a line: %q", c.changed, faults, c.path, c.says)
		}
	}
}

// Rules of single values, each broken in one place of a sound document.
func TestEveryRuleIsBrokenAtItsPath(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	manyOf := func(n int, item string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, item, i)
		}
		return b.String()
	}
	for _, c := range []struct{ old, changed, path, says string }{
		{"boundary: eu", "boundary: EU", "boundary", "want small letters, digits and -"},
		{"boundary: eu", "boundary: eu_north", "boundary", "want small letters, digits and -"},
		{"boundary: eu", "boundary: -eu", "boundary", "beginning and ending with"},
		{"boundary: eu", "boundary: " + long(64), "boundary", "is longer than 63 characters"},
		{"name: swc-ptu", "name: " + long(64), "backends[0].name", "is longer than 63 characters"},
		{"name: swc-ptu", "name: swc ptu", "backends[0].name", "want small letters"},
		{"name: swc-ptu", "name: ..", "backends[0].name", "beginning and ending with"},
		{"name: gpt-4o-a,", "name: " + long(65) + ",", "backends[0].deployments[0].name", "is longer than 64 characters"},
		{"name: gpt-4o-a,", "name: gpt/4o,", "backends[0].deployments[0].name", "want letters, digits"},
		{"name: payroll", "name: Payroll", "clients[0].name", "want small letters"},
		{"name: payroll", "name: sk-proj-abcdefGHIJKL0123456", "", "looks like a secret"},
		{"in-boundary", "anywhere", "residency.processing", "want in-boundary or at-rest"},
		{"countries: [SE, NL, FR, DE, IE]", "countries: [SE, NL, FR, DE, IE, SE]", "residency.countries[5]", "the same country as residency.countries[0]"},
		{"countries: [SE, NL, FR, DE, IE]", "countries: [SE, NL, FR, DE, IE, Sweden]", "residency.countries[5]", ""},
		{"fallback: [westeurope]", "fallback: [westeurope, westeurope]", "stamps[0].fallback[1]", "the same region as stamps[0].fallback[0]"},
		{"fallback: [westeurope]", "fallback: [swedencentral]", "stamps[0].fallback[0]", "the stamp's own region"},
		{"fallback: [westeurope]", "fallback: [francecentral]", "stamps[0].fallback[0]", "has no backend"},
		{"- region: swedencentral\n    fallback", "- region: swedencentral\n    country: NO\n    fallback", "stamps[0].country", "the Azure region swedencentral is in SE"},
		{"- region: swedencentral\n    fallback", "- region: swedencentral\n    fallbackOn: rain\n    fallback", "stamps[0].fallbackOn", "rain"},
		{"- region: swedencentral\n    fallback", "- region: swedencentral\n    health: {onlyPassive: perhaps}\n    fallback", "stamps[0].health.onlyPassive", "want warn or fail"},
		{"- region: swedencentral\n    fallback", "- region: swedencentral\n    health: {allThrottled: no}\n    fallback", "stamps[0].health.allThrottled", "want warn or fail"},
		{"kind: azure-openai", "kind: vertex", "backends[0].kind", "vertex"},
		{"scope: https://cognitiveservices.azure.com/.default", "scope: everything", "backends[0].scope", "is not an https URL"},
		{"https://weu-payg.openai.azure.com", "https://swc-ptu.openai.azure.com", "backends[1].endpoint", "backends[0].endpoint"},
		{"sku: ProvisionedManaged, ptu: 100", "sku: ProvisionedManaged, tokensPerMinute: 100", "backends[0].deployments[0].tokensPerMinute", ""},
		{"sku: ProvisionedManaged, ptu: 100", "sku: ProvisionedManaged, ptu: -1", "backends[0].deployments[0].ptu", ""},
		{"sku: ProvisionedManaged, ptu: 100", "sku: ProvisionedManaged, weight: -1", "backends[0].deployments[0].weight", ""},
		{"connect: 2s", "connect: -2s", "routes[0].timeouts.connect", "-2s"},
		{"connect: 2s", "connect: 1000h", "routes[0].timeouts.connect", ""},
		{"sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "sha256: \"\"", "clients[0].keys[0].sha256", "is missing: write the SHA-256"},
		{"sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "sha256: 2c26b46b", "clients[0].keys[0].sha256", "is not 64 hex digits"},
		{"tenant: 11111111-1111-1111-1111-111111111111", "tenant: 11111111-1111-1111-1111-11111111111g", "clients[0].entra[0].tenant", ""},
		{"tenant: 11111111-1111-1111-1111-111111111111", "tenant: 111111111-111-1111-1111-111111111111", "clients[0].entra[0].tenant", ""},
		{"tenant: 11111111-1111-1111-1111-111111111111, ", "", "clients[0].entra[0].tenant", "is missing: want a GUID"},
		{"routes: [gpt-4o]", "routes: [gpt-4o, gpt-4o]", "clients[0].routes[1]", ""},
		{"routes: [gpt-4o]", "routes: [gpt-5]", "clients[0].routes[0]", "gpt-5"},
		{"boundary: eu", "boundary: eu\notherBoundaries: {eu: https://eu.example}", "otherBoundaries.eu", "is this boundary itself"},
		{"boundary: eu", "boundary: eu\notherBoundaries: {us: http://us.example}", "otherBoundaries.us", "want https"},
		{"boundary: eu", "boundary: eu\notherBoundaries: {us: https://us.example/path}", "otherBoundaries.us", "without path"},
		{"boundary: eu", "boundary: eu\notherBoundaries: {US: https://us.example}", "otherBoundaries.US", "want small letters"},
		{"boundary: eu", "boundary: eu\notherBoundaries: {" + manyOf(2000, "b%d: https://a.example, ") + "}", "otherBoundaries", "split the boundary"},
		{"boundary: eu", "boundary: eu\nexternalReferences: {hosts: [" + manyOf(2000, "h%d.example, ") + "]}", "externalReferences.hosts", "split the boundary"},
		{"boundary: eu", "boundary: eu\nexternalReferences: {hosts: [a.example, a.example]}", "externalReferences.hosts[1]", "the same host as"},
		{"boundary: eu", "boundary: eu\nexternalReferences: {hosts: [https://a.example]}", "externalReferences.hosts[0]", "without scheme"},
		{"boundary: eu", "boundary: eu\nexternalReferences: perhaps", "externalReferences", "want refuse, allow or"},
		{"boundary: eu", "boundary: eu\nonModelMismatch: shout", "onModelMismatch", "shout"},
		{"countries: [SE, NL, FR, DE, IE]", "countries: [" + manyOf(300, "A%d, ") + "]", "residency.countries", "split the boundary"},
		{"fallback: [westeurope]", "fallback: [" + manyOf(300, "r%d, ") + "]", "stamps[0].fallback", "split the boundary"},
		{"    addresses: [10.20.0.0/24]", "    addresses: [" + manyOf(3000, "10.%d.0.0/24, ") + "]", "backends[0].addresses", "split the boundary"},
		{"    entra: [", "    entra: [" + manyOf(2000, "{tenant: 33333333-1111-1111-1111-111111111111, application: 22222222-2222-2222-2222-%012d}, "), "clients[0].entra", "split the boundary"},
	} {
		t.Run(fmt.Sprintf("%.60s", c.changed), func(t *testing.T) {
			faults := faultsOf(t, with(t, c.old, c.changed), Options{})
			for _, f := range faults {
				if (f.Path == c.path || c.path == "") && strings.Contains(f.Text, c.says) {
					return
				}
			}
			t.Errorf("%.300q, want one at %s: %q", render(faults), c.path, c.says)
		})
	}
}

// What is at the edge of a rule is still allowed.
func TestWhatIsAtTheEdgeOfARuleIsAllowed(t *testing.T) {
	a63 := strings.Repeat("a", 63)
	for old, changed := range map[string]string{
		"boundary: eu":         "boundary: " + a63,
		"name: swc-ptu":        "name: s.w_c-" + strings.Repeat("p", 57),
		"name: payroll":        "name: 0",
		"ptu: 100":             "weight: 0.5",
		"connect: 2s":          "connect: 2000ms",
		"2027-01-01T00:00:00Z": "2027-01-01",
		"sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae": "sha256: 2C26B46B68FFC68FF99B453C1D30413413422D706483BFA0F98A5E886266E7AE", // case does not matter
		"11111111-1111-1111-1111-111111111111":                                     "ABCDEFAB-CDEF-1111-1111-111111111111",
		"boundary: eu\n":                                                           "boundary: eu\notherBoundaries: {us: https://us.example, ch: \"https://ch.example:8443/\"}\n",
		"requirePrivateAddresses: true":                                            "requirePrivateAddresses: false",
		"countries: [SE, NL, FR, DE, IE]":                                          "countries: [NO, SE, NL, FR, DE, IE]", // NO is Norway, and no boolean
		"fallback: [swedencentral]":                                                "fallback: []",
		"\nroutes:":                                                                "\nexternalReferences: {hosts: [a.example, xn--bcher-kva.example]}\nroutes:",
		"# The document of the design, as its o":                                   "# ÅÄÖ 漢字 \U0001F600, as its o",
	} {
		doc, err := Decode(with(t, old, changed))
		if err != nil {
			t.Errorf("%s: %v", changed, err)
			continue
		}
		if _, err := Compile(doc, Options{}); err != nil {
			t.Errorf("%s: %v", changed, err)
		}
	}
}

// Laws of names: whatever form passes is safe in a path, a header and a key, and
// its own repetition in a message never is more than one short line.
func TestNamesThatPassAreSafeEverywhere(t *testing.T) {
	forms := map[string]form{"name": nameForm(), "boundary": boundaryForm(), "deployment": deploymentForm(), "zone": zoneForm()}
	rapid.Check(t, func(t *rapid.T) {
		what := rapid.SampledFrom([]string{"name", "boundary", "deployment", "zone"}).Draw(t, "form")
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9._/ -]{0,70}`), rapid.StringMatching(`[a-z0-9-]{1,20}`)).Draw(t, "name")
		complaint := forms[what].complaint(name)
		if complaint == "" {
			if strings.ContainsAny(name, "/\\ \t\r\n\x00%?#:,;'\"") || strings.Trim(name, ".") == "" || len(name) > forms[what].max {
				t.Fatalf("%s %q passes", what, name)
			}
			return
		}
		if strings.ContainsAny(complaint, "\r\n\t\x1b") || len(complaint) > 500 {
			t.Fatalf("%s %q: %q", what, name, complaint)
		}
	})
}

// Whatever is done to a sound document, Decode and Validate end with an answer
// that names a place, and never with a panic.
func TestADamagedDocumentIsAnsweredAndNeverPanics(t *testing.T) {
	text := sound(t)
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		to := rapid.IntRange(from, min(from+40, len(text))).Draw(t, "to")
		put := rapid.SampledFrom([]string{"", "\n", ": ", "[", "{", "- ", "&a ", "*a", "!!int ", "\t", "\x00", "null", "~", "'", "|\n", "<<: ", "? ", "%", "---\n", "é"}).Draw(t, "put")
		doc, err := Decode([]byte(text[:from] + put + text[to:]))
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		faults, _ := Validate(doc, Options{})
		_, err = Compile(doc, Options{})
		if (len(faults) == 0) != (err == nil) {
			t.Fatalf("Validate says %v, Compile %v", faults, err)
		}
		for _, f := range faults {
			if f.Path == "" || f.Text == "" {
				t.Fatalf("fault %+v names no place", f)
			}
		}
	})
}

// A gateway's own residency is a ceiling: a policy within it compiles, and
// whatever goes beyond is refused, whoever signed it.
func TestThePolicyStaysWithinTheGatewaysOwnResidency(t *testing.T) {
	for name, c := range map[string]struct {
		local geo.Residency
		path  string // "": it compiles
	}{
		"the same": {*gatewayResidency(), ""},
		"wider":    {geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "FR", "DE", "IE", "PL"}, DataZones: map[string][]geo.Country{"EU": {"SE", "NL", "FR", "DE", "IT"}}}, ""},
		"another":  {geo.Residency{Boundary: "us", Countries: []geo.Country{"SE", "NL", "FR", "DE", "IE"}}, "boundary"},
		"narrower": {geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL"}}, "residency.countries"},
	} {
		doc := mustDecode(t, []byte(sound(t)))
		_, err := Compile(doc, Options{Local: &c.local})
		if c.path == "" && err != nil || c.path != "" && (err == nil || !strings.Contains(err.Error(), c.path)) {
			t.Errorf("%s: %v, want %q", name, err, c.path)
		}
	}
}
