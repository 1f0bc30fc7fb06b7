package policy

import (
	"fmt"
	"strings"

	"github.com/stampgate/stampgate/geo"
)

// A form is what a kind of name may look like. Names end up in headers, log
// lines, metric labels, etcd keys and URL paths, so each form is safe in all of
// them and none can be "." or "..".
type form struct {
	what  string
	max   int
	valid func(string) bool
}

func nameForm() form { return form{"small letters, digits, -, . and _", geo.MaxName, geo.ValidName} }

func boundaryForm() form {
	return form{"small letters, digits and -", geo.MaxName, func(s string) bool { return geo.Boundary(s).Valid() }}
}

// deploymentForm is what Azure permits for a deployment; routes take its place
// in a client's URL.
func deploymentForm() form { return form{"letters, digits, -, . and _", 64, lettersAnd("-._")} }

func modelForm() form { return form{"letters, digits and -._:/@+", 128, lettersAnd("-._:/@+")} }
func zoneForm() form  { return form{"letters, digits, - and _", 32, lettersAnd("-_")} }

// lettersAnd accepts letters, digits, and inside some more.
func lettersAnd(inner string) func(string) bool {
	return func(name string) bool {
		for i := range len(name) {
			c := name[i]
			inside := i > 0 && i < len(name)-1 && strings.IndexByte(inner, c) >= 0
			if !isLower(c|0x20) && !isDigit(c) && !inside {
				return false
			}
		}
		return true
	}
}

// complaint returns what is wrong with the name, "" if nothing.
func (f form) complaint(name string) string {
	switch {
	case name == "":
		return fmt.Sprintf("is missing: want %s", f.what)
	case len(name) > f.max:
		return fmt.Sprintf("is longer than %d characters", f.max)
	case !f.valid(name):
		return fmt.Sprintf("%s: want %s, beginning and ending with a letter or digit", quote(name), f.what)
	case looksSecret(name):
		return "looks like a secret: give a name, and replace the secret"
	}
	return ""
}

// isGUID accepts 8-4-4-4-12 hex digits.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (s[i] == '-') || (!hyphen && !isHex(s[i])) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isHex(c byte) bool   { return isDigit(c) || (c|0x20 >= 'a' && c|0x20 <= 'f') }
