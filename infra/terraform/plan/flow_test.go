package plan_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stampgate/stampgate/infra/terraform/plan"
)

// Who may talk to whom, decided by the rules as planned. What no line allows is
// denied: see TestNothingElsePasses.
func TestWhoMayTalkToWhom(t *testing.T) {
	e := planned(t)
	for _, tc := range []struct {
		from, to string
		port     int
		protocol string
		private  bool // behind Front Door
		strict   bool // behind Traffic Manager
	}{
		{"pls", "gateway", 8443, "Tcp", true, false},
		{"Internet", "gateway", 8443, "Tcp", false, true},
		{"AzureTrafficManager", "gateway", 8443, "Tcp", false, true},
		{"AzureLoadBalancer", "gateway", 8443, "Tcp", true, true},
		{"AzureFrontDoor.Backend", "gateway", 8443, "Tcp", false, true}, // an address of the Internet like any other
		{"gateway", "gateway", 7946, "Tcp", true, true},
		{"gateway", "gateway", 7946, "Udp", true, true},
		{"gateway", "endpoint", 443, "Tcp", true, true},
		{"gateway", "platform", 443, "Tcp", true, true},
		{"gateway", "policy", 2379, "Tcp", true, true},
		{"gateway", "other/policy", 2379, "Tcp", true, true},
		{"gateway", "database", 5432, "Tcp", true, true},
		{"gateway", "other/database", 5432, "Tcp", true, true},
		{"gateway", "AzureActiveDirectory", 443, "Tcp", true, true},
		{"gateway", "AzureMonitor", 443, "Tcp", true, true},
		{"policy", "policy", 2379, "Tcp", true, true},
		{"policy", "policy", 2380, "Tcp", true, true},
		{"policy", "other/policy", 2380, "Tcp", true, true},
		{"policy", "platform", 443, "Tcp", true, true},
		{"operators", "policy", 8444, "Tcp", true, true},
		{"operators", "platform", 443, "Tcp", true, true}, // Grafana, and the vaults that they fill

		// The boundary's own promise: nobody but a gateway reaches an instance.
		{"pls", "endpoint", 443, "Tcp", false, false},
		{"policy", "endpoint", 443, "Tcp", false, false},
		{"platform", "endpoint", 443, "Tcp", false, false},
		{"database", "endpoint", 443, "Tcp", false, false},
		{"other/gateway", "endpoint", 443, "Tcp", false, false},
		{"operators", "endpoint", 443, "Tcp", false, false},
		{"Internet", "endpoint", 443, "Tcp", false, false},
		{"gateway", "endpoint", 80, "Tcp", false, false},
		{"gateway", "endpoint", 443, "Udp", false, false},

		{"gateway", "Internet", 443, "Tcp", false, false},
		{"gateway", "AzureCloud", 443, "Tcp", false, false},
		{"gateway", "other/endpoint", 443, "Tcp", false, false},
		{"gateway", "other/gateway", 7946, "Udp", false, false}, // stamps do not gossip
		{"gateway", "policy", 2380, "Tcp", false, false},
		{"gateway", "policy", 8444, "Tcp", false, false},
		{"endpoint", "gateway", 8443, "Tcp", false, false},
		{"pls", "policy", 2379, "Tcp", false, false},
		{"Internet", "policy", 8444, "Tcp", false, false},
		{"operators", "policy", 2379, "Tcp", false, false},
		{"operators", "policy", 22, "Tcp", false, false},
		{"operators", "platform", 80, "Tcp", false, false},
		{"operators", "database", 5432, "Tcp", false, false},
		{"operators", "gateway", 22, "Tcp", false, false},
		{"Internet", "gateway", 22, "Tcp", false, false},
		{"Internet", "gateway", 9443, "Tcp", false, false},
		{"policy", "Internet", 443, "Tcp", false, false},
		{"Internet", "database", 5432, "Tcp", false, false},
	} {
		for name, variant := range map[string]struct {
			e    *plan.Example
			want bool
		}{"front door": {e, tc.private}, "traffic manager": {e.Strict(), tc.strict}} {
			t.Run(fmt.Sprintf("%s/%s to %s %d %s", name, tc.from, tc.to, tc.port, tc.protocol), func(t *testing.T) {
				n := networks(t, variant.e.Regions)
				f := plan.Flow{From: party(t, n, tc.from, 4), To: party(t, n, tc.to, 5), Port: tc.port, Protocol: tc.protocol}
				if got, why := n.Allows(f); got != variant.want {
					t.Errorf("allowed: %v (%s), want %v", got, why, variant.want)
				}
			})
		}
	}
}

func networks(t *testing.T, regions map[string]*plan.Plan) *plan.Networks {
	t.Helper()
	n, err := plan.ReadNetworks(regions)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// party is a subnet of Sweden, of the other region, operators, or a tag.
func party(t *testing.T, n *plan.Networks, name string, host int) plan.Party {
	t.Helper()
	if name == "operators" {
		return plan.Party{Address: netip.MustParseAddr("10.99.0.7")}
	}
	for _, try := range []struct{ region, prefix string }{{"swedencentral", ""}, {"francecentral", "other/"}} {
		if subnet, ok := cut(name, try.prefix); ok {
			if p, err := n.Party(try.region, subnet, host); err == nil {
				return p
			}
		}
	}
	return plan.Party{Tag: name}
}

func cut(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

// Every pair of subnets, every port that anything listens on: what the table
// above does not list does not pass. A new rule has to be written there.
func TestNothingElsePasses(t *testing.T) {
	allowed := map[string]bool{}
	for _, f := range []string{
		"pls gateway 8443 Tcp", "gateway gateway 7946 Tcp", "gateway gateway 7946 Udp", "gateway endpoint 443 Tcp",
		"gateway platform 443 Tcp", "gateway policy 2379 Tcp", "gateway database 5432 Tcp", "policy policy 2379 Tcp",
		"policy policy 2380 Tcp", "policy platform 443 Tcp", "policy database 5432 Tcp", "database database 5432 Tcp",
		"gateway other/policy 2379 Tcp", "gateway other/database 5432 Tcp", "policy other/policy 2379 Tcp",
		"policy other/policy 2380 Tcp", "policy other/database 5432 Tcp",
	} {
		allowed[f] = true
	}
	n := networks(t, planned(t).Regions)
	passed := 0
	for _, from := range n.Subnets("swedencentral") {
		for region, prefix := range map[string]string{"swedencentral": "", "francecentral": "other/"} {
			for _, to := range n.Subnets(region) {
				for _, port := range []int{22, 80, 443, 2379, 2380, 5432, 7946, 8080, 8443, 8444, 9443} {
					for _, protocol := range []string{"Tcp", "Udp"} {
						what := fmt.Sprintf("%s %s%s %d %s", from, prefix, to, port, protocol)
						f := plan.Flow{From: party(t, n, from, 4), To: party(t, n, prefix+to, 5), Port: port, Protocol: protocol}
						got, why := n.Allows(f)
						if got != allowed[what] {
							t.Errorf("%s: allowed %v (%s), want %v", what, got, why, allowed[what])
						}
						if got {
							passed++
						}
					}
				}
			}
		}
	}
	if passed != len(allowed) {
		t.Errorf("%d flows pass, want %d", passed, len(allowed))
	}
}

// Without a subnet's own rules Azure's defaults decide, and they are generous:
// the evaluation knows them, so that a missing deny shows.
func TestAzuresDefaultsAreKnown(t *testing.T) {
	e := planned(t)
	bare := clone(t, e.Regions["swedencentral"])
	var kept []plan.Resource
	for _, r := range bare.Resources {
		if r.Type != "azurerm_network_security_rule" {
			kept = append(kept, r)
		}
	}
	bare.Resources = kept
	n := networks(t, map[string]*plan.Plan{"swedencentral": bare})
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"database", "endpoint", true},
		{"gateway", "Internet", true},
		{"Internet", "gateway", false},
		{"AzureLoadBalancer", "policy", true},
	} {
		f := plan.Flow{From: party(t, n, tc.from, 4), To: party(t, n, tc.to, 5), Port: 443, Protocol: "Tcp"}
		if got, why := n.Allows(f); got != tc.want {
			t.Errorf("%s to %s: %v (%s), want %v", tc.from, tc.to, got, why, tc.want)
		}
	}
}

// The first rule that matches decides, whatever comes after it.
func TestPriorityDecides(t *testing.T) {
	p := clone(t, planned(t).Regions["swedencentral"])
	for _, r := range p.Of("azurerm_network_security_rule") {
		if r.Index == "endpoint/in-deny-all" {
			r.Values["priority"] = 99.0
		}
	}
	n := networks(t, map[string]*plan.Plan{"swedencentral": p})
	f := plan.Flow{From: party(t, n, "gateway", 4), To: party(t, n, "endpoint", 5), Port: 443, Protocol: "Tcp"}
	if got, why := n.Allows(f); got {
		t.Errorf("allowed by %s though a deny comes first", why)
	}
}
