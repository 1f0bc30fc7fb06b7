package policy

import (
	"fmt"
	"strings"
)

// A form is what a kind of name may look like. Names end up in headers, log
// lines, metric labels, etcd keys and URL paths, so each form is safe in all of
// them and none can be "." or "..".
type form struct {
	what  string
	max   int
	extra string // beside small letters and digits; never first or last
	mixed bool   // capitals too
}

func nameForm() form     { return form{"small letters, digits, -, . and _", 63, "-._", false} }
func boundaryForm() form { return form{"small letters, digits and -", 63, "-", false} } // a part of client keys: sg_<boundary>_…
// deploymentForm is what Azure permits for a deployment; routes take its place
// in a client's URL.
func deploymentForm() form { return form{"letters, digits, -, . and _", 64, "-._", true} }
func modelForm() form      { return form{"letters, digits and -._:/@+", 128, "-._:/@+", true} }
func zoneForm() form       { return form{"letters, digits, - and _", 32, "-_", true} }

// complaint returns what is wrong with the name, "" if nothing.
func (f form) complaint(name string) string {
	switch {
	case name == "":
		return fmt.Sprintf("is missing: want %s", f.what)
	case len(name) > f.max:
		return fmt.Sprintf("is longer than %d characters", f.max)
	}
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1 && strings.IndexByte(f.extra, c) >= 0
		if !isLower(c) && !isDigit(c) && (!f.mixed || !isLetter(c)) && !inner {
			return fmt.Sprintf("%s: want %s, beginning and ending with a letter or digit", quote(name), f.what)
		}
	}
	if looksSecret(name) {
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
