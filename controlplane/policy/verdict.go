package policy

import (
	"errors"
	"reflect"

	"github.com/stampgate/stampgate/geo"
)

// A Verdict is what is to be said of a document before it is published.
type Verdict struct {
	Valid    bool         `json:"valid"`
	Boundary geo.Boundary `json:"boundary,omitempty"`
	Digest   string       `json:"digest,omitempty"` // of a valid one; as gateways report it
	Faults   []Fault      `json:"faults"`
	Warnings []Fault      `json:"warnings"`
}

// Judge decodes a document and validates it for publication. The document is nil
// if it cannot be decoded.
func Judge(source []byte, opt Options) (Verdict, *Document, error) {
	opt.Publishing = true
	v := Verdict{Faults: []Fault{}, Warnings: []Fault{}}
	doc, err := Decode(source)
	if refused, ok := errors.AsType[*Error](err); ok {
		v.Faults = append(v.Faults, refused.Faults...)
		return v, nil, nil
	}
	if err != nil {
		return v, nil, err
	}
	faults, warnings := Validate(doc, opt)
	v.Boundary, v.Faults, v.Warnings = doc.Boundary, append(v.Faults, faults...), append(v.Warnings, warnings...)
	if v.Valid = len(v.Faults) == 0; v.Valid {
		v.Digest = opt.Digest
	}
	return v, doc, nil
}

// Equal reports whether two documents say the same, in whatever words, order of
// fields and comments they were written.
func Equal(a, b *Document) bool {
	x, y := *a, *b
	x.Format, y.Format = 0, 0
	return reflect.DeepEqual(x, y)
}
