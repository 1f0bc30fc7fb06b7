package strictyaml

import (
	"fmt"
	"strings"
)

// A Fault is one thing that is wrong with a document (or, as a warning, unwise).
type Fault struct {
	Path string `json:"path,omitempty"` // such as backends[2].deployments[0].sku; empty: the document as a whole
	Text string `json:"text"`           // what is wrong and what to do; never a secret
	Line int    `json:"line,omitempty"` // in the source, from 1; 0 where it is not known
}

// String returns the fault on one line: "line 12: path: text".
func (f Fault) String() string {
	s := f.Text
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Line > 0 {
		s = fmt.Sprintf("line %d: %s", f.Line, s)
	}
	return s
}

// An Error holds every fault that a document was refused for, so that a caller
// can show the faults one by one.
type Error struct{ Faults []Fault }

func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds a report: a document with more is not meant for people, and
// a hostile one must not grow an answer without end.
const maxFaults = 1000

// Findings collects faults, or warnings, up to their bound. The zero value is
// ready.
type Findings struct {
	Faults []Fault
	seen   map[Fault]bool
}

// Add leaves out what was said already: every deployment of a backend meets the
// same wrong endpoint.
func (f *Findings) Add(one Fault) {
	if f.seen == nil {
		f.seen = make(map[Fault]bool)
	}
	switch {
	case f.seen[one] || len(f.Faults) > maxFaults:
		return
	case len(f.Faults) == maxFaults:
		f.Faults = append(f.Faults, Fault{Text: fmt.Sprintf("there is more: the report ends after %d entries", maxFaults)})
		return
	}
	f.seen[one] = true
	f.Faults = append(f.Faults, one)
}

// Err returns the faults as an *Error, or nil if there are none.
func (f *Findings) Err() error {
	if len(f.Faults) == 0 {
		return nil
	}
	return &Error{Faults: f.Faults}
}
