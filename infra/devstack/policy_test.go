package devstack

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
)

func TestThePoliciesOfTheStackAreValidAndWithoutAWarning(t *testing.T) {
	c := Config{Dir: t.TempDir(), Boundaries: DefaultBoundaries()}
	if err := os.Mkdir(c.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, b := range layOut(c.Boundaries, DefaultPortBase).Boundaries {
		clients := clientsOf()
		for i := range clients {
			var err error
			if clients[i].Key, err = (secrets{c}).client(b.Name, clients[i].Name); err != nil {
				t.Fatal(err)
			}
			if own, ok := auth.ParseKey(clients[i].Key); !ok || own != b.Name {
				t.Errorf("a key of %s is for boundary %q", b.Name, own)
			}
		}
		source, err := policyOf(b, clients, secrets{c})
		if err != nil {
			t.Fatal(err)
		}
		doc, err := policy.Decode(source)
		if err != nil {
			t.Fatalf("%s:\n%v\n%s", b.Name, err, source)
		}
		faults, warnings := policy.Validate(doc, policy.Options{AllowLoopback: true})
		if len(faults)+len(warnings) > 0 {
			t.Errorf("%s: faults %v, warnings %v\n%s", b.Name, faults, warnings, source)
		}
		snap, err := policy.Compile(doc, policy.Options{AllowLoopback: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes() {
			route, ok := snap.Route(r.Name)
			if !ok {
				t.Fatalf("%s has no route %s", b.Name, r.Name)
			}
			for _, region := range b.Regions {
				tiers := route.Tiers(region)
				if len(tiers) < 2 || tiers[0].Passive || !tiers[len(tiers)-1].Passive {
					t.Errorf("%s in %s has %d tiers: want its own first and a passive one last", r.Name, region, len(tiers))
				}
			}
		}
		for _, secret := range []string{clients[0].Key, clients[1].Key} {
			if strings.Contains(string(source), secret) {
				t.Errorf("the policy of %s holds a client's key", b.Name)
			}
		}
	}
}

func TestSecretsAreTheirOwnersAloneAndStay(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	if err := os.Mkdir(c.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := secrets{c}
	first, err := s.value("x.key", random32)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.value("x.key", random32)
	if err != nil || again != first {
		t.Errorf("the second read gives %v, another value: %t", err, again != first)
	}
	info, err := os.Stat(filepath.Join(c.Dir, "keys", "x.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestChildrenDoNotSeeARealAzure(t *testing.T) {
	got := environment([]string{
		"PATH=/bin", "AZURE_CLIENT_SECRET=x", "IDENTITY_ENDPOINT=http://x", "HTTPS_PROXY=http://x", "OPENAI_API_KEY=x", "HOME=/root",
	}, "IDENTITY_ENDPOINT=http://127.0.0.1:1")
	want := []string{"PATH=/bin", "HOME=/root", "IDENTITY_ENDPOINT=http://127.0.0.1:1"}
	if !slices.Equal(got, want) {
		t.Errorf("environment = %v, want %v", got, want)
	}
}
