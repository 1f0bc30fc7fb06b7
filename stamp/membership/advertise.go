package membership

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// advertised decides which address peers are told to reach us at. A wrong one
// makes a gateway flap, joining by its own messages and dying by the answers
// that never come, so it is checked before the first message. ours are this
// machine's addresses. The warning is for the operator; it stops nothing.
func advertised(listen netip.AddrPort, advertise string, ours []netip.Addr) (addr netip.AddrPort, warning string, err error) {
	if advertise == "" {
		return found(listen, ours)
	}
	addr, err = netip.ParseAddrPort(advertise)
	if err != nil {
		ip, iperr := netip.ParseAddr(advertise)
		if iperr != nil {
			return addr, "", fmt.Errorf("advertise = %q, want address or address:port", advertise)
		}
		addr = netip.AddrPortFrom(ip, listen.Port())
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	switch {
	case addr.Addr().IsUnspecified():
		return addr, "", fmt.Errorf("advertise = %q is no address that peers could reach: give this machine's own", advertise)
	case addr.Addr().IsMulticast() || addr.Addr().Zone() != "":
		return addr, "", fmt.Errorf("advertise = %q, want the address of one machine, without a zone", advertise)
	case addr.Port() == 0:
		return addr, "", fmt.Errorf("advertise = %q has no port, and listen has none either", advertise)
	case !slices.Contains(ours, addr.Addr()):
		warning = fmt.Sprintf("advertise = %s is not an address of this machine: right behind address translation, wrong otherwise", addr)
	case addr.Addr().IsLoopback() && !listen.Addr().IsLoopback():
		warning = fmt.Sprintf("advertise = %s is reachable from this machine only", addr)
	}
	return addr, warning, nil
}

// found picks an address where the configuration names none.
func found(listen netip.AddrPort, ours []netip.Addr) (netip.AddrPort, string, error) {
	if !listen.Addr().IsUnspecified() {
		return listen, "", nil
	}
	fits := slices.DeleteFunc(slices.Clone(ours), func(a netip.Addr) bool {
		// A listener on 0.0.0.0 takes no IPv6.
		return !a.IsGlobalUnicast() || !a.IsPrivate() || listen.Addr().Is4() && !a.Is4()
	})
	slices.SortFunc(fits, func(a, b netip.Addr) int { // IPv4 first, then by value: the same at each start
		return a.Compare(b)
	})
	if len(fits) == 0 {
		return netip.AddrPort{}, "", errors.New("advertise is missing, and this machine has no private address to take: name the address that peers reach it at")
	}
	warning := ""
	if len(fits) > 1 {
		warning = fmt.Sprintf("advertise is missing and this machine has %d private addresses: taking %s", len(fits), fits[0])
	}
	return netip.AddrPortFrom(fits[0], listen.Port()), warning, nil
}

// machineAddrs returns the addresses of this machine.
func machineAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, nil
}
