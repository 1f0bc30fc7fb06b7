package policy

import (
	"time"

	"github.com/stampgate/stampgate/geo"
)

// Options are what the one who compiles knows beside the document.
type Options struct {
	Serial uint64
	Digest string // of the document as it came; the Snapshot carries it
	// Local, if set, is the process's own residency configuration. A document
	// that goes beyond it does not compile, however well it is signed.
	Local *geo.Residency
	// AllowLoopback permits http://127.… endpoints: development and tests only.
	AllowLoopback bool
	// Publishing holds the document against every rule. Without it those that came
	// after a release are warnings: see later.
	Publishing bool
	// Now, if set, lets Validate warn of keys that have expired. Nothing else
	// depends on it: the same document compiles at any time.
	Now time.Time
}

// Validate reports everything that is wrong with the document (faults: it will
// not compile) and everything that is legal but unwise (warnings), each with
// its path and a remedy.
func Validate(doc *Document, opt Options) (faults, warnings []Fault) {
	c := newCheck(doc, opt)
	c.run()
	return c.found.Faults, c.warnings.Faults
}

// Compile validates the document and turns it into a Snapshot. The error is an
// *Error with every fault that Validate finds.
func Compile(doc *Document, opt Options) (*Snapshot, error) {
	c := newCheck(doc, opt)
	c.run()
	if err := c.found.Err(); err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}
