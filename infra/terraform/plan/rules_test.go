package plan_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/terraform/plan"
)

func eu() plan.Boundary {
	return plan.Boundary{Locations: []string{"swedencentral", "francecentral"}, SKUs: []string{"Standard", "ProvisionedManaged"}}
}

func TestTheExampleKeepsTheRules(t *testing.T) {
	e := planned(t)
	for _, wrong := range plan.Check(eu(), e.All()...) {
		t.Error(wrong)
	}
	strict := eu()
	strict.PublicGateway = true
	for _, wrong := range plan.Check(strict, e.Strict().All()...) {
		t.Error("strict:", wrong)
	}
	// Otherwise a public stamp would pass for a private one.
	if wrong := plan.Check(eu(), e.Strict().All()...); len(wrong) != 2 {
		t.Errorf("the public addresses of the strict stamps: %q, want one for each region", wrong)
	}
}

// Each rule bites: the example, with one thing changed, breaks it.
func TestTheRulesBite(t *testing.T) {
	e := planned(t)
	set := func(kind, name string, value any) func(*plan.Plan) {
		return func(p *plan.Plan) {
			for _, r := range p.Of(kind) {
				r.Values[name] = value
				return
			}
		}
	}
	inBlock := func(kind, block, name string, value any) func(*plan.Plan) {
		return func(p *plan.Plan) {
			for _, r := range p.Of(kind) {
				for _, b := range r.Blocks(block) {
					b.Values[name] = value
					return
				}
			}
		}
	}
	without := func(address string) func(*plan.Plan) {
		match := regexp.MustCompile(address)
		return func(p *plan.Plan) {
			at := slices.IndexFunc(p.Resources, func(r plan.Resource) bool { return match.MatchString(r.Address) })
			if at >= 0 {
				p.Resources = slices.Delete(p.Resources, at, at+1)
			}
		}
	}
	allow := func(name string, value any) func(*plan.Plan) {
		return func(p *plan.Plan) {
			for _, r := range p.Of("azurerm_network_security_rule") {
				if r.Index == "endpoint/in-gateways" {
					r.Values[name] = value
					return
				}
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(*plan.Plan)
		want   string
	}{
		"a public instance":                {set("azurerm_cognitive_account", "public_network_access_enabled", true), "public_network_access_enabled"},
		"an instance that says nothing":    {set("azurerm_cognitive_account", "public_network_access_enabled", nil), "public_network_access_enabled"},
		"an instance with keys":            {set("azurerm_cognitive_account", "local_auth_enabled", true), "local_auth_enabled"},
		"an instance elsewhere":            {set("azurerm_cognitive_account", "location", "eastus"), "outside the boundary"},
		"a group elsewhere":                {set("azurerm_resource_group", "location", "uksouth"), "outside the boundary"},
		"a global SKU":                     {inBlock("azurerm_cognitive_deployment", "sku", "name", "GlobalStandard"), "GlobalStandard"},
		"a data zone SKU":                  {inBlock("azurerm_cognitive_deployment", "sku", "name", "DataZoneStandard"), "DataZoneStandard"},
		"a SKU that nobody knows yet":      {inBlock("azurerm_cognitive_deployment", "sku", "name", "Planetary"), "Planetary"},
		"a model that changes by itself":   {set("azurerm_cognitive_deployment", "version_upgrade_option", "OnceNewDefaultVersionAvailable"), "change by itself"},
		"a public vault":                   {set("azurerm_key_vault", "public_network_access_enabled", true), "public_network_access_enabled"},
		"a vault by access policies":       {set("azurerm_key_vault", "rbac_authorization_enabled", false), "rbac_authorization_enabled"},
		"public snapshots":                 {set("azurerm_storage_account", "public_network_access_enabled", true), "public_network_access_enabled"},
		"snapshots by key":                 {set("azurerm_storage_account", "shared_access_key_enabled", true), "shared_access_key_enabled"},
		"snapshots copied away":            {set("azurerm_storage_account", "account_replication_type", "GRS"), "paired region"},
		"a public database":                {set("azurerm_postgresql_flexible_server", "public_network_access_enabled", true), "public_network_access_enabled"},
		"a database with passwords":        {inBlock("azurerm_postgresql_flexible_server", "authentication", "password_auth_enabled", true), "passwords"},
		"backups copied away":              {set("azurerm_postgresql_flexible_server", "geo_redundant_backup_enabled", true), "paired region"},
		"logs by key":                      {set("azurerm_log_analytics_workspace", "local_authentication_enabled", true), "local_authentication_enabled"},
		"public metrics":                   {set("azurerm_monitor_workspace", "public_network_access_enabled", true), "public_network_access_enabled"},
		"public dashboards":                {set("azurerm_dashboard_grafana", "public_network_access_enabled", true), "public_network_access_enabled"},
		"passwords on machines":            {set("azurerm_linux_virtual_machine", "disable_password_authentication", false), "disable_password_authentication"},
		"a subnet with Azure's way out":    {set("azurerm_subnet", "default_outbound_access_enabled", true), "default_outbound_access_enabled"},
		"a public address":                 {set("azurerm_public_ip", "name", "pip-gateway"), "public address"},
		"two gateways":                     {set("azurerm_orchestrated_virtual_machine_scale_set", "instances", 2.0), "gateways"},
		"one zone":                         {set("azurerm_orchestrated_virtual_machine_scale_set", "zones", []any{"1"}), "zones"},
		"a public origin":                  {set("azurerm_cdn_frontdoor_origin", "private_link", []any{}), "public"},
		"an origin elsewhere":              {inBlock("azurerm_cdn_frontdoor_origin", "private_link", "location", "eastus"), "outside the boundary"},
		"an origin of any name":            {set("azurerm_cdn_frontdoor_origin", "certificate_name_check_enabled", false), "certificate"},
		"a WAF that only looks":            {set("azurerm_cdn_frontdoor_firewall_policy", "mode", "Detection"), "does not block"},
		"a probe of something else":        {inBlock("azurerm_cdn_frontdoor_origin_group", "health_probe", "path", "/"), "health"},
		"a role that sees keys":            {set("azurerm_role_assignment", "role_definition_name", "Cognitive Services Contributor"), "more than any part needs|other roles"},
		"a stamp without its role":         {without(`instance\["sgeu-aoai-swc-1"\].*role_assignment.gateway\["francecentral"\]`), "other roles"},
		"an instance without audit":        {without(`instance\["sgeu-aoai-swc-1"\].*diagnostic_setting`), "no audit log"},
		"a subnet without rules":           {without(`group_association.this\["policy"\]`), "no security group"},
		"a subnet that denies nothing":     {without(`rule.this\["database/in-deny-all"\]`), "not denied"},
		"a rule for every port":            {allow("destination_port_range", "*"), "more than one port"},
		"a rule for a range of ports":      {allow("destination_port_range", "1-65535"), "more than one port"},
		"a rule for SSH":                   {allow("destination_port_range", "22"), "sign in"},
		"a rule for everybody":             {allow("source_address_prefix", "*"), "everybody"},
		"a rule for the whole network":     {allow("source_address_prefix", "VirtualNetwork"), "everybody"},
		"a rule for every protocol":        {allow("protocol", "*"), "every protocol"},
		"an instance's endpoint elsewhere": {set("azurerm_private_endpoint", "subnet_id", "/subscriptions/s/subnets/snet-gateway"), "snet-gateway"},
		"endpoints whose rules are ignored": {func(p *plan.Plan) {
			for _, s := range p.Of("azurerm_subnet") {
				if s.Index == "endpoint" {
					s.Values["private_endpoint_network_policies"] = "Disabled"
				}
			}
		}, "ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			for _, original := range e.All() {
				p := clone(t, original)
				tc.change(p)
				for _, w := range plan.Check(eu(), p) {
					if !slices.ContainsFunc(strings.Split(tc.want, "|"), func(want string) bool { return strings.Contains(w, want) }) {
						t.Errorf("%q, want only what is about %q", w, tc.want)
					}
					found++
				}
			}
			if found == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

// clone copies a plan deeply.
func clone(t *testing.T, p *plan.Plan) *plan.Plan {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	out := new(plan.Plan)
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The countries of the example are those of its locations, as the product itself
// knows them.
func TestTheExamplesCountriesAreThoseOfItsLocations(t *testing.T) {
	text := read(t, root+"/infra/terraform/live/example-eu/boundary.tfvars")
	for _, location := range eu().Locations {
		r, ok := geo.Lookup(geo.RegionID(location))
		if !ok || !strings.Contains(text, `"`+string(r.Country)+`"`) {
			t.Errorf("%s is in %q, which boundary.countries does not name", location, r.Country)
		}
		if r.Zones < 3 {
			t.Errorf("%s has %d zones", location, r.Zones)
		}
	}
}

// A region's two states hold nothing of another region: an apply, or a mistake in
// one, stays there.
func TestARegionsStatesAreItsOwn(t *testing.T) {
	e := planned(t)
	for _, region := range eu().Locations {
		for _, p := range []*plan.Plan{e.Regions[region], e.Stamps[region]} {
			for _, wrong := range elsewhere(p, region) {
				t.Error(wrong)
			}
		}
	}
	if wrong := elsewhere(e.Regions["francecentral"], "swedencentral"); len(wrong) < 10 {
		t.Errorf("%d resources of France are not Sweden's, want all of them", len(wrong))
	}
	// The instances have their own groups, one for each region.
	groups := map[string]bool{}
	for _, g := range e.Instances.Of("azurerm_resource_group") {
		groups[g.Text("location")] = true
	}
	if len(groups) != 2 {
		t.Errorf("groups of instances in %v", groups)
	}
}

// elsewhere lists what is not in the region, or not in its resource group.
func elsewhere(p *plan.Plan, region string) []string {
	var wrong []string
	for _, r := range p.Resources {
		if at := r.Text("location"); at != "" && at != region {
			wrong = append(wrong, r.Address+" is in "+at)
		}
		if group := r.Text("resource_group_name"); group != "" && group != "rg-sgeu-"+region {
			wrong = append(wrong, r.Address+" is in the group "+group)
		}
	}
	return wrong
}
