package geo

// DefaultDataZones returns the data zones as Azure described them in 2026-05:
// EU is the EU Data Boundary, which has Norway and Switzerland in it, and
// Microsoft adds countries without notice. A policy replaces a zone's list
// under residency.dataZones. The caller owns the result.
func DefaultDataZones() map[string][]Country {
	return map[string][]Country{
		"EU": {"FR", "DE", "IT", "NL", "NO", "PL", "ES", "SE", "CH"},
		"US": {"US"},
	}
}
