package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// How many of a kind a document may have. The products of these bound what
// Compile builds, whatever the document says.
const (
	maxCountries      = 250
	maxZones          = 32
	maxStamps         = 64
	maxFallback       = 32
	maxBackends       = 2000
	maxAddresses      = 64
	maxDeployments    = 200    // of one backend
	maxAllDeployments = 20_000 // of the boundary
	maxRoutes         = 2000
	maxTiers          = 64
	maxTierTargets    = 500
	maxClients        = 20_000
	maxKeys           = 16
	maxEntra          = 64
	maxReferenceHosts = 1000
	maxBoundaries     = 250
)

// A check is one validation of a document. It gathers what Compile needs on its
// way, so that nothing is decided twice.
type check struct {
	found, warnings strictyaml.Findings

	doc *Document
	opt Options

	fence *geo.Fence // a stand-in if the residency section is too broken to make one
	local *geo.Fence // nil without Options.Local

	stampAt   map[geo.RegionID]int         // index in the document
	backendIn map[geo.RegionID]bool        // regions that have a backend
	siteOf    map[geo.RegionID]geo.Country // of on-premises sites
	targets   []*Target                    // admitted, in document order
	byName    map[string]*Target           // "backend/deployment"
	named     map[string]bool              // the same names, admitted or not
	byModel   map[modelVersion][]*Target   // that serve online calls
	routes    []*CompiledRoute             // in document order
	used      map[*Target]bool             // in a tier of some route
	models    map[string]bool              // of all deployments, in small letters; nil until asked for
}

type modelVersion struct{ model, version string }

func newCheck(doc *Document, opt Options) *check {
	return &check{
		doc: doc, opt: opt,
		stampAt:   make(map[geo.RegionID]int),
		backendIn: make(map[geo.RegionID]bool),
		siteOf:    make(map[geo.RegionID]geo.Country),
		byName:    make(map[string]*Target),
		named:     make(map[string]bool),
		byModel:   make(map[modelVersion][]*Target),
		used:      make(map[*Target]bool),
	}
}

func (c *check) run() {
	if c.doc == nil {
		c.fault("", "there is no document")
		return
	}
	c.residency()
	c.localResidency()
	c.backends()
	c.stamps()
	c.allRoutes()
	c.clients()
	c.onModelMismatch()
	c.externalReferences()
	c.otherBoundaries()
	c.knowOthers()
	c.unwise()
	inDocumentOrder(c.found.Faults)
}

// inDocumentOrder sorts faults by the section that they are in. Backends are
// checked before stamps, which refer to them, but are written after them.
func inDocumentOrder(faults []Fault) {
	section := func(f Fault) int {
		for i, name := range []string{
			"format", "boundary", "residency", "stamps", "backends", "routes", "clients",
			"onModelMismatch", "debugHeaders", "externalReferences", "otherBoundaries",
		} {
			if strings.HasPrefix(f.Path, name) {
				return i
			}
		}
		return len(f.Path) + 10 // the document as a whole: such as that the report is cut
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return section(a) - section(b) })
}

// at returns the path of an item of a list.
func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// count refuses a list that is too long, before anything walks it.
func (c *check) count(path string, n, most int) bool {
	if n > most {
		c.fault(path, "has %d entries, more than %d: split the boundary", n, most)
	}
	return n <= most
}

func (c *check) name(path, name string, f form) bool {
	text := f.complaint(name)
	if text != "" {
		c.fault(path, "%s", text)
	}
	return text == ""
}

// unique notes the first place of each value and refuses the next.
type unique map[string]string

func (u unique) add(c *check, path, key, what string) {
	if key == "" {
		return
	}
	if first, again := u[key]; again {
		c.fault(path, "is the same %s as %s: keep one", what, first)
		return
	}
	u[key] = path
}

// residency checks the section and builds the fence of what is sound in it, so
// that one slip there does not hide the faults behind it. Nothing is compiled
// from that fence unless there was no fault at all.
func (c *check) residency() {
	c.name("boundary", string(c.doc.Boundary), boundaryForm())
	r := c.doc.Residency
	sound := geo.Residency{
		Boundary: c.doc.Boundary, DataZones: make(map[string][]geo.Country),
		RequirePrivateAddresses: r.RequirePrivateAddresses, AllowLoopback: c.opt.AllowLoopback,
		RegionalProcessing: c.regionalProcessing(r.RegionalProcessing),
	}
	if len(r.Countries) == 0 {
		c.fault("residency.countries", "is empty: name the countries where data may be processed, such as [SE, NL]")
	}
	sound.Countries = c.countries("residency.countries", r.Countries)
	if c.count("residency.dataZones", len(r.DataZones), maxZones) {
		for _, zone := range slices.Sorted(maps.Keys(r.DataZones)) {
			path := "residency.dataZones." + printable(zone)
			if !c.name(path, zone, zoneForm()) || !c.zone(path, zone) {
				continue
			}
			if len(r.DataZones[zone]) == 0 {
				c.fault(path, "is empty: list the countries that the zone may process in, or leave it out")
			}
			sound.DataZones[zone] = c.countries(path, r.DataZones[zone])
		}
	}
	switch r.Processing {
	case "", geo.InBoundary, geo.AtRest:
		sound.Processing = r.Processing
	default:
		c.fault("residency.processing", "%s: want %s or %s", quote(r.Processing), geo.InBoundary, geo.AtRest)
	}
	fence, err := geo.NewFence(sound)
	if err != nil {
		fence = c.standIn(err)
	}
	c.fence = fence
}

// standIn returns a fence around every country, so that endpoints and addresses
// are checked even where the residency section says nothing usable. A document
// that needs it has a fault, and so never compiles.
func (c *check) standIn(why error) *geo.Fence {
	if len(c.found.Faults) == 0 {
		c.fault("residency", "%v", why)
	}
	everywhere := geo.Residency{
		Boundary: "unknown", Processing: geo.AtRest,
		RequirePrivateAddresses: c.doc.Residency.RequirePrivateAddresses, AllowLoopback: c.opt.AllowLoopback,
	}
	for r := range geo.Regions() {
		everywhere.Countries = append(everywhere.Countries, r.Country)
	}
	for _, b := range c.doc.Backends {
		if b.Country.Valid() {
			everywhere.Countries = append(everywhere.Countries, b.Country)
		}
	}
	for _, s := range c.doc.Stamps {
		if s.Country.Valid() {
			everywhere.Countries = append(everywhere.Countries, s.Country)
		}
	}
	fence, err := geo.NewFence(everywhere)
	if err != nil {
		panic("policy: the fence around every country is not sound: " + err.Error())
	}
	return fence
}

func (c *check) countries(path string, list []geo.Country) []geo.Country {
	if !c.count(path, len(list), maxCountries) {
		return nil
	}
	var sound []geo.Country
	seen := make(unique)
	for i, country := range list {
		if why := countryFault(country); why != "" {
			c.fault(at(path, i), "%s", why)
			continue
		}
		seen.add(c, at(path, i), string(country), "country")
		sound = append(sound, country)
	}
	return sound
}

// countryFault returns what is wrong with a code, "" if nothing.
func countryFault(country geo.Country) string {
	switch country {
	case "EU":
		return "EU is no country: list the countries"
	case "UK":
		return "UK is not the code of the United Kingdom: write GB"
	case "EL":
		return "EL is not the code of Greece: write GR"
	}
	if !country.Valid() {
		return quote(country) + ": want an ISO 3166-1 code of two capitals, such as SE"
	}
	return ""
}

// list joins names for a message, at most eight of them.
func list[T ~string](names []T) string {
	var b strings.Builder
	for i, n := range names {
		if i == 8 && len(names) > 9 {
			b.WriteString(", … (" + strconv.Itoa(len(names)) + " in all)")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strings.Trim(quote(n), `"`))
	}
	return b.String()
}

func (c *check) stamps() {
	stamps := c.doc.Stamps
	if len(stamps) == 0 {
		c.fault("stamps", "is empty: name at least one region that has gateways")
	}
	if !c.count("stamps", len(stamps), maxStamps) {
		return
	}
	regions := make(unique)
	for i, s := range stamps {
		path := at("stamps", i)
		regions.add(c, path+".region", string(s.Region), "region")
		if _, again := c.stampAt[s.Region]; !again {
			c.stampAt[s.Region] = i
		}
		c.place(path, s.Region, s.Country)
		c.fallback(path, s)
		switch s.FallbackOn {
		case "", FallbackOnAny, FallbackOnFailure, FallbackOnThrottling:
		default:
			c.fault(path+".fallbackOn", "%s: want any, failure or throttling", quote(s.FallbackOn))
		}
		c.severity(path+".health.onlyPassive", s.Health.OnlyPassive)
		c.severity(path+".health.allThrottled", s.Health.AllThrottled)
	}
}

func (c *check) severity(path string, s Severity) {
	if s != "" && s != Warn && s != Fail {
		c.fault(path, "%s: want warn or fail", quote(s))
	}
}

// place checks where a stamp stands: in a region of Azure, or in a site whose
// country is given.
func (c *check) place(path string, region geo.RegionID, country geo.Country) {
	known, azure := geo.Lookup(region)
	switch {
	case azure && country != "" && country != known.Country:
		c.fault(path+".country", "%s, but the Azure region %s is in %s: leave country out", quote(country), region, known.Country)
	case azure:
		country = known.Country
	case !c.name(path+".region", string(region), nameForm()):
		return
	case country == "":
		if country = c.siteOf[region]; country == "" {
			c.fault(path+".region", "%s is not a region of Azure: correct the name, or give the country of an on-premises site", quote(region))
			return
		}
	case countryFault(country) != "":
		c.fault(path+".country", "%s", countryFault(country))
		return
	}
	if !azure {
		c.site(path, region, country)
	}
	if !c.fence.Contains(country) {
		c.fault(path+".region", "%s is in %s, which is not among the countries of boundary %s (%s): remove the stamp or add the country",
			quote(region), country, quote(c.doc.Boundary), list(c.fence.Countries()))
	}
}

// site refuses an on-premises site that is said to be in two countries.
func (c *check) site(path string, region geo.RegionID, country geo.Country) {
	if said, ok := c.siteOf[region]; ok && said != country {
		c.fault(path+".country", "%s, but site %s is in %s elsewhere in this document: a site is in one country", quote(country), quote(region), said)
		return
	}
	c.siteOf[region] = country
}

func (c *check) fallback(path string, s Stamp) {
	if !c.count(path+".fallback", len(s.Fallback), maxFallback) {
		return
	}
	seen := make(unique)
	for i, region := range s.Fallback {
		p := at(path+".fallback", i)
		seen.add(c, p, string(region), "region")
		country := c.siteOf[region]
		if known, azure := geo.Lookup(region); azure {
			country = known.Country
		}
		switch {
		case region == s.Region:
			c.fault(p, "%s is the stamp's own region: remove it", quote(region))
		case country != "" && !c.fence.Contains(country):
			c.fault(p, "%s is in %s, which is not among the countries of boundary %s: remove it", quote(region), country, quote(c.doc.Boundary))
		case !c.backendIn[region]:
			c.fault(p, "%s has no backend: correct the name, add a backend there, or remove it", quote(region))
		}
	}
}
