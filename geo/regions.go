package geo

import "iter"

// A Region is one physical region of Azure.
type Region struct {
	ID        RegionID
	Display   string  // as x-ms-region reports it, "Sweden Central"
	Country   Country // of the place, not of Azure's "geography"
	Geography string  // Azure's own word; "Europe" for westeurope and northeurope
	Latitude  float64 // degrees
	Longitude float64 // degrees
	Zones     int     // availability zones; 0 = none
}

// Lookup returns the region of that name.
func Lookup(id RegionID) (Region, bool) {
	r, ok := regionsByID()[id]
	return r, ok
}

// Regions yields every region in the order of its name.
func Regions() iter.Seq[Region] {
	return func(yield func(Region) bool) {
		for _, r := range regionTable() {
			if !yield(r) {
				return
			}
		}
	}
}
