package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Boundary is what plans are judged against.
type Boundary struct {
	Locations     []string
	SKUs          []string // of deployments
	PublicGateway bool     // behind Traffic Manager a stamp has a public address
}

// Check reports what in the plans of a boundary breaks its rules.
func Check(b Boundary, plans ...*Plan) []string {
	var wrong []string
	var all Plan
	for _, p := range plans {
		all.Resources = append(all.Resources, p.Resources...)
	}
	for _, r := range all.Resources {
		for _, check := range []func(Boundary, Resource) string{closed, keyless, inside, sku, openRule, spread, privateOrigin, role} {
			if why := check(b, r); why != "" {
				wrong = append(wrong, r.Address+": "+why)
			}
		}
	}
	return append(wrong, all.together()...)
}

// settings are attributes that must be known and exactly so: left out, Azure's
// default would decide.
func settings(table map[string]map[string]any, r Resource) string {
	for _, name := range slices.Sorted(maps.Keys(table[r.Type])) {
		if want := table[r.Type][name]; !r.Is(name, want) {
			return fmt.Sprintf("%s = %v, want %v", name, r.Values[name], want)
		}
	}
	return ""
}

// closed: nothing can be reached from the Internet, but the addresses that NAT
// gateways go out by, and a stamp behind Traffic Manager.
func closed(b Boundary, r Resource) string {
	switch r.Type {
	case "azurerm_public_ip":
		if name := r.Text("name"); !strings.HasSuffix(name, "-nat") && (!b.PublicGateway || !strings.HasSuffix(name, "-edge")) {
			return "a public address that is no way out"
		}
	case "azurerm_network_interface", "azurerm_orchestrated_virtual_machine_scale_set":
		for _, nic := range append(r.Blocks("network_interface"), r) {
			for _, ip := range nic.Blocks("ip_configuration") {
				if ip.Text("public_ip_address_id") != "" || len(ip.Blocks("public_ip_address")) > 0 {
					return "a machine with a public address"
				}
			}
		}
	case "azurerm_subnet":
		if (r.Index == "endpoint" || r.Index == "platform") && !r.Is("private_endpoint_network_policies", "Enabled") {
			return "private_endpoint_network_policies is not Enabled: its rules would be ignored"
		}
	}
	off := map[string]any{"public_network_access_enabled": false}
	return settings(map[string]map[string]any{
		"azurerm_cognitive_account":          off,
		"azurerm_key_vault":                  off,
		"azurerm_storage_account":            {"public_network_access_enabled": false, "allow_nested_items_to_be_public": false},
		"azurerm_storage_container":          {"container_access_type": "private"},
		"azurerm_postgresql_flexible_server": off,
		"azurerm_monitor_workspace":          off,
		"azurerm_dashboard_grafana":          off,
		"azurerm_managed_disk":               off,
		"azurerm_subnet":                     {"default_outbound_access_enabled": false},
	}, r)
}

// keyless: nothing is opened by a key or a password.
func keyless(_ Boundary, r Resource) string {
	if r.Type == "azurerm_postgresql_flexible_server" {
		for _, a := range r.Blocks("authentication") {
			if a.Is("password_auth_enabled", false) && a.Is("active_directory_auth_enabled", true) {
				return ""
			}
		}
		return "it takes passwords"
	}
	return settings(map[string]map[string]any{
		"azurerm_cognitive_account":       {"local_auth_enabled": false},
		"azurerm_key_vault":               {"rbac_authorization_enabled": true, "purge_protection_enabled": true},
		"azurerm_storage_account":         {"shared_access_key_enabled": false, "local_user_enabled": false},
		"azurerm_log_analytics_workspace": {"local_authentication_enabled": false},
		"azurerm_dashboard_grafana":       {"api_key_enabled": false},
		"azurerm_linux_virtual_machine":   {"disable_password_authentication": true},
	}, r)
}

// inside: everything that has a place has it in the boundary. Private endpoints
// of Front Door's origins name theirs too.
func inside(b Boundary, r Resource) string {
	places := []string{r.Text("location"), r.Text("endpoint_location")}
	for _, origin := range r.Blocks("private_link") {
		places = append(places, origin.Text("location"))
	}
	for _, place := range places {
		if place != "" && place != "global" && !slices.Contains(b.Locations, place) {
			return place + " is outside the boundary"
		}
	}
	if r.Is("geo_redundant_backup_enabled", true) {
		return "its backups go to a paired region, wherever that is"
	}
	if kind := r.Text("account_replication_type"); kind != "" && kind != "LRS" && kind != "ZRS" {
		return kind + " copies to a paired region, wherever that is"
	}
	return ""
}

// sku: a deployment's SKU says where prompts are processed.
func sku(b Boundary, r Resource) string {
	if r.Type != "azurerm_cognitive_deployment" {
		return ""
	}
	for _, s := range r.Blocks("sku") {
		if !slices.Contains(b.SKUs, s.Text("name")) {
			return fmt.Sprintf("SKU %s is processed outside the boundary", s.Text("name"))
		}
	}
	if !r.Is("version_upgrade_option", "NoAutoUpgrade") {
		return "its model would change by itself"
	}
	return ""
}

// openRule: what is allowed names who, to where and to which port; nobody signs
// in to machines.
func openRule(_ Boundary, r Resource) string {
	if r.Type != "azurerm_network_security_rule" || !r.Is("access", "Allow") {
		return ""
	}
	port, from, to := r.Text("destination_port_range"), either(r, "source_address_prefix"), either(r, "destination_address_prefix")
	switch {
	case port == "*" || strings.Contains(port, "-"):
		return "it allows more than one port"
	case port == "22" || port == "3389":
		return "it lets people sign in to machines"
	case slices.Contains(from, "*") || slices.Contains(to, "*") || slices.Contains(from, "VirtualNetwork") || slices.Contains(to, "VirtualNetwork"):
		return "it allows everybody"
	case r.Is("protocol", "*"):
		return "it allows every protocol"
	}
	return ""
}

// spread: a stamp survives a zone and a replacement.
func spread(_ Boundary, r Resource) string {
	if r.Type != "azurerm_orchestrated_virtual_machine_scale_set" {
		return ""
	}
	if n, _ := r.Values["instances"].(float64); n < 3 {
		return fmt.Sprintf("%v gateways, want 3 or more", n)
	}
	if zones := r.Texts("zones"); len(zones) < 2 {
		return fmt.Sprintf("%d zones, want 2 or more", len(zones))
	}
	return ""
}

// privateOrigin: Front Door comes over Private Link, behind a WAF that blocks.
func privateOrigin(_ Boundary, r Resource) string {
	switch r.Type {
	case "azurerm_cdn_frontdoor_origin":
		if len(r.Blocks("private_link")) != 1 {
			return "the origin is public"
		}
		if !r.Is("certificate_name_check_enabled", true) {
			return "the origin's certificate is not checked"
		}
	case "azurerm_cdn_frontdoor_firewall_policy":
		if !r.Is("mode", "Prevention") || !r.Is("enabled", true) {
			return "the WAF does not block"
		}
	case "azurerm_traffic_manager_profile":
		for _, m := range r.Blocks("monitor_config") {
			if !m.Is("path", "/health/stamp") || !m.Is("protocol", "HTTPS") {
				return "it does not ask the stamp for its health over TLS"
			}
		}
	case "azurerm_cdn_frontdoor_origin_group":
		for _, probe := range r.Blocks("health_probe") {
			if !probe.Is("path", "/health/stamp") || !probe.Is("protocol", "Https") {
				return "it does not ask the stamp for its health over TLS"
			}
		}
	}
	return ""
}

// role: the roles that our identities need, none of which reads keys or changes
// anything that matters.
func role(_ Boundary, r Resource) string {
	needed := []string{
		"Cognitive Services OpenAI User", "Key Vault Secrets User", "Monitoring Metrics Publisher",
		"Monitoring Data Reader", "Grafana Viewer", "Storage Blob Data Contributor",
	}
	if r.Type == "azurerm_role_assignment" && !slices.Contains(needed, r.Text("role_definition_name")) {
		return fmt.Sprintf("role %q is more than any part needs", r.Text("role_definition_name"))
	}
	return ""
}

// together are the rules about several resources.
func (p *Plan) together() []string {
	return slices.Concat(p.unguarded(), p.misplaced(), p.unequal(), p.unaudited())
}

// unguarded: every subnet has its security group, and each group ends by denying.
func (p *Plan) unguarded() []string {
	var wrong []string
	guarded, denied := map[string]bool{}, map[string]bool{}
	for _, a := range p.Of("azurerm_subnet_network_security_group_association") {
		guarded[module(a)+a.Index] = true
	}
	for _, r := range p.Of("azurerm_network_security_rule") {
		priority, _ := r.Values["priority"].(float64)
		if r.Is("access", "Deny") && r.Is("protocol", "*") && r.Is("source_address_prefix", "*") &&
			r.Is("destination_address_prefix", "*") && r.Is("destination_port_range", "*") && priority == 4096 {
			group, _, _ := strings.Cut(r.Index, "/")
			denied[module(r)+group+r.Text("direction")] = true
		}
	}
	for _, s := range p.Of("azurerm_subnet") {
		at := module(s) + s.Index
		if !guarded[at] {
			wrong = append(wrong, s.Address+": no security group")
		}
		if !denied[at+"Inbound"] || !denied[at+"Outbound"] {
			wrong = append(wrong, s.Address+": what no rule allows is not denied")
		}
	}
	return wrong
}

func module(r Resource) string { return r.Address[:strings.LastIndex(r.Address, r.Type)] }

// misplaced: the instances' endpoints are in the one subnet that only gateways
// reach, and nothing else is.
func (p *Plan) misplaced() []string {
	var wrong []string
	for _, e := range p.Of("azurerm_private_endpoint") {
		subnet := e.Text("subnet_id")
		if subnet == "" {
			continue // not known before the subnet exists
		}
		for _, c := range e.Blocks("private_service_connection") {
			instance := slices.Contains(c.Texts("subresource_names"), "account")
			if instance != strings.HasSuffix(subnet, "/snet-endpoint") {
				wrong = append(wrong, fmt.Sprintf("%s: an endpoint of %v in %s", e.Address, c.Texts("subresource_names"), subnet[strings.LastIndex(subnet, "/")+1:]))
			}
		}
	}
	return wrong
}

// unequal: the stamps have the same roles on every instance, or a fallback would
// fail where one is missing.
func (p *Plan) unequal() []string {
	on := map[string][]string{} // instance → role and principal
	for _, a := range p.Of("azurerm_cognitive_account") {
		on[module(a)] = nil
	}
	for _, r := range p.Of("azurerm_role_assignment") {
		if _, instance := on[module(r)]; instance && strings.Contains(r.Address, ".gateway[") {
			on[module(r)] = append(on[module(r)], r.Text("role_definition_name")+" "+r.Text("principal_id"))
		}
	}
	var wrong []string
	first := ""
	for _, at := range slices.Sorted(maps.Keys(on)) {
		slices.Sort(on[at])
		roles := cmp.Or(strings.Join(on[at], ", "), "none")
		if first == "" {
			first = roles
		}
		if roles != first || roles == "none" {
			wrong = append(wrong, fmt.Sprintf("%s: the stamps have other roles here than on the first instance, or none", strings.TrimSuffix(at, ".")))
		}
	}
	return wrong
}

// unaudited: who called an instance, and what came of it, is kept.
func (p *Plan) unaudited() []string {
	audited := map[string]bool{}
	for _, d := range p.Of("azurerm_monitor_diagnostic_setting") {
		var logs []string
		for _, l := range d.Blocks("enabled_log") {
			logs = append(logs, l.Text("category"))
		}
		audited[module(d)] = slices.Contains(logs, "Audit") && slices.Contains(logs, "RequestResponse")
	}
	var wrong []string
	for _, a := range p.Of("azurerm_cognitive_account") {
		if !audited[module(a)] {
			wrong = append(wrong, a.Address+": no audit log")
		}
	}
	return wrong
}
