package geo

import "strings"

// A SKU is the sku.name of an Azure OpenAI deployment, such as
// "ProvisionedManaged". It says where a request may be processed.
type SKU string

// The SKUs that Azure documents (deployment types, 2026-05).
const (
	Standard                   SKU = "Standard"
	ProvisionedManaged         SKU = "ProvisionedManaged"
	DataZoneStandard           SKU = "DataZoneStandard"
	DataZoneProvisionedManaged SKU = "DataZoneProvisionedManaged"
	DataZoneBatch              SKU = "DataZoneBatch"
	GlobalStandard             SKU = "GlobalStandard"
	GlobalProvisionedManaged   SKU = "GlobalProvisionedManaged"
	GlobalBatch                SKU = "GlobalBatch"
	DeveloperTier              SKU = "DeveloperTier"
)

// A Reach says how far from its region a deployment may process a request.
type Reach int

// The reaches, narrowest first. The zero value is unknown and admits nothing.
const (
	ReachUnknown  Reach = iota
	ReachRegion         // in the deployment's own region, or its geography: see RegionalProcessing
	ReachDataZone       // anywhere in the data zone of that region
	ReachAnywhere       // in any region of Azure
)

// Reach returns how far the SKU lets processing go, and ReachUnknown for a name
// that is not in Azure's list.
func (s SKU) Reach() Reach {
	switch s {
	case Standard, ProvisionedManaged:
		return ReachRegion
	case DataZoneStandard, DataZoneProvisionedManaged, DataZoneBatch:
		return ReachDataZone
	case GlobalStandard, GlobalProvisionedManaged, GlobalBatch, DeveloperTier:
		return ReachAnywhere
	}
	return ReachUnknown
}

// Provisioned reports whether the SKU is reserved capacity, paid for whether it
// is used or not.
func (s SKU) Provisioned() bool { return strings.Contains(string(s), "Provisioned") }

// Batch reports whether the SKU serves batch jobs only, never an online call.
func (s SKU) Batch() bool { return strings.HasSuffix(string(s), "Batch") }

// RegionalProcessing is what an operator takes Azure's word on regional
// deployments (Standard, ProvisionedManaged) to mean. Microsoft says two things:
// that they are processed in their region, and that they may be processed
// anywhere in the region's geography for operational purposes (deployment types,
// 2026-08-06).
type RegionalProcessing string

const (
	// InGeography takes the wider sentence: every country of the region's geography
	// counts. It is the default.
	InGeography RegionalProcessing = "geography"
	// InRegion takes the narrower one: the region's own country alone counts.
	InRegion RegionalProcessing = "region"
)

// Processing is what a boundary accepts for data in use.
type Processing string

const (
	// InBoundary means that data is processed and stored inside the countries only.
	InBoundary Processing = "in-boundary"
	// AtRest means that data is stored inside; Global and DataZone processing is accepted.
	AtRest Processing = "at-rest"
)
