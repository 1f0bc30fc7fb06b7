package geo

import (
	"fmt"
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
