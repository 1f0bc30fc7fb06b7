package geo

import "slices"

// A DataZone is one of Azure's data zones, as far as was known when this was
// written.
type DataZone struct {
	Name string
	// Countries in which a DataZone deployment may process; none if Azure names
	// the zone but not yet what is in it.
	Countries []Country
	// Known is the day of the source, as YYYY-MM-DD. Microsoft adds countries
	// without notice: what is older is more likely to be wrong.
	Known string
}

// DataZones returns the zones that Azure has named, in the order of their names.
// EU is the EU Data Boundary, which has Norway and Switzerland in it. A policy
// replaces a zone's list under residency.dataZones. The caller owns the result.
func DataZones() []DataZone {
	return []DataZone{
		{"APAC", nil, "2026-06-11"}, // named, no region offers it
		{"EU", []Country{"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"}, "2026-05-08"},
		{"US", []Country{"US"}, "2026-06-11"},
	}
}

// LookupDataZone returns the zone of that name.
func LookupDataZone(name string) (DataZone, bool) {
	zones := DataZones()
	if i := slices.IndexFunc(zones, func(z DataZone) bool { return z.Name == name }); i >= 0 {
		return zones[i], true
	}
	return DataZone{}, false
}

// DefaultDataZones returns the countries of the zones whose countries are known.
// The caller owns the result.
func DefaultDataZones() map[string][]Country {
	zones := make(map[string][]Country)
	for _, z := range DataZones() {
		if len(z.Countries) > 0 {
			zones[z.Name] = z.Countries
		}
	}
	return zones
}

// zoneNames lists the zones for a message.
func zoneNames() []string {
	var names []string
	for _, z := range DataZones() {
		names = append(names, z.Name)
	}
	return names
}
