package devstack

import (
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

func TestNoTwoListenersOfAPlanShareAnAddress(t *testing.T) {
	regions := []geo.RegionID{"swedencentral", "westeurope", "francecentral", "eastus2", "westus3"}
	rapid.Check(t, func(t *rapid.T) {
		var boundaries []Boundary
		for _, name := range []geo.Boundary{"eu", "us", "ch"}[:rapid.IntRange(1, 3).Draw(t, "boundaries")] {
			boundaries = append(boundaries, Boundary{
				Name:             name,
				Regions:          rapid.Permutation(regions).Draw(t, "regions")[:rapid.IntRange(1, 5).Draw(t, "n")],
				GatewaysPerStamp: rapid.IntRange(1, 6).Draw(t, "gateways"),
			})
		}
		c := Config{Dir: "x", Boundaries: boundaries, PortBase: 18000}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, l := range layOut(boundaries, 18000).listeners() {
			if other := seen[l.addr]; other != "" {
				t.Fatalf("%s and %s both listen on %s", other, l.who, l.addr)
			}
			seen[l.addr] = l.who
			host, _, err := net.SplitHostPort(l.addr)
			if err != nil || !net.ParseIP(host).IsLoopback() {
				t.Fatalf("%s listens on %s, want a loopback address", l.who, l.addr)
			}
		}
	})
}

func TestTheDefaultStackIsThatOfTheDesign(t *testing.T) {
	p := layOut(DefaultBoundaries(), DefaultPortBase)
	var gateways, backends []string
	for _, b := range p.Boundaries {
		for _, g := range b.Gateways {
			gateways = append(gateways, g.Name)
		}
		for _, i := range b.Backends {
			backends = append(backends, i.Name)
		}
	}
	want := []string{
		"eu-swedencentral-1", "eu-swedencentral-2", "eu-swedencentral-3", "eu-westeurope-1", "eu-westeurope-2", "eu-westeurope-3",
		"us-eastus2-1", "us-eastus2-2", "us-westus3-1", "us-westus3-2",
	}
	if !reflect.DeepEqual(gateways, want) {
		t.Errorf("gateways %v, want %v", gateways, want)
	}
	want = []string{
		"eu-swedencentral-ptu", "eu-swedencentral-std", "eu-westeurope-ptu", "eu-westeurope-std",
		"us-eastus2-ptu", "us-eastus2-std", "us-westus3-ptu", "us-westus3-std",
	}
	if !reflect.DeepEqual(backends, want) {
		t.Errorf("backends %v, want %v", backends, want)
	}
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	c := Config{PortBase: 80, Boundaries: []Boundary{
		{Name: "EU", Regions: []geo.RegionID{"atlantis"}, GatewaysPerStamp: 1},
		{Name: "us", Regions: []geo.RegionID{"eastus2", "eastus2"}, GatewaysPerStamp: 0},
		{Name: "us", GatewaysPerStamp: 100},
		{Name: "many", Regions: []geo.RegionID{"eastus2"}, GatewaysPerStamp: 100},
	}}
	err := c.Validate()
	if _, ok := errors.AsType[*ConfigError](err); !ok {
		t.Fatalf("Validate = %v, want a *ConfigError", err)
	}
	for _, want := range []string{
		"--dir", `boundary "EU"`, `"atlantis" is not a region`, "region eastus2 is named twice", "0 gateways per stamp",
		"us is asked for twice", "us has no region", "101 gateways, want at most 99", "--ports 80",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %q:\n%v", want, err)
		}
	}
}

func TestEveryRegionStandsInForTheOthersBeginningWithTheNext(t *testing.T) {
	got := stampsOf([]geo.RegionID{"a", "b", "c"})
	want := []stampPlan{
		{"a", []geo.RegionID{"b", "c"}},
		{"b", []geo.RegionID{"c", "a"}},
		{"c", []geo.RegionID{"a", "b"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("stampsOf = %v, want %v", got, want)
	}
}
