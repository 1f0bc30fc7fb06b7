package geo

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PortNumber returns the port to dial.
func (t Target) PortNumber() (uint16, error) {
	n, err := strconv.ParseUint(t.port, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q of %s is not a port number", t.port, t.host)
	}
	return uint16(n), nil
}

// SameEndpoint reports whether a connection dialled for t may carry requests
// for u as well: same fence rules, same place, same name, same addresses.
func (t Target) SameEndpoint(u Target) bool {
	return t.Valid() && u.Valid() && t.Boundary() == u.Boundary() &&
		t.scheme == u.scheme && strings.EqualFold(t.host, u.host) && t.port == u.port &&
		t.fence.residency.RequirePrivateAddresses == u.fence.residency.RequirePrivateAddresses &&
		t.fence.residency.AllowLoopback == u.fence.residency.AllowLoopback &&
		slices.Equal(t.addresses, u.addresses)
}

// Covers reports whether everything that may be dialled for u may be dialled for
// t as well: what runs on u may go on where t has come in its place. Unlike
// SameEndpoint it lets t be wider.
func (t Target) Covers(u Target) bool {
	if !t.Valid() || !u.Valid() || t.Boundary() != u.Boundary() || t.Origin() != u.Origin() || t.deployment != u.deployment {
		return false
	}
	if t.fence.residency.AllowLoopback != u.fence.residency.AllowLoopback && isLoopbackHost(t.host) {
		return false
	}
	if len(t.addresses) == 0 {
		return !t.fence.residency.RequirePrivateAddresses || isLoopbackHost(t.host)
	}
	for _, was := range u.addresses {
		if !slices.ContainsFunc(t.addresses, func(is netip.Prefix) bool { return is.Bits() <= was.Bits() && is.Contains(was.Addr()) }) {
			return false
		}
	}
	return len(u.addresses) > 0
}
