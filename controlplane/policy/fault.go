package policy

import (
	"fmt"
	"strconv"

	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// A Fault is one thing that is wrong with a document (or, as a warning, unwise).
type Fault = strictyaml.Fault

// An Error holds every fault that a document was refused for. Decode and Compile
// return it.
type Error = strictyaml.Error

func (c *check) fault(path, format string, args ...any) {
	c.found.Add(Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (c *check) warn(path, format string, args ...any) {
	c.warnings.Add(Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

// later reports a breach of a rule that is younger than documents in force may be:
// a fault of what is to be published, a warning of what is followed already, so
// that a new gateway starts with the policy that the one before it served. A rule
// about where data may go is never one of these: there the boundary counts for
// more than being served.
func (c *check) later(path, format string, args ...any) {
	if c.opt.Publishing {
		c.fault(path, format, args...)
		return
	}
	c.warn(path, format, args...)
}

// printable keeps a path on one line whatever a name is.
func printable(name string) string { return strictyaml.Printable(name) }

func looksSecret(v string) bool { return strictyaml.LooksSecret(v) }

// quote prints a value from a document in a message: shortened, escaped, and
// not at all if it may be a secret.
func quote[T ~string](v T) string {
	s := string(v)
	if looksSecret(s) {
		return "(a value that looks like a secret)"
	}
	if len(s) > 80 {
		return strconv.QuoteToASCII(s[:80]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
