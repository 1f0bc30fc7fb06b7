package geo

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// corrected are the regions whose coordinates in Azure's data are not those of
// the place that the same data names.
func corrected() map[RegionID]bool {
	return map[RegionID]bool{
		"francecentral": true, "francesouth": true, "germanynorth": true,
		"israelcentral": true, "spaincentral": true, "ukwest": true,
	}
}

// countryOfGeography maps Azure's own word where it is a country at all.
func countryOfGeography() map[string]Country {
	return map[string]Country{
		"Australia": "AU", "Austria": "AT", "Belgium": "BE", "Brazil": "BR", "Canada": "CA", "Chile": "CL", "Denmark": "DK",
		"France": "FR", "Germany": "DE", "India": "IN", "Indonesia": "ID", "Israel": "IL", "Italy": "IT", "Japan": "JP",
		"Korea": "KR", "Malaysia": "MY", "Mexico": "MX", "New Zealand": "NZ", "Norway": "NO", "Poland": "PL", "Qatar": "QA",
		"South Africa": "ZA", "Spain": "ES", "Sweden": "SE", "Switzerland": "CH", "UAE": "AE", "United Kingdom": "GB",
		"United States": "US",
	}
}

// countryOfPlace maps the places of the regions whose geography is a continent.
func countryOfPlace() map[string]Country {
	return map[string]Country{"Netherlands": "NL", "Ireland": "IE", "Hong Kong": "HK", "Singapore": "SG"}
}

func TestTableHoldsEveryPublicRegionOfAzure(t *testing.T) {
	const source = "../../shared/data/azure-regions.csv"
	file, err := os.Open(source)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not here: the table is not compared with Azure's own data", source)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	public := 0
	for _, row := range rows[1:] {
		id, display, geography, place := RegionID(row[0]), row[1], row[2], row[5]
		r, ok := Lookup(id)
		if strings.HasPrefix(geography, "Canary") || strings.HasPrefix(geography, "Stage") {
			if ok {
				t.Errorf("%s is a region for Azure's own tests", id)
			}
			continue
		}
		public++
		country, direct := countryOfGeography()[geography]
		if !direct {
			country = countryOfPlace()[place]
		}
		zones, _ := strconv.Atoi(row[6])
		lat, _ := strconv.ParseFloat(row[8], 64)
		lon, _ := strconv.ParseFloat(row[9], 64)
		switch {
		case !ok:
			t.Errorf("%s is missing", id)
		case r.Display != display || r.Geography != geography || r.Zones != zones || r.ID != id:
			t.Errorf("%s = %+v, want %v", id, r, row)
		case country == "" || r.Country != country:
			t.Errorf("%s is in %q, want %q (%s, %s)", id, r.Country, country, geography, place)
		case (r.Latitude != lat || r.Longitude != lon) != corrected()[id]:
			t.Errorf("%s at %v, %v; Azure says %v, %v", id, r.Latitude, r.Longitude, lat, lon)
		}
	}
	if got := len(slices.Collect(Regions())); got != public {
		t.Errorf("the table has %d regions, Azure %d", got, public)
	}
}

// Azure's geography is not a country for these four, and francecentral's own
// coordinates are in the middle of France.
func TestTrapsOfAzuresData(t *testing.T) {
	for id, want := range map[RegionID][]Country{
		"westeurope": {"NL", "IE"}, "northeurope": {"NL", "IE"}, "eastasia": {"HK", "SG"}, "southeastasia": {"HK", "SG"}, "eastus2": {"US"}, "swedencentral": {"SE"},
	} {
		r, _ := Lookup(id)
		if got := r.GeographyCountries(); len(got) != len(want) || !slices.Contains(got, want[0]) || !slices.Contains(got, want[len(want)-1]) {
			t.Errorf("the geography of %s is %v, want %v", id, got, want)
		}
	}
	for id, want := range map[RegionID]Country{
		"westeurope": "NL", "northeurope": "IE", "eastasia": "HK", "southeastasia": "SG",
		"uksouth": "GB", "switzerlandwest": "CH", "norwayeast": "NO", "uaecentral": "AE",
	} {
		if r, _ := Lookup(id); r.Country != want {
			t.Errorf("%s is in %q, want %s", id, r.Country, want)
		}
	}
	paris := Region{Latitude: 48.8566, Longitude: 2.3522}
	near := func(a, b Region) bool { // within some 50 km
		return math.Abs(a.Latitude-b.Latitude) < 0.5 && math.Abs(a.Longitude-b.Longitude) < 0.6
	}
	if r, _ := Lookup("francecentral"); !near(r, paris) {
		t.Errorf("francecentral is at %v, %v", r.Latitude, r.Longitude)
	}
	madrid := Region{Latitude: 40.4168, Longitude: -3.7038}
	if r, _ := Lookup("spaincentral"); !near(r, madrid) {
		t.Errorf("spaincentral is at %v, %v", r.Latitude, r.Longitude)
	}
}

func TestTableIsSound(t *testing.T) {
	displays := make(map[string]bool)
	last := RegionID("")
	for r := range Regions() {
		if r.ID <= last {
			t.Errorf("%s is out of order or there twice", r.ID)
		}
		last = r.ID
		if displays[r.Display] || r.Display == "" {
			t.Errorf("%s: display name %q is empty or not its own", r.ID, r.Display)
		}
		displays[r.Display] = true
		if !r.Country.Valid() || math.Abs(r.Latitude) > 90 || math.Abs(r.Longitude) > 180 || r.Zones < 0 {
			t.Errorf("%+v", r)
		}
		if strings.ReplaceAll(strings.ToLower(r.Display), " ", "") != string(r.ID) {
			t.Errorf("%s is displayed as %q", r.ID, r.Display)
		}
		if got, ok := Lookup(r.ID); !ok || got != r {
			t.Errorf("Lookup(%s) = %v, %v", r.ID, got, ok)
		}
	}
	for _, id := range []RegionID{"", "atlantis", "SwedenCentral", "centraluseuap", "eastusstg", "usgovvirginia", "chinaeast2"} {
		if _, ok := Lookup(id); ok {
			t.Errorf("Lookup(%q) found a region", id)
		}
	}
	for range Regions() {
		break // an iterator may be left early
	}
}

func TestDataZonesBelongToTheCaller(t *testing.T) {
	mine := DefaultDataZones()
	mine["EU"][0] = "XX"
	delete(mine, "US")
	if got := DefaultDataZones(); got["EU"][0] == "XX" || got["US"] == nil {
		t.Error("a caller changed the zones of others")
	}
	for zone, countries := range DefaultDataZones() {
		for _, c := range countries {
			if !c.Valid() {
				t.Errorf("zone %s has %q", zone, c)
			}
		}
	}
	for _, z := range DataZones() {
		if day, err := time.Parse(time.DateOnly, z.Known); err != nil || day.Year() < 2026 {
			t.Errorf("zone %s is known as of %q, want a day", z.Name, z.Known)
		}
	}
	if z, ok := LookupDataZone("APAC"); !ok || len(z.Countries) > 0 {
		t.Error("APAC is named by Azure, but no country of it is known")
	}
	eu := DefaultDataZones()["EU"]
	if !slices.Contains(eu, "NO") || !slices.Contains(eu, "CH") {
		t.Error("the EU Data Boundary has Norway and Switzerland in it, which are not in the EU")
	}
}

func BenchmarkLookup(b *testing.B) {
	for b.Loop() {
		if _, ok := Lookup("westeurope"); !ok {
			b.Fatal("lost")
		}
	}
}
