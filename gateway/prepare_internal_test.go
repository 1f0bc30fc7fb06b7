package gateway

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/geo"
)

// Up to the one swap that requests see, those of the policy before find all that
// they had and those of the new one would find all that they need; after it, what
// only the policy before needed goes.
func TestAPolicyIsReadyBeforeTheSwapAndTheOneBeforeUpToIt(t *testing.T) {
	const text = `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - {name: NAME, region: swedencentral, endpoint: "https://NAME.openai.azure.com", credential: {apiKeyEnv: KEY_UPPER},
     deployments: [{name: d, model: m, version: "1", sku: Standard}]}
routes: [{name: r, model: m, version: "1"}]
`
	t.Setenv("KEY_BEFORE", "0123456789abcdef0123456789abcdef")
	t.Setenv("KEY_AFTER", "fedcba9876543210fedcba9876543210")
	g := &gateway{cfg: Config{Boundary: "eu", Region: "swedencentral"}, log: zerolog.Nop()}
	g.registry, g.credentials = targets.New("swedencentral"), credential.New(credential.Config{Log: g.log})
	g.pools = upstream.New("eu", upstream.Dialer{})
	t.Cleanup(g.pools.Close)
	var seen []*policy.Snapshot
	check := func(when string, want ...string) {
		t.Helper()
		var known []string
		for _, s := range g.registry.Status(g.started) {
			known = append(known, s.Backend)
		}
		var served []string
		for _, s := range seen {
			for target := range s.Targets() {
				if _, err := g.credentials.Apply(target, http.Header{}); err == nil {
					served = append(served, target.Backend)
				}
			}
		}
		if strings.Join(known, " ") != strings.Join(want, " ") || len(served) != len(want) {
			t.Errorf("%s: targets %v, credentials for %v, want %v", when, known, served, want)
		}
	}
	g.follower = follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}}, Log: g.log,
		Prepare: func(s *policy.Snapshot) (retire func()) {
			seen = append(seen, s)
			done := g.prepare(s)
			if g.follower.Snapshot() == s {
				t.Error("requests see a policy that is not prepared")
			}
			if len(seen) == 2 {
				check("before the swap", "after", "before")
			}
			return func() {
				if g.follower.Snapshot() != s {
					t.Error("the policy before is retired while requests see it")
				}
				done()
			}
		},
	})
	file := filepath.Join(t.TempDir(), "policy.yaml")
	for i, name := range []string{"before", "after"} {
		if err := os.WriteFile(file, []byte(strings.NewReplacer("NAME", name, "UPPER", strings.ToUpper(name)).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.follower.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		check([]string{"the first", "after the swap"}[i], name)
	}
}
