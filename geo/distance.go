package geo

import (
	"cmp"
	"math"
	"slices"
)

// earthRadiusKm is the mean radius (IUGG).
const earthRadiusKm = 6371.0088

// Distance returns the length of the great circle between two regions, in km.
// It takes the earth for a sphere: within 0.6 % of the truth.
func Distance(a, b Region) float64 {
	radians := func(degrees float64) float64 { return degrees * math.Pi / 180 }
	lat1, lat2 := radians(a.Latitude), radians(b.Latitude)
	sinLat := math.Sin((lat2 - lat1) / 2)
	sinLon := math.Sin(radians(b.Longitude-a.Longitude) / 2)
	h := sinLat*sinLat + math.Cos(lat1)*math.Cos(lat2)*sinLon*sinLon
	return 2 * earthRadiusKm * math.Asin(math.Sqrt(min(1, h)))
}

// Nearest returns the candidates in order of their distance from a region, the
// nearest first and equals by name. Candidates that are not regions of Azure
// come last, in the order given. The argument stays as it is.
func Nearest(from RegionID, candidates []RegionID) []RegionID {
	here, ok := Lookup(from)
	sorted := slices.Clone(candidates)
	if !ok {
		return sorted
	}
	slices.SortStableFunc(sorted, func(a, b RegionID) int {
		ra, aKnown := Lookup(a)
		rb, bKnown := Lookup(b)
		switch {
		case !aKnown && !bKnown:
			return 0
		case !aKnown:
			return 1
		case !bKnown:
			return -1
		}
		return cmp.Or(cmp.Compare(Distance(here, ra), Distance(here, rb)), cmp.Compare(a, b))
	})
	return sorted
}
