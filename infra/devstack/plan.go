package devstack

import (
	"fmt"
	"net"
	"strconv"

	"github.com/stampgate/stampgate/geo"
)

// The ports. A stack takes one block of blockSize ports, laid out by the
// constants below, so that a port says what listens there. The blocks that are
// tried lie below 32768, where Linux begins to hand out ports to outgoing
// connections: a port that was free a moment ago stays free.
const (
	DefaultPortBase = 18000
	lastPortBase    = 31500
	blockSize       = 500

	offControlPlane = 0
	offSimControl   = 1
	offInstance     = 2   // the same for all instances: each has an address of its own
	offEtcd         = 10  // plus the boundary's number, from 0
	offPublic       = 100 // plus the gateway's number, from 1
	offAdmin        = 200
	offGossip       = 300

	maxGateways   = 99
	maxBoundaries = 90
)

// A plan says what runs where. It is made by layOut from the configuration and
// the first port, and holds no secret.
type plan struct {
	PortBase     int            `json:"portBase"`
	ControlPlane string         `json:"controlPlane"` // addresses are host:port
	SimControl   string         `json:"simControl"`
	Boundaries   []boundaryPlan `json:"boundaries"`
}

type boundaryPlan struct {
	Name     geo.Boundary   `json:"name"`
	Regions  []geo.RegionID `json:"regions"`
	Etcd     string         `json:"etcd"`
	Gateways []gatewayPlan  `json:"gateways"`
	Backends []backendPlan  `json:"backends"`
}

type gatewayPlan struct {
	Name   string       `json:"name"`
	Region geo.RegionID `json:"region"`
	Zone   string       `json:"zone"`
	Public string       `json:"public"`
	Admin  string       `json:"admin"`
	Gossip string       `json:"gossip"`
}

type backendPlan struct {
	Name        string       `json:"name"`
	Region      geo.RegionID `json:"region"`
	Listen      string       `json:"listen"`
	Provisioned bool         `json:"provisioned"`
	// ManagedIdentity: gateways prove themselves with a token instead of a key.
	// One backend of each boundary does, so that both ways are in use.
	ManagedIdentity bool `json:"managedIdentity"`
}

func (b boundaryPlan) gatewaysIn(region geo.RegionID) []gatewayPlan {
	var out []gatewayPlan
	for _, g := range b.Gateways {
		if g.Region == region {
			out = append(out, g)
		}
	}
	return out
}

// layOut gives everything a name and an address. The same configuration and
// first port give the same plan.
func layOut(boundaries []Boundary, portBase int) plan {
	at := func(host string, offset int) string {
		return net.JoinHostPort(host, strconv.Itoa(portBase+offset))
	}
	const home = "127.0.0.1"
	p := plan{
		PortBase:     portBase,
		ControlPlane: at(home, offControlPlane),
		SimControl:   at(home, offSimControl),
	}
	number := 0
	for bi, b := range boundaries {
		bp := boundaryPlan{Name: b.Name, Regions: b.Regions, Etcd: at(home, offEtcd+bi)}
		for ri, region := range b.Regions {
			for n := range b.GatewaysPerStamp {
				number++
				bp.Gateways = append(bp.Gateways, gatewayPlan{
					Name:   fmt.Sprintf("%s-%s-%d", b.Name, region, n+1),
					Region: region,
					Zone:   strconv.Itoa(n%3 + 1),
					Public: at(home, offPublic+number),
					Admin:  at(home, offAdmin+number),
					Gossip: at(home, offGossip+number),
				})
			}
			for _, provisioned := range []bool{true, false} {
				kind := "std"
				if provisioned {
					kind = "ptu"
				}
				bp.Backends = append(bp.Backends, backendPlan{
					Name:   fmt.Sprintf("%s-%s-%s", b.Name, region, kind),
					Region: region,
					// An instance's address tells boundary (10, 11 …) and number.
					Listen:          at(fmt.Sprintf("127.0.%d.%d", 10+bi, len(bp.Backends)+1), offInstance),
					Provisioned:     provisioned,
					ManagedIdentity: ri == 0 && !provisioned,
				})
			}
		}
		p.Boundaries = append(p.Boundaries, bp)
	}
	return p
}

// A listener is an address that the stack needs, and who for.
type listener struct {
	addr string
	who  string
	udp  bool // gossip: the same port over UDP as well
}

func (p plan) listeners() []listener {
	out := []listener{
		{addr: p.ControlPlane, who: "the control plane"},
		{addr: p.SimControl, who: "the simulator's control API"},
	}
	for _, b := range p.Boundaries {
		out = append(out, listener{addr: b.Etcd, who: "the etcd of " + string(b.Name)})
		for _, g := range b.Gateways {
			out = append(out,
				listener{addr: g.Public, who: "gateway " + g.Name},
				listener{addr: g.Admin, who: "the admin listener of gateway " + g.Name},
				listener{addr: g.Gossip, who: "the gossip of gateway " + g.Name, udp: true})
		}
		for _, i := range b.Backends {
			out = append(out, listener{addr: i.Listen, who: "simulated backend " + i.Name})
		}
	}
	return out
}
