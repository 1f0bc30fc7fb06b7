package geo

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Residency is what an operator says about a boundary: the countries that data
// may be processed in, and what is taken for a data zone.
type Residency struct {
	Boundary   Boundary
	Countries  []Country
	DataZones  map[string][]Country // replaces DefaultDataZones zone by zone
	Processing Processing           // "" means InBoundary
	// RegionalProcessing says how far a regional deployment reaches; "" means
	// InGeography.
	RegionalProcessing RegionalProcessing
	// RequirePrivateAddresses: a backend must declare its address ranges and
	// may be reached nowhere else.
	RequirePrivateAddresses bool
	// AllowLoopback permits http://127.… endpoints: development and tests only.
	AllowLoopback bool
}

// A Fence is the line around a boundary. It never changes after NewFence, so
// any number of goroutines may use it. It is the only maker of a Target.
type Fence struct {
	residency Residency
	inside    map[Country]bool
	zones     map[string][]Country
}

// NewFence builds the fence of a boundary. It refuses an unnamed boundary, an
// empty or malformed list of countries, and an unknown kind of processing.
func NewFence(r Residency) (*Fence, error) {
	var errs []error
	if r.Boundary == "" {
		errs = append(errs, errors.New("boundary is missing"))
	}
	if len(r.Countries) == 0 {
		errs = append(errs, errors.New("residency.countries is empty: name the countries where data may be processed"))
	}
	f := &Fence{inside: make(map[Country]bool), zones: DefaultDataZones()}
	for i, c := range r.Countries {
		if !c.Valid() {
			errs = append(errs, fmt.Errorf("residency.countries[%d] = %q, want an ISO 3166-1 code of two capitals", i, c))
		}
		f.inside[c] = true
	}
	if r.Processing == "" {
		r.Processing = InBoundary
	}
	if r.Processing != InBoundary && r.Processing != AtRest {
		errs = append(errs, fmt.Errorf("residency.processing = %q, want %s or %s", r.Processing, InBoundary, AtRest))
	}
	if r.RegionalProcessing == "" {
		r.RegionalProcessing = InGeography
	}
	if r.RegionalProcessing != InGeography && r.RegionalProcessing != InRegion {
		errs = append(errs, fmt.Errorf("residency.regionalProcessing = %q, want %s or %s", r.RegionalProcessing, InGeography, InRegion))
	}
	for zone, countries := range r.DataZones {
		if _, ok := LookupDataZone(zone); !ok {
			errs = append(errs, fmt.Errorf("residency.dataZones: %q is no data zone of Azure, want one of %s", zone, strings.Join(zoneNames(), ", ")))
		}
		f.zones[zone] = slices.Clone(countries)
	}
	r.Countries = slices.Clone(r.Countries)
	r.DataZones = f.zones
	f.residency = r
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return f, nil
}

// Boundary returns the name of the boundary that the fence surrounds.
func (f *Fence) Boundary() Boundary { return f.residency.Boundary }

// Contains reports whether a country lies inside.
func (f *Fence) Contains(c Country) bool { return f.inside[c] }

// Countries returns the countries inside, in the order they were given.
func (f *Fence) Countries() []Country { return slices.Clone(f.residency.Countries) }

// A Site is what a policy claims about one deployment: where it stands, how far
// it may process, and how it is reached. Admit decides whether that is inside.
type Site struct {
	Region     RegionID
	Country    Country // of a site that is not Azure's; for an Azure region empty or the same
	SKU        SKU     // empty only for a server that is not Azure's, whose Country is given: its reach is its region
	Endpoint   string  // https://host[:port], nothing more
	Addresses  []netip.Prefix
	Deployment string
}

// A SiteError says which claim of a Site keeps it outside the fence.
type SiteError struct {
	Field string // region, country, sku, endpoint, addresses or addresses[i]
	Text  string // what is wrong, and what to do
}

func (e *SiteError) Error() string { return e.Field + ": " + e.Text }

// Admit checks every claim of the site and returns the Target that a dialer may
// use. The error joins one *SiteError for each claim that fails.
//
// A nil Fence, and one that NewFence did not make, admit nothing.
func (f *Fence) Admit(s Site) (Target, error) {
	if f == nil {
		return Target{}, &SiteError{"region", "there is no fence to admit it"}
	}
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, &SiteError{field, fmt.Sprintf(format, args...)})
	}
	country, err := f.countryOf(s)
	if err != nil {
		errs = append(errs, err)
	} else {
		if !f.inside[country] {
			fault("region", "%q is in %s, which is not among the countries of boundary %q (%s): remove the backend or add the country",
				s.Region, country, f.Boundary(), joinCountries(f.residency.Countries))
		}
		if err := f.checkReach(s, country); err != nil {
			errs = append(errs, err)
		}
	}
	at, err := f.parseEndpoint(s.Endpoint)
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, f.checkPrefixes(s.Addresses)...)
	if f.residency.RequirePrivateAddresses && len(s.Addresses) == 0 && (err != nil || !isLoopbackHost(at.host)) {
		fault("addresses", "is empty, but residency.requirePrivateAddresses is set: name the address ranges of the private endpoint")
	}
	if len(errs) > 0 {
		return Target{}, errors.Join(errs...)
	}
	return Target{
		fence: f, region: s.Region, country: country, sku: s.SKU,
		deployment: s.Deployment, scheme: at.scheme, host: at.host, port: at.port,
		addresses: slices.Clone(s.Addresses),
	}, nil
}

func (f *Fence) countryOf(s Site) (Country, error) {
	if r, ok := Lookup(s.Region); ok {
		if s.Country != "" && s.Country != r.Country {
			return "", &SiteError{"country", fmt.Sprintf("%q, but the Azure region %s is in %s: leave country out", s.Country, s.Region, r.Country)}
		}
		return r.Country, nil
	}
	switch {
	case s.Region == "":
		return "", &SiteError{"region", "is missing"}
	case s.Country == "":
		return "", &SiteError{"region", fmt.Sprintf("%q is not a region of Azure: correct the name, or give the country of an on-premises site", s.Region)}
	case !s.Country.Valid():
		return "", &SiteError{"country", fmt.Sprintf("%q is not an ISO 3166-1 code of two capitals", s.Country)}
	}
	return s.Country, nil
}

// checkReach asks where the SKU lets a request be processed beyond the region's
// own country: in its geography, in its data zone, or anywhere.
func (f *Fence) checkReach(s Site, country Country) error {
	reach := s.SKU.Reach()
	if s.SKU == "" {
		// Only a server that is not Azure's has none, and such a one says where
		// it is. A forgotten SKU must not pass for the narrowest.
		if s.Country == "" {
			return &SiteError{"sku", "is missing: name the deployment type, such as Standard or ProvisionedManaged"}
		}
		return nil // it stands where it says, and no geography of Azure's is about it
	}
	switch reach {
	case ReachRegion:
		return f.checkGeography(s)
	case ReachUnknown:
		return &SiteError{"sku", fmt.Sprintf("%q is not an Azure OpenAI deployment type", s.SKU)}
	case ReachAnywhere:
		if f.residency.Processing == AtRest {
			return nil
		}
		return &SiteError{"sku", fmt.Sprintf("%s may be processed in any region of the world, outside boundary %q: use Standard or ProvisionedManaged", s.SKU, f.Boundary())}
	case ReachDataZone:
		if f.residency.Processing == AtRest {
			return nil
		}
		return f.checkDataZone(s, country)
	}
	panic("geo: a Reach that SKU.Reach does not return")
}

// checkGeography holds every country of the region's geography against the fence.
func (f *Fence) checkGeography(s Site) error {
	r, azure := Lookup(s.Region)
	if !azure || f.residency.Processing == AtRest || f.residency.RegionalProcessing == InRegion {
		return nil
	}
	var outside []Country
	for _, c := range r.GeographyCountries() {
		if !f.inside[c] && c != r.Country { // its own country is told by Admit
			outside = append(outside, c)
		}
	}
	if len(outside) == 0 {
		return nil
	}
	return &SiteError{"sku", fmt.Sprintf("%s may be processed anywhere in the geography of %s (%s), which reaches %s outside boundary %q: add the countries, or take Azure's narrower sentence with residency.regionalProcessing: region",
		s.SKU, s.Region, r.Geography, joinCountries(outside), f.Boundary())}
}

// checkDataZone holds every zone that the country is in against the fence: two
// zones that overlap must both lie inside, since either may be meant.
func (f *Fence) checkDataZone(s Site, country Country) error {
	found := false
	for _, zone := range slices.Sorted(maps.Keys(f.zones)) {
		if !slices.Contains(f.zones[zone], country) {
			continue
		}
		found = true
		var outside []Country
		for _, c := range f.zones[zone] {
			if !f.inside[c] {
				outside = append(outside, c)
			}
		}
		if len(outside) > 0 {
			return &SiteError{"sku", fmt.Sprintf("%s may be processed anywhere in data zone %q, which reaches %s outside boundary %q: use Standard or ProvisionedManaged, or add those countries",
				s.SKU, zone, joinCountries(outside), f.Boundary())}
		}
	}
	if !found {
		return &SiteError{"sku", fmt.Sprintf("%s, but region %q is in no data zone: use Standard or ProvisionedManaged, or name the zone in residency.dataZones", s.SKU, s.Region)}
	}
	return nil
}
