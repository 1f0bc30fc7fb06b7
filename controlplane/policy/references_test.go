package policy

import (
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
)

// Every spelling that some reader of URLs takes for another host than it looks
// like is refused, whatever is listed.
func TestOnlyAPlainURLOfAListedHostIsAllowed(t *testing.T) {
	r := compileReferences(ExternalReferences{Hosts: []string{"files.example"}}, geo.InBoundary)
	for _, good := range []string{
		"https://files.example/a.png", "HTTPS://FILES.example", "https://files.example.", "https://files.example:443/x?y#z", "https://files.example/@evil.example",
		"data:image/png;base64,AAAA", "DATA:text/plain,https://evil.example", "file-abc123", "assistant_1", "",
	} {
		if !r.Allows(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"https://evil.example", "https://files.example.evil.example", "https://xfiles.example", "https://a.files.example",
		"https://files.example@evil.example", "https://files.example:443@evil.example", "https://u:p@files.example/", "https://evil.example\\@files.example", "https://files.example\\.evil.example",
		"https://evil.example#@files.example", "https://evil.example?@files.example", "https://evil.example/https://files.example",
		"https://files.example:8443/", "https://files.example:0443/", "https://files.example:/", "http://files.example", "//files.example", "ftp://files.example", "files.example/x", "https:files.example", "https:/files.example", "https:///files.example",
		"https://files%2eexample", "https://files.example%00.evil.example", "https://files.example\t.evil.example", "https://files.example\n", " https://files.example", "https://files。example", "https://ｆiles.example", "https://xn--files-.example", "https://files.example..",
		"https://127.0.0.1", "https://2130706433", "https://[::1]/", "https://localhost", " data:x", "javascript:x",
	} {
		if r.Allows(bad) {
			t.Errorf("%q is allowed", bad)
		}
	}
}

func TestReferencesAreRefusedByDefaultWhereProcessingStaysInside(t *testing.T) {
	for name, tt := range map[string]struct {
		r    ExternalReferences
		p    geo.Processing
		want bool
	}{
		"in-boundary, nothing said":      {ExternalReferences{}, "", false},
		"in-boundary, said":              {ExternalReferences{}, geo.InBoundary, false},
		"in-boundary, allowed":           {ExternalReferences{Rule: ReferencesAllow}, geo.InBoundary, true},
		"at rest, nothing said":          {ExternalReferences{}, geo.AtRest, true},
		"at rest, refused":               {ExternalReferences{Rule: ReferencesRefuse}, geo.AtRest, false},
		"at rest, some hosts, not these": {ExternalReferences{Hosts: []string{"a.example"}}, geo.AtRest, false},
	} {
		r := compileReferences(tt.r, tt.p)
		if got := r.Allows("https://b.example/x"); got != tt.want || r.All() != tt.want {
			t.Errorf("%s: allowed %v", name, got)
		}
	}
	if (*References)(nil).Allows("https://b.example") || !(*References)(nil).Allows("data:,") {
		t.Error("what no policy made is not the strictest")
	}
}

func FuzzReferenceIsAllowedOnlyByItsHost(f *testing.F) {
	f.Add("https://files.example/a")
	f.Add("https://files.example@evil")
	r := compileReferences(ExternalReferences{Hosts: []string{"files.example"}}, geo.InBoundary)
	f.Fuzz(func(t *testing.T, url string) {
		if !External(url) || !r.Allows(url) {
			return
		}
		rest := strings.ToLower(url)
		if !strings.HasPrefix(rest, "https://files.example") {
			t.Fatalf("%q is allowed", url)
		}
		rest = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(rest, "https://files.example"), "."), ":443")
		if rest != "" && !strings.ContainsAny(rest[:1], "/?#") {
			t.Fatalf("%q is allowed", url)
		}
	})
}
