package geo

import (
	"fmt"
	"net/netip"
)

// CheckAddr decides, at the moment of dialling, whether an address that the
// host name resolved to may be reached. A name server that lies about a backend
// must not be able to lead a request out of the declared ranges, nor to this
// machine or to a metadata service.
func (t Target) CheckAddr(addr netip.Addr) error {
	if t.fence == nil {
		return fmt.Errorf("address %s: the target was not admitted by a fence", addr)
	}
	addr = addr.Unmap()
	if isLoopbackHost(t.host) { // admitted only where AllowLoopback is set
		if !addr.IsLoopback() {
			return fmt.Errorf("%s resolves to %s, which is not on this machine", t.host, addr)
		}
		return nil
	}
	if why := forbidden(addr); why != "" {
		return fmt.Errorf("%s resolves to %s, which %s", t.host, addr, why)
	}
	if len(t.addresses) == 0 && !t.fence.residency.RequirePrivateAddresses {
		return nil
	}
	for _, p := range t.addresses {
		if p.Contains(addr) {
			return nil
		}
	}
	return fmt.Errorf("%s resolves to %s, outside the backend's declared addresses", t.host, addr)
}

// forbidden says why an address may never be dialled for a backend, whatever
// was declared; "" if it may. The address is not an IPv4-mapped one.
func forbidden(addr netip.Addr) string {
	switch {
	case addr.IsLoopback():
		return "is on this machine"
	case addr.Zone() != "":
		return "is valid on one network interface only"
	case !addr.IsGlobalUnicast(): // link-local (metadata services), multicast, unspecified, broadcast
		return "is not a global unicast address"
	case addr == netip.AddrFrom4([4]byte{168, 63, 129, 16}):
		return "is the host of an Azure machine (its metadata and health channel)"
	}
	for _, special := range specialRanges() {
		if special.prefix.Contains(addr) {
			return special.what
		}
	}
	return ""
}

type specialRange struct {
	prefix netip.Prefix
	what   string
}

// specialRanges are the ranges of IANA's special-purpose registries that look
// like ordinary unicast but lead elsewhere: those that carry an IPv4 address
// inside could smuggle in one that is forbidden.
func specialRanges() [8]specialRange {
	v4 := func(a byte, bits int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{a}), bits) }
	v6 := func(a, b, c, d, f byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b, c, d, 0, f}), bits)
	}
	const embeds = "carries an IPv4 address inside (a transition mechanism): give the host an address of its own"
	return [...]specialRange{
		{v4(0, 8), "means this network (0.0.0.0/8)"},
		{v4(240, 4), "is reserved (240.0.0.0/4)"},
		{v6(0, 0, 0, 0, 0, 96), embeds},                                                 // IPv4-compatible, ::/96
		{v6(0, 0x64, 0xff, 0x9b, 0, 96), embeds},                                        // NAT64, 64:ff9b::/96
		{v6(0, 0x64, 0xff, 0x9b, 1, 48), embeds},                                        // local NAT64, 64:ff9b:1::/48
		{v6(0x20, 0x01, 0, 0, 0, 32), embeds},                                           // Teredo, 2001::/32
		{v6(0x20, 0x02, 0, 0, 0, 16), embeds},                                           // 6to4, 2002::/16
		{v6(0xfe, 0xc0, 0, 0, 0, 10), "is a site-local address, withdrawn by RFC 3879"}, // fec0::/10
	}
}

// The widest ranges that a backend may declare. A wider one guards nothing:
// 0.0.0.0/0 would undo RequirePrivateAddresses.
const (
	widestIPv4  = 8  // 10.0.0.0/8
	widestIPv6  = 16 // wide enough for any site
	widestLocal = 7  // fc00::/7, the unique local addresses
)

// checkPrefixes holds each declared range against what CheckAddr could ever
// allow: a range that is never matched is a mistake to be told.
func (f *Fence) checkPrefixes(prefixes []netip.Prefix) []error {
	var errs []error
	for i, p := range prefixes {
		if why := f.prefixFault(p); why != "" {
			errs = append(errs, &SiteError{fmt.Sprintf("addresses[%d]", i), why})
		}
	}
	return errs
}

func (f *Fence) prefixFault(p netip.Prefix) string {
	if !p.IsValid() {
		return "is not an address range: want one such as 10.20.0.0/24"
	}
	addr := p.Addr()
	widest := widestIPv4
	if addr.Is6() {
		widest = widestIPv6
		if netip.MustParsePrefix("fc00::/7").Contains(addr) {
			widest = widestLocal
		}
	}
	switch {
	case addr.Is4In6():
		return fmt.Sprintf("%s is an IPv4 range in IPv6 form: write it as IPv4", p)
	case addr.IsLoopback() && f.residency.AllowLoopback:
		return ""
	case p.Bits() < widest:
		return fmt.Sprintf("%s is wider than /%d, so it guards nothing: name the network of the private endpoint", p, widest)
	}
	if why := forbidden(p.Masked().Addr()); why != "" {
		return fmt.Sprintf("%s %s: remove it", p, why)
	}
	return ""
}
