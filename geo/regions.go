package geo

import (
	"iter"
	"slices"
	"sync"
)

// A Region is one physical region of Azure.
type Region struct {
	ID        RegionID
	Display   string  // as x-ms-region reports it, "Sweden Central"
	Country   Country // of the place, not of Azure's "geography"
	Geography string  // Azure's own word; "Europe" for westeurope and northeurope. See GeographyCountries
	Latitude  float64 // degrees
	Longitude float64 // degrees
	Zones     int     // availability zones; 0 = none
}

type regionIndex struct {
	ordered   []Region
	byID      map[RegionID]Region
	countries map[string][]Country // of each geography, in the order of the regions
}

// regions builds the index once: Lookup is on the way of every deployment of a
// policy. Nothing changes it afterwards, and none of it is handed out.
//
//nolint:gochecknoglobals // never assigned again; a function value that remembers its result
var regions = sync.OnceValue(func() regionIndex {
	index := regionIndex{
		ordered:   regionTable(),
		byID:      make(map[RegionID]Region),
		countries: make(map[string][]Country),
	}
	for _, r := range index.ordered {
		index.byID[r.ID] = r
		if in := index.countries[r.Geography]; !slices.Contains(in, r.Country) {
			index.countries[r.Geography] = append(in, r.Country)
		}
	}
	return index
})

// Lookup returns the region of that name.
func Lookup(id RegionID) (Region, bool) {
	r, ok := regions().byID[id]
	return r, ok
}

// GeographyCountries returns every country of the region's geography, as of
// RegionsKnown: Europe is IE and NL, Asia Pacific HK and SG; all others are one
// country each. The caller owns the result.
func (r Region) GeographyCountries() []Country {
	return slices.Clone(regions().countries[r.Geography])
}

// Regions yields every region in the order of its name.
func Regions() iter.Seq[Region] { return slices.Values(regions().ordered) }
