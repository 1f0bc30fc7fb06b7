package targets

import (
	"fmt"
	"strings"
	"testing"
)

// manyRoutes is a policy of n routes, each over two backends of one region.
func manyRoutes(n int) string {
	const perBackend = 200 // as many as a policy may give one
	var text strings.Builder
	text.WriteString("boundary: eu\nresidency: {countries: [SE]}\nstamps:\n  - {region: swedencentral}\nbackends:\n")
	for i := range 2 * n {
		if i%perBackend == 0 {
			name := fmt.Sprintf("b%d", i/perBackend)
			fmt.Fprintf(&text, "  - name: %s\n    region: swedencentral\n    endpoint: https://%s.openai.azure.com\n    credential: {managedIdentity: {}}\n    deployments:\n", name, name)
		}
		fmt.Fprintf(&text, "      - {name: d%d, model: m%d, version: \"1\", sku: Standard, tokensPerMinute: 1000}\n", i, i%n)
	}
	text.WriteString("routes:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {name: r%d, model: m%d, version: \"1\"}\n", i, i)
	}
	return text.String()
}

// No request makes a plan for this gateway's region, neither one of the policy in
// force nor one that began under the policy before it: that would copy every plan
// under a lock, once for each route.
func TestPlansAreMadeWhenAPolicyComesIntoForce(t *testing.T) {
	first, second := compile(t, manyRoutes(20)), compile(t, manyRoutes(30))
	r := New(here)
	r.Advance(first)
	r.Advance(second)
	made := r.view.Load()
	for route := range second.Routes() {
		if s := r.Begin(Request{Route: route, Region: here}); s.plan.count != 2 {
			t.Fatalf("route %s has %d targets, want 2", route.Name, s.plan.count)
		}
	}
	for route := range first.Routes() {
		r.Begin(Request{Route: route, Region: here})
	}
	if r.view.Load() != made {
		t.Error("a request changed what is known")
	}
	route, _ := second.Route("r0")
	r.Begin(Request{Route: route, Region: "westeurope"})
	if r.view.Load() == made {
		t.Error("the plan of another region was there before it was asked for")
	}
}

// A policy of as many routes as one may have comes into force, and each route is used once.
func BenchmarkAdvance(b *testing.B) {
	for _, n := range []int{500, 2000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			s := compile(b, manyRoutes(n))
			r := New(here)
			for b.Loop() {
				r.Advance(s)
				for route := range s.Routes() {
					r.Begin(Request{Route: route, Region: here})
				}
			}
		})
	}
}
