package geo

func regionTable() []Region {
	return []Region{
		{"swedencentral", "Sweden Central", "SE", "Sweden", 60.67488, 17.14127, 3},
		{"westeurope", "West Europe", "NL", "Europe", 52.3667, 4.9, 3},
		{"eastus2", "East US 2", "US", "United States", 36.6681, -78.3889, 3},
		{"westus3", "West US 3", "US", "United States", 33.448376, -112.074036, 3},
	}
}

func regionsByID() map[RegionID]Region {
	m := make(map[RegionID]Region)
	for _, r := range regionTable() {
		m[r.ID] = r
	}
	return m
}
