package geo

import "strings"

// MaxName is how many characters the name of a boundary, region, backend or client
// has at most.
const MaxName = 63

// Valid reports whether the name may be a boundary's: small letters, digits and
// inner hyphens. It is a part of client keys (sg_<boundary>_…), etcd keys and URLs.
func (b Boundary) Valid() bool { return validName(string(b), "-") }

// Valid reports whether the name may be a region's or a site's. Whether there is
// such a region is for Lookup.
func (r RegionID) Valid() bool { return ValidName(string(r)) }

// ValidName reports whether the name may be a region's, a backend's or a client's:
// small letters, digits, and inside also hyphens, dots and underscores. It ends up
// in headers, log lines, metric labels, etcd keys and URL paths, and is safe there.
func ValidName(name string) bool { return validName(name, "-._") }

func validName(name, inner string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		inside := i > 0 && i < len(name)-1
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (!inside || strings.IndexByte(inner, c) < 0) {
			return false
		}
	}
	return true
}
