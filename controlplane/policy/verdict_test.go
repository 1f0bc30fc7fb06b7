package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

// A verdict is complete in JSON: scripts read lists, also empty ones, and the digest
// of what may be published alone.
func TestAVerdictSaysEverythingAtOnce(t *testing.T) {
	good := string(readValid(t, "eu.yaml"))
	for name, c := range map[string]struct {
		source  string
		valid   bool
		decoded bool
		want    []string // in JSON
	}{
		"valid":           {good, true, true, []string{`"valid":true`, `"boundary":"eu"`, `"digest":"d"`, `"faults":[]`, `"warnings":[`}},
		"faults":          {strings.ReplaceAll(good, "sku: Standard", "sku: GlobalStandard"), false, true, []string{`"valid":false`, `"boundary":"eu"`, `"path":"backends[0].deployments[1].sku"`, `"path":"backends[1].deployments[0].sku"`}},
		"no policy":       {good + "colour: red\n", false, false, []string{`"valid":false`, `"path":"colour"`, `"line":`, `"warnings":[]`}},
		"nothing at all":  {"", false, false, []string{`"faults":[{"text":"the document is empty`}},
		"a newer format":  {good + "format: 2\n", false, false, []string{`"path":"format"`}},
		"too large to be": {strings.Repeat("#", MaxRawBytes+1), false, false, []string{"split the boundary"}},
	} {
		v, doc, err := Judge([]byte(c.source), Options{Digest: "d"})
		if err != nil || v.Valid != c.valid || (doc != nil) != c.decoded || (v.Digest != "") != c.valid {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: %s, want %s", name, text, want)
			}
		}
	}
}
