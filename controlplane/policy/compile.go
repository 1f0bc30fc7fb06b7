package policy

import (
	"errors"

	"github.com/stampgate/stampgate/geo"
)

// Options are what the one who compiles knows beside the document.
type Options struct {
	Serial uint64
	// Local, if set, is the process's own residency configuration. A document
	// that goes beyond it does not compile, however well it is signed.
	Local *geo.Residency
	// AllowLoopback permits http://127.… endpoints: development and tests only.
	AllowLoopback bool
}

// Compile validates the document and turns it into a Snapshot. The error joins
// every fault that Validate finds.
func Compile(doc *Document, opt Options) (*Snapshot, error) {
	return nil, errors.New("not written")
}
