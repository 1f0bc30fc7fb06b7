package geo

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// A Target is a place that may be dialled for one boundary. Its fields are set
// only by Fence.Admit, so holding one is proof that the fence was asked; the
// zero value is refused by every dialer.
type Target struct {
	fence      *Fence
	region     RegionID
	country    Country
	sku        SKU
	deployment string
	scheme     string
	host       string // lower case is not forced: TLS and DNS compare without case
	port       string
	addresses  []netip.Prefix
}

// Valid reports whether a fence admitted the target.
func (t Target) Valid() bool { return t.fence != nil }

// Boundary returns the boundary whose fence admitted the target, "" for the
// zero Target.
func (t Target) Boundary() Boundary {
	if t.fence == nil {
		return ""
	}
	return t.fence.Boundary()
}

// Region returns where the target stands.
func (t Target) Region() RegionID { return t.region }

// Country returns the country of the target's region.
func (t Target) Country() Country { return t.country }

// SKU returns the deployment type, "" for a server that is not Azure's.
func (t Target) SKU() SKU { return t.sku }

// Deployment returns the name of the deployment on the backend.
func (t Target) Deployment() string { return t.deployment }

// Host returns the host name, without the port.
func (t Target) Host() string { return t.host }

// HostPort returns host:port, as a dialer wants it.
func (t Target) HostPort() string { return net.JoinHostPort(t.host, t.port) }

// TLS reports whether the target is spoken to over TLS. Only a loopback target
// is not.
func (t Target) TLS() bool { return t.scheme == "https" }

// Origin returns scheme://host[:port], the port left out where it is the
// scheme's own. Health state is kept by origin and deployment.
func (t Target) Origin() string {
	if (t.scheme == "https" && t.port == "443") || (t.scheme == "http" && t.port == "80") {
		return t.scheme + "://" + strings.ToLower(t.bracketed())
	}
	return t.scheme + "://" + strings.ToLower(t.HostPort())
}

func (t Target) bracketed() string {
	if strings.Contains(t.host, ":") {
		return "[" + t.host + "]"
	}
	return t.host
}

// CheckAddr decides, at the moment of dialling, whether an address that the
// host name resolved to may be reached. A name server that lies about a backend
// must not be able to lead a request out of the declared ranges, nor to this
// machine or to a metadata service.
func (t Target) CheckAddr(addr netip.Addr) error {
	if t.fence == nil {
		return fmt.Errorf("address %s: the target was not admitted by a fence", addr)
	}
	addr = addr.Unmap()
	if addr.IsLoopback() {
		if t.fence.residency.AllowLoopback && isLoopbackHost(t.host) {
			return nil
		}
		return fmt.Errorf("%s resolves to the loopback address %s", t.host, addr)
	}
	if !addr.IsGlobalUnicast() { // link-local (metadata services), multicast, unspecified
		return fmt.Errorf("%s resolves to %s, which is not a global unicast address", t.host, addr)
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
