package policy

import (
	"strings"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// ExternalReferences is written as one word, or as {hosts: […]}. The zero value
// leaves it to the boundary's processing.
type ExternalReferences struct {
	Rule  ReferenceRule // "" with Hosts
	Hosts []string      // that may be named, exactly and over https; nothing else
}

// ReferenceRule is what becomes of a request with an external reference.
type ReferenceRule string

// The rules.
const (
	ReferencesRefuse ReferenceRule = "refuse"
	ReferencesAllow  ReferenceRule = "allow"
)

// referenceHosts is how ExternalReferences with hosts is written.
type referenceHosts struct {
	Hosts []string `yaml:"hosts"`
}

// UnmarshalStrict reads either form.
func (r *ExternalReferences) UnmarshalStrict(v strictyaml.Value) {
	if !v.IsObject() {
		if text, ok := v.Text("refuse, allow or {hosts: […]}"); ok {
			r.Rule = ReferenceRule(text)
		}
		return
	}
	var h referenceHosts
	sound := v.Fields(&h)
	if r.Hosts = h.Hosts; len(r.Hosts) == 0 && sound {
		v.Fault("names no hosts: list them, or write refuse") // else it would pass for left out
	}
}

// MarshalYAML writes the form that UnmarshalStrict reads.
func (r ExternalReferences) MarshalYAML() (any, error) {
	if r.Rule != "" {
		return string(r.Rule), nil
	}
	return referenceHosts{r.Hosts}, nil
}

// References is what a snapshot says of external references. It never changes.
type References struct {
	all   bool
	hosts map[string]bool
}

func compileReferences(r ExternalReferences, p geo.Processing) *References {
	c := &References{hosts: make(map[string]bool, len(r.Hosts))}
	for _, h := range r.Hosts {
		c.hosts[h] = true
	}
	switch {
	case r.Rule != "":
		c.all = r.Rule == ReferencesAllow
	case len(r.Hosts) == 0:
		c.all = p == geo.AtRest
	}
	return c
}

// All reports whether every reference is allowed, so that none need be looked
// for. A nil References allows none.
func (r *References) All() bool { return r != nil && r.all }

// Allows reports whether a request may refer a backend to the URL: to one that
// leads nowhere outside, or over https and its own port to a host that is listed.
func (r *References) Allows(url string) bool {
	if r.All() || !External(url) {
		return true
	}
	if r == nil || len(r.hosts) == 0 {
		return false
	}
	host, ok := geo.ReferenceHost(url)
	return ok && r.hosts[host]
}

// External reports whether a text that stands where a URL may stand leads outside
// the request. data: URLs do not, nor do the ids of files, which are bare words.
func External(url string) bool {
	const data = "data:"
	if len(url) >= len(data) && strings.EqualFold(url[:len(data)], data) {
		return false
	}
	return strings.ContainsFunc(url, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
