// Package adminapi is what a gateway's admin listener says about routing, for those
// who ask it: paths and shapes of answers.
//
// It is a leaf that does nothing: who reads an answer needs no part of a gateway.
// The admin listener writes these shapes, stampctl reads them.
package adminapi

import (
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// ExplainPath answers where a request would go. It is asked with ExplainRoute and,
// if it is about one client, ExplainClient.
const (
	ExplainPath   = "/explain"
	ExplainRoute  = "route"
	ExplainClient = "client"
)

// Explained is the answer: the route's targets in the order in which a request
// would try them now, then the excluded ones.
type Explained struct {
	Gateway string                `json:"gateway"`
	Region  geo.RegionID          `json:"region"`
	Policy  uint64                `json:"policy"`
	Route   string                `json:"route"`
	Targets []targets.Explanation `json:"targets"`
}

// Refused is the answer to what cannot be answered, with a status above 399.
type Refused struct {
	Error string `json:"error"`
}
