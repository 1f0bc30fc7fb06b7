// Package geo knows where things are and what may leave: the regions of Azure,
// the data zones, the distances, and the Fence of a data-residency boundary.
//
// It is pure: no I/O, no clock, no goroutine, and it imports nothing of ours.
// Everything else may import it. The one thing it guards above all: a Target,
// the only value that the gateway's dialer accepts, cannot be made anywhere but
// in Fence.Admit.
package geo

// A Boundary names a data-residency boundary, such as "eu". It is the unit of
// isolation: nothing is shared between two boundaries.
type Boundary string

// A RegionID is the name of an Azure region, such as "swedencentral", or of an
// on-premises site that a policy declares.
type RegionID string

// A Country is an ISO 3166-1 alpha-2 code in capitals, such as "SE".
type Country string
