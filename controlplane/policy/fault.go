package policy

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

// An Error holds every fault that a document was refused for. Decode and
// Compile return it, so that a caller can show the faults one by one.
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

// findings collects faults and warnings up to their bound.
type findings struct {
	faults, warnings []Fault
	seen             map[Fault]bool
}

func (f *findings) fault(path, format string, args ...any) {
	f.faults = f.add(f.faults, Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) warn(path, format string, args ...any) {
	f.warnings = f.add(f.warnings, Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

// add leaves out what was said already: every deployment of a backend meets
// the same wrong endpoint.
func (f *findings) add(list []Fault, one Fault) []Fault {
	if f.seen == nil {
		f.seen = make(map[Fault]bool)
	}
	switch {
	case f.seen[one] || len(list) > maxFaults:
		return list
	case len(list) == maxFaults:
		return append(list, Fault{Text: fmt.Sprintf("there is more: the report ends after %d entries", maxFaults)})
	}
	f.seen[one] = true
	return append(list, one)
}

func (f *findings) err() error {
	if len(f.faults) == 0 {
		return nil
	}
	return &Error{Faults: f.faults}
}
