package policy

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/geo"
)

func mustCompile(t testing.TB, doc *Document, opt Options) *Snapshot {
	t.Helper()
	s, err := Compile(doc, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tiersText writes the tiers of a route for one stamp as "+a,b" (own region)
// and "-c" (passive), best first.
func tiersText(r *CompiledRoute, region geo.RegionID) string {
	var tiers []string
	for _, tier := range r.Tiers(region) {
		mark := "+"
		if tier.Passive {
			mark = "-"
		}
		var names []string
		for _, t := range tier.Targets {
			names = append(names, t.Backend+"/"+t.Deployment)
		}
		tiers = append(tiers, mark+strings.Join(names, ","))
	}
	return strings.Join(tiers, " ")
}

// threeRegions has reserved and standard capacity in three regions, two of them
// with stamps.
func threeRegions() *Document {
	backend := func(name string, region geo.RegionID) Backend {
		return Backend{
			Name: name, Region: region, Endpoint: "https://" + name + ".openai.azure.com", Credential: Credential{ManagedIdentity: &ManagedIdentity{}},
			Deployments: []Deployment{
				{Name: "p", Model: "m", Version: "1", SKU: geo.ProvisionedManaged, PTU: 100},
				{Name: "s", Model: "m", Version: "1", SKU: geo.Standard, TokensPerMinute: 1000},
				{Name: "old", Model: "m", Version: "0", SKU: geo.Standard},
			},
		}
	}
	return &Document{
		Boundary: "eu", Residency: Residency{Countries: []geo.Country{"SE", "NL", "FR", "IE"}},
		Stamps: []Stamp{
			{Region: "swedencentral", Fallback: []geo.RegionID{"francecentral", "westeurope"}},
			{Region: "westeurope"},
		},
		Backends: []Backend{backend("swc", "swedencentral"), backend("weu", "westeurope"), backend("frc", "francecentral")},
		Routes:   []Route{{Name: "m", Model: "m", Version: "1"}, {Name: "alias", Model: "m", Version: "1"}},
	}
}

// "Same region provisioned; same region standard; then each fallback region,
// standard before provisioned, so that a passive region's reserved capacity
// stays for its own clients", as the design says.
func TestTiersFollowFromRegionAndSKU(t *testing.T) {
	s := mustCompile(t, threeRegions(), Options{})
	r, _ := s.Route("m")
	for region, want := range map[geo.RegionID]string{
		"swedencentral": "+swc/p +swc/s -frc/s -frc/p -weu/s -weu/p",
		"westeurope":    "+weu/p +weu/s",
		"francecentral": "", // no stamp there: nobody asks
		"atlantis":      "",
	} {
		if got := tiersText(r, region); got != want {
			t.Errorf("%s: %q, want %q", region, got, want)
		}
	}
}

func TestTiersWrittenByHandReplaceThem(t *testing.T) {
	doc := threeRegions()
	doc.Routes[0].Tiers = []Tier{
		{Region: "swedencentral", Targets: []string{"swc/s", "swc/p"}},
		{Targets: []string{"weu/p", "frc/s"}},
		{Region: "westeurope", Targets: []string{"swc/p"}},
	}
	s := mustCompile(t, doc, Options{})
	r, _ := s.Route("m")
	for region, want := range map[geo.RegionID]string{
		"swedencentral": "+swc/s,swc/p -weu/p,frc/s",
		"westeurope":    "+weu/p,frc/s -swc/p", // a tier with a target of the own region is not passive
	} {
		if got := tiersText(r, region); got != want {
			t.Errorf("%s: %q, want %q", region, got, want)
		}
	}
	other, _ := s.Route("alias")
	if got := tiersText(other, "westeurope"); got != "+weu/p +weu/s" {
		t.Errorf("the other route changed too: %q", got)
	}
}

// Batch deployments are known to the snapshot but serve no online call.
func TestBatchDeploymentsAreInNoTier(t *testing.T) {
	doc := threeRegions()
	doc.Residency.Countries = []geo.Country{"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH", "IE"}
	doc.Backends[0].Deployments = append(doc.Backends[0].Deployments, Deployment{Name: "b", Model: "m", Version: "1", SKU: geo.DataZoneBatch})
	s := mustCompile(t, doc, Options{})
	r, _ := s.Route("m")
	if got := tiersText(r, "swedencentral"); strings.Contains(got, "swc/b") {
		t.Error(got)
	}
	if _, ok := s.Target(Key{"https://swc.openai.azure.com", "b"}); !ok {
		t.Error("the batch deployment is unknown")
	}
	doc.Routes[0].Tiers = []Tier{{Targets: []string{"swc/b"}}}
	if _, err := Compile(doc, Options{}); err == nil || !strings.Contains(err.Error(), "serves no online call") {
		t.Errorf("named by hand: %v", err)
	}
}

// Health state is kept by origin and deployment: all routes meet the same Target.
func TestRoutesShareTargets(t *testing.T) {
	s := mustCompile(t, threeRegions(), Options{})
	a, _ := s.Route("m")
	b, _ := s.Route("alias")
	for i, tier := range a.Tiers("swedencentral") {
		for j, target := range tier.Targets {
			if b.Tiers("swedencentral")[i].Targets[j] != target {
				t.Errorf("%v is there twice", target.Key)
			}
			if got, ok := s.Target(target.Key); !ok || got != target {
				t.Errorf("%v is not found by its key", target.Key)
			}
		}
	}
	if n := len(slices.Collect(s.Targets())); n != 9 {
		t.Errorf("%d targets, want each of 9 once", n)
	}
}

func TestWeightsComeFromCapacityAmongEquals(t *testing.T) {
	doc := threeRegions()
	doc.Backends[0].Deployments[0].PTU = 300    // of 300, 100 and undeclared
	doc.Backends[2].Deployments[0].PTU = 0      // counts as an average one
	doc.Backends[0].Deployments[1].Weight = 2.5 // as declared, whatever the quota
	doc.Backends[1].Deployments[1].TokensPerMinute = 3000
	doc.Backends[2].Deployments[1].TokensPerMinute = 1000
	s := mustCompile(t, doc, Options{})
	want := map[string]float64{
		"swc/p": 1.5, "weu/p": 0.5, "frc/p": 1,
		"swc/s": 2.5, "weu/s": 1.5, "frc/s": 0.5,
		"swc/old": 1, "weu/old": 1, "frc/old": 1,
	}
	for target := range s.Targets() {
		if name := target.Backend + "/" + target.Deployment; target.Weight != want[name] {
			t.Errorf("%s has weight %v, want %v", name, target.Weight, want[name])
		}
	}
}

func TestDefaults(t *testing.T) {
	doc := threeRegions()
	doc.Routes[1].Timeouts.Total = Duration(5 * time.Second)
	s := mustCompile(t, doc, Options{Serial: 7})
	r, _ := s.Route("m")
	want := &CompiledRoute{
		Name: "m", Model: "m", Version: "1", Required: true, Connect: 2 * time.Second, FirstByte: 30 * time.Second,
		Answer: 10 * time.Minute, Idle: time.Minute, Total: 10 * time.Minute,
		MaxAttempts: 3, RepeatAmbiguous: true, ProbeLongGates: true, tiers: r.tiers,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v\nwant %+v", r, want)
	}
	if r, _ := s.Route("alias"); r.FirstByte != 5*time.Second || r.Answer != 5*time.Second || r.Connect != 2*time.Second {
		t.Errorf("a default exceeds the total: %+v", r)
	}
	stamp, _ := s.Stamp("swedencentral")
	if stamp.FallbackOn != FallbackOnAny || stamp.Health != (StampHealth{Warn, Warn}) {
		t.Errorf("%+v", stamp)
	}
	target, _ := s.Target(Key{"https://swc.openai.azure.com", "p"})
	if target.Kind != AzureOpenAI || target.Scope != defaultScope || !target.Provisioned || target.Credential.ManagedIdentity == nil {
		t.Errorf("%+v", target)
	}
	if s.Serial() != 7 || s.Boundary() != "eu" {
		t.Errorf("%d %s %s", s.Serial(), s.Boundary(), s.Digest())
	}
}

func TestOrderOfTheDocumentIsKept(t *testing.T) {
	doc := threeRegions()
	doc.Clients = []Client{{Name: "z", Routes: []string{"m"}}, {Name: "a"}}
	doc.Routes[1].Required = new(false)
	s := mustCompile(t, doc, Options{})
	var got []string
	for r := range s.Routes() {
		got = append(got, r.Name)
	}
	for r := range s.RequiredRoutes() {
		got = append(got, r.Name)
	}
	for p := range s.Principals() {
		got = append(got, p.Name)
	}
	if want := []string{"m", "alias", "m", "z", "a"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for range s.RequiredRoutes() {
		break
	}
	if _, ok := s.Route("nothing"); ok {
		t.Error("a route that is not there")
	}
}

func TestClientsAreFoundByWhatTheyPresent(t *testing.T) {
	key := []byte("sg_eu_key")
	sum := sha256.Sum256(key)
	forever := sha256.Sum256([]byte("another"))
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	doc := threeRegions()
	doc.Clients = []Client{{
		Name: "payroll", Routes: []string{"m"},
		Keys:  []ClientKey{{SHA256: strings.ToUpper(fmt.Sprintf("%x", sum)), NotAfter: end}, {SHA256: fmt.Sprintf("%x", forever)}},
		Entra: []EntraClient{{Tenant: "AAAAAAAA-1111-1111-1111-111111111111", Application: "22222222-2222-2222-2222-222222222222"}},
	}}
	s := mustCompile(t, doc, Options{Now: end.Add(time.Hour)})
	for name, c := range map[string]struct {
		sum [32]byte
		now time.Time
		ok  bool
	}{
		"one nanosecond before its end": {sum, end.Add(-time.Nanosecond), true},
		"at its end":                    {sum, end, false},
		"a key without end":             {forever, end.AddDate(50, 0, 0), true},
		"an unknown key":                {sha256.Sum256([]byte("x")), end, false},
		"the hash presented as the key": {sha256.Sum256(fmt.Appendf(nil, "%x", sum)), end, false},
		"nothing":                       {[32]byte{}, end, false},
	} {
		if p, ok := s.ClientByKey(c.sum, c.now); ok != c.ok || (ok && p.Name != "payroll") || (!ok && p != nil) {
			t.Errorf("%s: %v, %v", name, p, ok)
		}
	}
	p, ok := s.ClientByEntra("aaaaaaaa-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
	if !ok || !p.May("m") || p.May("alias") || p.May("") {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, ids := range [][2]string{{"", ""}, {"22222222-2222-2222-2222-222222222222", "aaaaaaaa-1111-1111-1111-111111111111"}, {"aaaaaaaa-1111-1111-1111-111111111111", ""}} {
		if _, ok := s.ClientByEntra(ids[0], ids[1]); ok {
			t.Errorf("%v signs in", ids)
		}
	}
}

// A snapshot shares no memory with its document.
func TestSnapshotSurvivesChangesOfTheDocument(t *testing.T) {
	source := readValid(t, "everything.yaml")
	doc, same := mustDecode(t, source), mustDecode(t, source)
	s, untouched := mustCompile(t, doc, Options{}), mustCompile(t, same, Options{})
	scribble(reflect.ValueOf(doc).Elem())
	if reflect.DeepEqual(doc, same) {
		t.Fatal("nothing was changed")
	}
	if !reflect.DeepEqual(s, untouched) {
		t.Error("a change of the document reached the snapshot")
	}
}

// scribble overwrites everything that is reachable from v.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			scribble(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.SetZero()
			return
		}
		for _, field := range v.Fields() {
			scribble(field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if item := v.MapIndex(k); item.Kind() == reflect.Slice { // others are copies
				scribble(item)
			}
			v.SetMapIndex(k, reflect.Zero(v.Type().Elem()))
		}
	case reflect.String:
		v.SetString("scribble")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	default:
		panic(v.Kind())
	}
}

// The same document compiles to the same snapshot, whatever order maps have.
func TestCompileIsDeterministic(t *testing.T) {
	source := readValid(t, "everything.yaml")
	first := mustCompile(t, mustDecode(t, source), Options{})
	faulty, err := os.ReadFile("testdata/invalid/tiers-repeated-target.yaml")
	if err != nil {
		t.Fatal(err)
	}
	said, _ := Validate(mustDecode(t, faulty), Options{})
	for range 20 {
		if !reflect.DeepEqual(first, mustCompile(t, mustDecode(t, source), Options{})) {
			t.Fatal("another snapshot")
		}
		if again, _ := Validate(mustDecode(t, faulty), Options{}); !reflect.DeepEqual(said, again) {
			t.Fatalf("other faults: %v, %v", said, again)
		}
	}
}

// Warnings never stop a policy, and each names its path.
func TestWarnings(t *testing.T) {
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			faults, warnings := Validate(mustDecode(t, source), Options{Now: time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)})
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if updating() {
				if err := os.WriteFile(golden, []byte(render(warnings)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || render(warnings) != string(want) {
				t.Errorf("got:\n%swant:\n%s", render(warnings), want)
			}
		})
	}
}

// A gateway whose own configuration says nothing of a data zone takes it to be
// what it was known to be, not what a policy says it is.
func TestLocalResidencyKnowsTheZonesByDefault(t *testing.T) {
	doc := threeRegions()
	doc.Residency.DataZones = map[string][]geo.Country{"EU": {"SE", "NL", "FR"}}
	doc.Backends[0].Deployments[1].SKU = geo.DataZoneStandard
	mustCompile(t, doc, Options{})
	local := &geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "FR", "IE"}}
	if _, err := Compile(doc, Options{Local: local}); err == nil || !strings.Contains(err.Error(), "backends[0].deployments[1].sku") {
		t.Errorf("a zone shrunk by the policy is believed: %v", err)
	}
	local.DataZones = doc.Residency.DataZones
	mustCompile(t, doc, Options{Local: local})
	local.Countries = nil
	if _, err := Compile(doc, Options{Local: local}); err == nil {
		t.Error("a residency of one's own that is not sound holds nothing back")
	}
}

func TestLoopbackOnlyWithTheOption(t *testing.T) {
	doc := threeRegions()
	doc.Backends[0].Endpoint = "http://127.0.0.1:8080"
	if _, err := Compile(doc, Options{}); err == nil {
		t.Error("compiled")
	}
	local := &geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "FR", "IE"}}
	s := mustCompile(t, doc, Options{AllowLoopback: true, Local: local})
	if _, ok := s.Target(Key{"http://127.0.0.1:8080", "p"}); !ok {
		t.Error("the target is not found by its origin")
	}
}

// Lists are bounded, so that no document makes Compile build without end.
func TestCountsAreBounded(t *testing.T) {
	big := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("n%d", i)
		}
		return list
	}
	doc := &Document{
		Boundary:  "eu",
		Residency: Residency{Countries: make([]geo.Country, maxCountries+1), DataZones: make(map[string][]geo.Country)},
		Stamps:    make([]Stamp, maxStamps+1), Backends: make([]Backend, maxBackends+1), Routes: make([]Route, maxRoutes+1), Clients: make([]Client, maxClients+1),
	}
	for _, z := range big(maxZones + 1) {
		doc.Residency.DataZones[z] = []geo.Country{"SE"}
	}
	inner := threeRegions()
	inner.Stamps[0].Fallback = make([]geo.RegionID, maxFallback+1)
	inner.Backends[0].Addresses = big(maxAddresses + 1)
	inner.Backends[1].Deployments = make([]Deployment, maxDeployments+1)
	inner.Routes[0].Tiers = make([]Tier, maxTiers+1)
	inner.Routes[1].Tiers = []Tier{{Targets: big(maxTierTargets + 1)}}
	inner.Clients = []Client{{Name: "c", Keys: make([]ClientKey, maxKeys+1), Entra: make([]EntraClient, maxEntra+1), Routes: big(maxRoutes + 1)}}
	for d, paths := range map[*Document][]string{
		doc: {"residency.countries: ", "residency.dataZones: ", "stamps: ", "backends: ", "routes: ", "clients: "},
		inner: {
			"stamps[0].fallback: ", "backends[0].addresses: ", "backends[1].deployments: ", "routes[0].tiers: ", "routes[1].tiers[0].targets: ",
			"clients[0].keys: ", "clients[0].entra: ", "clients[0].routes: ",
		},
	} {
		faults, _ := Validate(d, Options{Local: &geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}})
		for _, path := range paths {
			if !strings.Contains(render(faults), path+"has ") {
				t.Errorf("%s is not bounded: %v", path, faults)
			}
		}
	}
	many := threeRegions()
	for i := range 120 {
		b := Backend{Name: fmt.Sprintf("b%d", i), Region: "swedencentral", Endpoint: fmt.Sprintf("https://b%d.example", i), Credential: Credential{APIKeyEnv: "K"}}
		for j := range maxDeployments {
			b.Deployments = append(b.Deployments, Deployment{Name: fmt.Sprintf("d%d", j), Model: "m", Version: "1", SKU: geo.Standard})
		}
		many.Backends = append(many.Backends, b)
	}
	if _, err := Compile(many, Options{}); err == nil || !strings.Contains(err.Error(), "backends[*].deployments: has 24009 entries") {
		t.Errorf("%v", err)
	}
}

// largeDocument has 500 backends in 10 regions, 200 routes and 2,000 clients.
func largeDocument() *Document {
	regions := []geo.RegionID{"swedencentral", "westeurope", "francecentral", "germanywestcentral", "italynorth", "polandcentral", "spaincentral", "norwayeast", "switzerlandnorth", "norwaywest"}
	doc := &Document{Boundary: "eu", Residency: Residency{Countries: []geo.Country{"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH", "IE"}, RequirePrivateAddresses: true}}
	for i, r := range regions {
		doc.Stamps = append(doc.Stamps, Stamp{Region: r, Fallback: []geo.RegionID{regions[(i+1)%10], regions[(i+2)%10]}})
	}
	for i := range 500 {
		b := Backend{
			Name: fmt.Sprintf("backend-%d", i), Region: regions[i%10], Endpoint: fmt.Sprintf("https://backend-%d.openai.azure.com", i),
			Addresses: []string{fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)}, Credential: Credential{ManagedIdentity: &ManagedIdentity{}},
		}
		for j := range 4 {
			d := Deployment{Name: fmt.Sprintf("d-%d", j), Model: fmt.Sprintf("model-%d", (i*4+j)%100), Version: "2024-11-20", SKU: geo.Standard, TokensPerMinute: 1000 * (i + 1)}
			if i/10%2 == 0 {
				d.SKU, d.TokensPerMinute, d.PTU = geo.ProvisionedManaged, 0, 50+i
			}
			b.Deployments = append(b.Deployments, d)
		}
		doc.Backends = append(doc.Backends, b)
	}
	for i := range 200 {
		doc.Routes = append(doc.Routes, Route{Name: fmt.Sprintf("route-%d", i), Model: fmt.Sprintf("model-%d", i%100), Version: "2024-11-20"})
	}
	for i := range 2000 {
		c := Client{Name: fmt.Sprintf("client-%d", i)}
		for j := range 2 {
			c.Keys = append(c.Keys, ClientKey{SHA256: fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%d.%d", i, j))), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)})
		}
		for j := range 10 {
			c.Routes = append(c.Routes, fmt.Sprintf("route-%d", (i*7+j*13)%200))
		}
		doc.Clients = append(doc.Clients, c)
	}
	return doc
}

func TestLargeDocumentCompiles(t *testing.T) {
	doc := largeDocument()
	s := mustCompile(t, mustDecode(t, mustEncode(t, doc)), Options{})
	for r := range s.Routes() {
		for _, st := range s.stamps {
			if r.tiers == nil || len(slices.Collect(s.Targets())) != 2000 {
				t.Fatalf("%s in %s", r.Name, st.Region)
			}
		}
	}
}

// The target is 50 ms, validation included.
func BenchmarkCompile(b *testing.B) {
	doc := largeDocument()
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, doc, Options{})
	}
}

func BenchmarkDecode(b *testing.B) {
	source := mustEncode(b, largeDocument())
	b.SetBytes(int64(len(source)))
	b.ReportAllocs()
	for b.Loop() {
		mustDecode(b, source)
	}
}
