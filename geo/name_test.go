package geo_test

import (
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
)

func TestNamesAreSafeWhereverTheyEndUp(t *testing.T) {
	for name, want := range map[string]struct{ boundary, other bool }{
		"eu": {true, true}, "eu-1": {true, true}, "0": {true, true}, strings.Repeat("a", 63): {true, true},
		"swc.ptu_1": {false, true},
		"":          {}, "-eu": {}, "eu-": {}, ".": {}, "..": {}, "_": {}, "EU": {}, "é": {}, "e u": {}, "e/u": {}, "e\x00u": {}, strings.Repeat("a", 64): {},
	} {
		if got := geo.Boundary(name).Valid(); got != want.boundary {
			t.Errorf("Boundary(%q).Valid() = %v", name, got)
		}
		if got := geo.ValidName(name); got != want.other || geo.RegionID(name).Valid() != got {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}
