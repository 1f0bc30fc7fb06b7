package geo

// RegionsKnown is the month of the list of regions and their geographies, as
// YYYY-MM.
const RegionsKnown = "2026-03"

// regionTable lists the public regions of Azure, in the order of their names:
// Microsoft's own list of locations as of 2026-03, without the canary and stage
// regions and without the sovereign clouds, which are other clouds.
//
// Geography is Azure's own column: westeurope and northeurope have "Europe",
// eastasia and southeastasia "Asia Pacific", each of the others its country's.
//
// Two columns are corrected. Country is that of the place. Coordinates are those of the place where Azure's own are
// elsewhere: francecentral (Paris; Azure's are 280 km south), francesouth
// (Marseille), germanynorth (Berlin; Azure's are Bremen), israelcentral (Azure's
// are at sea), spaincentral (Madrid; Azure's lack the minus sign) and ukwest
// (Cardiff; Azure's are near Liverpool).
func regionTable() []Region {
	return []Region{
		{"australiacentral", "Australia Central", "AU", "Australia", -35.3075, 149.1244, 0},
		{"australiacentral2", "Australia Central 2", "AU", "Australia", -35.3075, 149.1244, 0},
		{"australiaeast", "Australia East", "AU", "Australia", -33.86, 151.2094, 3},
		{"australiasoutheast", "Australia Southeast", "AU", "Australia", -37.8136, 144.9631, 0},
		{"austriaeast", "Austria East", "AT", "Austria", 48.2092056, 16.3727779, 3},
		{"belgiumcentral", "Belgium Central", "BE", "Belgium", 50.84553528, 4.355707169, 3},
		{"brazilsouth", "Brazil South", "BR", "Brazil", -23.55, -46.633, 3},
		{"brazilsoutheast", "Brazil Southeast", "BR", "Brazil", -22.90278, -43.2075, 0},
		{"canadacentral", "Canada Central", "CA", "Canada", 43.653, -79.383, 3},
		{"canadaeast", "Canada East", "CA", "Canada", 46.817, -71.217, 0},
		{"centralindia", "Central India", "IN", "India", 18.5822, 73.9197, 3},
		{"centralus", "Central US", "US", "United States", 41.5908, -93.6208, 3},
		{"chilecentral", "Chile Central", "CL", "Chile", -33.447487, -70.673676, 3},
		{"denmarkeast", "Denmark East", "DK", "Denmark", 55.67594, 12.56553, 3},
		{"eastasia", "East Asia", "HK", "Asia Pacific", 22.267, 114.188, 3},
		{"eastus", "East US", "US", "United States", 37.3719, -79.8164, 3},
		{"eastus2", "East US 2", "US", "United States", 36.6681, -78.3889, 3},
		{"francecentral", "France Central", "FR", "France", 48.8566, 2.3522, 3},
		{"francesouth", "France South", "FR", "France", 43.2965, 5.3698, 0},
		{"germanynorth", "Germany North", "DE", "Germany", 52.52, 13.405, 0},
		{"germanywestcentral", "Germany West Central", "DE", "Germany", 50.110924, 8.682127, 3},
		{"indonesiacentral", "Indonesia Central", "ID", "Indonesia", -6.2, 106.816666, 3},
		{"israelcentral", "Israel Central", "IL", "Israel", 32.0853, 34.7818, 3},
		{"italynorth", "Italy North", "IT", "Italy", 45.46888, 9.18109, 3},
		{"japaneast", "Japan East", "JP", "Japan", 35.68, 139.77, 3},
		{"japanwest", "Japan West", "JP", "Japan", 34.6939, 135.5022, 3},
		{"jioindiacentral", "Jio India Central", "IN", "India", 21.146633, 79.08886, 0},
		{"jioindiawest", "Jio India West", "IN", "India", 22.470701, 70.05773, 0},
		{"koreacentral", "Korea Central", "KR", "Korea", 37.5665, 126.978, 3},
		{"koreasouth", "Korea South", "KR", "Korea", 35.1796, 129.0756, 0},
		{"malaysiawest", "Malaysia West", "MY", "Malaysia", 3.140853, 101.693207, 3},
		{"mexicocentral", "Mexico Central", "MX", "Mexico", 20.588818, -100.389888, 3},
		{"newzealandnorth", "New Zealand North", "NZ", "New Zealand", -36.84853, 174.76349, 3},
		{"northcentralus", "North Central US", "US", "United States", 41.8819, -87.6278, 0},
		{"northeurope", "North Europe", "IE", "Europe", 53.3478, -6.2597, 3},
		{"norwayeast", "Norway East", "NO", "Norway", 59.913868, 10.752245, 3},
		{"norwaywest", "Norway West", "NO", "Norway", 58.969975, 5.733107, 0},
		{"polandcentral", "Poland Central", "PL", "Poland", 52.23334, 21.01666, 3},
		{"qatarcentral", "Qatar Central", "QA", "Qatar", 25.551462, 51.439327, 3},
		{"southafricanorth", "South Africa North", "ZA", "South Africa", -25.73134, 28.21837, 3},
		{"southafricawest", "South Africa West", "ZA", "South Africa", -34.075691, 18.843266, 0},
		{"southcentralus", "South Central US", "US", "United States", 29.4167, -98.5, 3},
		{"southeastasia", "Southeast Asia", "SG", "Asia Pacific", 1.283, 103.833, 3},
		{"southindia", "South India", "IN", "India", 12.9822, 80.1636, 0},
		{"spaincentral", "Spain Central", "ES", "Spain", 40.4259, -3.4209, 3},
		{"swedencentral", "Sweden Central", "SE", "Sweden", 60.67488, 17.14127, 3},
		{"switzerlandnorth", "Switzerland North", "CH", "Switzerland", 47.451542, 8.564572, 3},
		{"switzerlandwest", "Switzerland West", "CH", "Switzerland", 46.204391, 6.143158, 0},
		{"uaecentral", "UAE Central", "AE", "UAE", 24.466667, 54.366669, 0},
		{"uaenorth", "UAE North", "AE", "UAE", 25.266666, 55.316666, 3},
		{"uksouth", "UK South", "GB", "United Kingdom", 50.941, -0.799, 3},
		{"ukwest", "UK West", "GB", "United Kingdom", 51.4816, -3.1791, 0},
		{"westcentralus", "West Central US", "US", "United States", 40.89, -110.234, 0},
		{"westeurope", "West Europe", "NL", "Europe", 52.3667, 4.9, 3},
		{"westindia", "West India", "IN", "India", 19.088, 72.868, 0},
		{"westus", "West US", "US", "United States", 37.783, -122.417, 0},
		{"westus2", "West US 2", "US", "United States", 47.233, -119.852, 3},
		{"westus3", "West US 3", "US", "United States", 33.448376, -112.074036, 3},
	}
}
