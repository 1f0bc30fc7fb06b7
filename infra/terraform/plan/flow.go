package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Flow is one connection that somebody may want to make.
type Flow struct {
	From, To Party
	Port     int
	Protocol string // Tcp or Udp
}

// A Party is an address, with the subnet that it is in, or a service tag that
// stands for addresses of Azure's or the Internet's.
type Party struct {
	Region, Subnet string // empty: not in a network of the boundary
	Address        netip.Addr
	Tag            string
}

// String names the party as a table would.
func (p Party) String() string {
	switch {
	case p.Tag != "":
		return p.Tag
	case p.Subnet == "":
		return p.Address.String()
	}
	return p.Region + "/" + p.Subnet
}

// Networks are the network security rules of a boundary's regions, as planned.
type Networks struct {
	regions map[string]*network
}

type network struct {
	subnets map[string]netip.Prefix
	groups  map[string]string // subnet → its security group, by key
	rules   map[string][]Rule // group → rules, the first that matches decides
}

// A Rule lets a connection pass, or not. From and To hold address ranges, service
// tags or *; Port is one port or *.
type Rule struct {
	Name     string
	Allow    bool
	Protocol string // Tcp, Udp or *
	From, To []string
	Port     string

	priority int
	inbound  bool
}

// ReadNetworks takes the rules of every region from its plan.
func ReadNetworks(regions map[string]*Plan) (*Networks, error) {
	all := &Networks{regions: map[string]*network{}}
	for name, p := range regions {
		n := &network{subnets: map[string]netip.Prefix{}, groups: map[string]string{}, rules: map[string][]Rule{}}
		for _, s := range p.Of("azurerm_subnet") {
			prefixes := s.Texts("address_prefixes")
			if len(prefixes) != 1 {
				return nil, fmt.Errorf("%s: %d address ranges, want one", s.Address, len(prefixes))
			}
			prefix, err := netip.ParsePrefix(prefixes[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Address, err)
			}
			n.subnets[s.Index] = prefix
		}
		for _, a := range p.Of("azurerm_subnet_network_security_group_association") {
			n.groups[a.Index] = a.Index // our modules give the three the same key
		}
		for _, r := range p.Of("azurerm_network_security_rule") {
			group, _, _ := strings.Cut(r.Index, "/")
			parsed, err := readRule(r)
			if err != nil {
				return nil, err
			}
			n.rules[group] = append(n.rules[group], parsed)
		}
		for _, rules := range n.rules {
			slices.SortFunc(rules, func(a, b Rule) int { return cmp.Compare(a.priority, b.priority) })
		}
		all.regions[name] = n
	}
	return all, nil
}

func readRule(r Resource) (Rule, error) {
	priority, ok := r.Values["priority"].(float64)
	if !ok {
		return Rule{}, fmt.Errorf("%s: its priority is not known", r.Address)
	}
	out := Rule{
		Name: r.Text("name"), Allow: r.Is("access", "Allow"), Protocol: r.Text("protocol"), Port: r.Text("destination_port_range"),
		From: either(r, "source_address_prefix"), To: either(r, "destination_address_prefix"),
		priority: int(priority), inbound: r.Is("direction", "Inbound"),
	}
	if len(out.From) == 0 || len(out.To) == 0 || out.Port == "" || !r.Is("source_port_range", "*") {
		return Rule{}, fmt.Errorf("%s: from %v to %v port %q source port %q cannot be judged",
			r.Address, out.From, out.To, out.Port, r.Text("source_port_range"))
	}
	return out, nil
}

func either(r Resource, name string) []string {
	if one := r.Text(name); one != "" {
		return []string{one}
	}
	return r.Texts(name + "es")
}

// Party returns the n-th address of a subnet.
func (n *Networks) Party(region, subnet string, host int) (Party, error) {
	prefix, ok := n.Subnet(region, subnet)
	if !ok {
		return Party{}, fmt.Errorf("no subnet %s in %q", subnet, region)
	}
	addr := prefix.Addr()
	for range host {
		addr = addr.Next()
	}
	if !prefix.Contains(addr) {
		return Party{}, fmt.Errorf("%s/%s has no address %d", region, subnet, host)
	}
	return Party{Region: region, Subnet: subnet, Address: addr}, nil
}

// Subnet is the range of one.
func (n *Networks) Subnet(region, subnet string) (netip.Prefix, bool) {
	if n.regions[region] == nil {
		return netip.Prefix{}, false
	}
	prefix, ok := n.regions[region].subnets[subnet]
	return prefix, ok
}

// Subnets are the names of a region's.
func (n *Networks) Subnets(region string) []string {
	var all []string
	for name := range n.regions[region].subnets {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Allows says whether the flow passes, as Azure decides it: the rules of the
// sender's subnet for what goes out, then those of the receiver's for what comes
// in, the lowest priority first, and Azure's own defaults after ours. The reason
// names the rule that decided.
func (n *Networks) Allows(f Flow) (allowed bool, reason string) {
	reason = f.From.String() + " has no rules of ours"
	if f.From.Subnet != "" {
		if allowed, reason = n.decide(f.From, f, false); !allowed {
			return false, reason
		}
	}
	if f.To.Subnet != "" {
		return n.decide(f.To, f, true)
	}
	return true, reason
}

// Rules are those of one direction of a subnet in the order in which they are
// tried, Azure's defaults last. The first that matches decides.
func (n *Networks) Rules(region, subnet string, inbound bool) []Rule {
	r := n.regions[region]
	var some []Rule
	for _, rule := range slices.Concat(r.rules[r.groups[subnet]], defaults(inbound)) {
		if rule.inbound == inbound {
			some = append(some, rule)
		}
	}
	return some
}

func (n *Networks) decide(where Party, f Flow, inbound bool) (allowed bool, reason string) {
	for _, r := range n.Rules(where.Region, where.Subnet, inbound) {
		if n.matches(r, f) {
			return r.Allow, where.String() + ": " + r.Name
		}
	}
	return false, where.String() + ": no rule" // the defaults leave nothing over
}

// defaults are the rules that Azure appends to every security group.
func defaults(inbound bool) []Rule {
	any, network := []string{"*"}, []string{"VirtualNetwork"}
	if inbound {
		return []Rule{
			{Name: "AllowVnetInBound", inbound: true, Allow: true, Protocol: "*", From: network, To: network, Port: "*"},
			{Name: "AllowAzureLoadBalancerInBound", inbound: true, Allow: true, Protocol: "*", From: []string{"AzureLoadBalancer"}, To: any, Port: "*"},
			{Name: "DenyAllInBound", inbound: true, Protocol: "*", From: any, To: any, Port: "*"},
		}
	}
	return []Rule{
		{Name: "AllowVnetOutBound", Allow: true, Protocol: "*", From: network, To: network, Port: "*"},
		{Name: "AllowInternetOutBound", Allow: true, Protocol: "*", From: any, To: []string{"Internet"}, Port: "*"},
		{Name: "DenyAllOutBound", Protocol: "*", From: any, To: any, Port: "*"},
	}
}

func (n *Networks) matches(r Rule, f Flow) bool {
	return (r.Protocol == "*" || r.Protocol == f.Protocol) &&
		(r.Port == "*" || r.Port == strconv.Itoa(f.Port)) &&
		n.covers(r.From, f.From) && n.covers(r.To, f.To)
}

// covers reports whether a list of ranges and tags means the party. The tag
// VirtualNetwork means the peered networks too: all of the boundary.
func (n *Networks) covers(list []string, p Party) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		switch {
		case entry == "*":
			return true
		case p.Tag != "":
			// Tags of Azure's own services are addresses of the Internet as well.
			return entry == p.Tag || entry == "Internet" && p.Tag != "AzureLoadBalancer"
		case entry == "VirtualNetwork":
			return p.Subnet != ""
		case entry == "Internet":
			return p.Subnet == "" && !p.Address.IsPrivate()
		}
		prefix, err := netip.ParsePrefix(entry)
		return err == nil && prefix.Contains(p.Address)
	})
}
