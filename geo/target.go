package geo

import (
	"net"
	"net/netip"
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
	host       string // canonical: small letters, no final dot
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
	if t.fence == nil {
		return ""
	}
	return address{t.scheme, t.host, t.port}.origin()
}
