package netnstest_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A network is a switch and the namespaces that are plugged into it.
type network struct {
	t     *testing.T
	name  string // sg-<pid>-<number>
	hub   string // the switch's namespace
	delay time.Duration
	ports []*port
}

// A port is a place on the switch and the namespace behind it.
type port struct {
	net       *network
	namespace string
	device    string // the port's, in the switch's namespace
	addr      netip.Addr
	sent      uint64 // packets, when loss began
}

var networks atomic.Int32

// The bridges of a switch: all ports are in one network until some of them are
// moved into the other.
const (
	mainBridge  = "br0"
	otherBridge = "br1"
	sinkDevice  = "sink" // swallows whatever is sent to it
)

func newNetwork(t *testing.T, delay time.Duration) *network {
	t.Helper()
	n := &network{t: t, name: fmt.Sprintf("sg-%d-%d", os.Getpid(), networks.Add(1)), delay: delay}
	n.hub = n.name + "-switch"
	addNamespace(t, n.hub)
	for _, bridge := range []string{mainBridge, otherBridge} {
		must(t, ip("-n", n.hub, "link", "add", bridge, "type", "bridge", "stp_state", "0", "mcast_snooping", "0"),
			ip("-n", n.hub, "link", "set", bridge, "up"))
	}
	// The other end of the sink stays down.
	must(t, ip("-n", n.hub, "link", "add", sinkDevice, "type", "veth", "peer", "name", "drain"),
		ip("-n", n.hub, "link", "set", sinkDevice, "up"))
	return n
}

// plug makes a namespace with an address on the network.
func (n *network) plug() *port {
	n.t.Helper()
	i := len(n.ports) + 1
	p := &port{
		net: n, namespace: fmt.Sprintf("%s-%d", n.name, i), device: fmt.Sprintf("p%d", i),
		addr: netip.AddrFrom4([4]byte{10, 213, 0, byte(i)}),
	}
	n.ports = append(n.ports, p)
	addNamespace(n.t, p.namespace)
	if n.delay > 0 && !abilities().netem() {
		layCable(n.t, p.namespace, "eth0", n.hub, p.device, n.delay)
	} else {
		must(n.t, ip("-n", n.hub, "link", "add", p.device, "type", "veth", "peer", "name", "eth0", "netns", p.namespace))
	}
	must(n.t,
		ip("-n", n.hub, "link", "set", p.device, "master", mainBridge, "up"),
		ip("-n", p.namespace, "addr", "add", p.addr.String()+"/24", "dev", "eth0"),
		ip("-n", p.namespace, "link", "set", "eth0", "up"),
		tc("-n", n.hub, "qdisc", "add", "dev", p.device, "clsact"))
	if n.delay > 0 && abilities().netem() {
		must(n.t, tc("-n", n.hub, "qdisc", "add", "dev", p.device, "root", "netem", "delay", fmt.Sprintf("%dms", n.delay.Milliseconds())))
	}
	return p
}

// checkDelay fails the test if a connection between two ports, of which the
// second listens, is there sooner than one delay to and one fro allow.
func (n *network) checkDelay(delay time.Duration) {
	n.t.Helper()
	to := netip.AddrPortFrom(n.ports[1].addr, listenPort).String()
	await(n.t, to+" answers", func() bool {
		begun := time.Now()
		conn, err := dialer(n.ports[0].namespace)(n.t.Context(), "tcp", to)
		if err != nil {
			return false
		}
		_ = conn.Close()
		if took := time.Since(begun); took < 2*delay {
			n.t.Errorf("a connection took %v, at %v delay each way", took, delay)
		}
		return true
	})
}

// Priorities of the filters at a port, so that each can be taken away alone.
const (
	lossFilter = "10"
	udpFilter  = "20"
)

// swallow adds a filter to what the port's namespace sends.
func (p *port) swallow(priority string, match ...string) error {
	args := []string{"-n", p.net.hub, "filter", "add", "dev", p.device, "ingress", "pref", priority, "protocol", "ip"}
	args = append(args, match...)
	return tc(append(args, "action", "mirred", "egress", "redirect", "dev", sinkDevice)...)
}

func (p *port) unfilter(priority string) error {
	return tc("-n", p.net.hub, "filter", "del", "dev", p.device, "ingress", "pref", priority)
}

// lose drops the share of all IP packets on the network, each by itself,
// whatever they carry.
func (n *network) lose(share float64) {
	n.t.Helper()
	abilities().needLoss(n.t)
	for _, p := range n.ports {
		p.sent = p.arrived()
		must(n.t, p.swallow(lossFilter, "bpf", "bytecode", lossProgram(share)))
	}
}

// checkLoss fails the test if the network did not lose about that share: the
// test would have shown nothing.
func (n *network) checkLoss(share float64) {
	n.t.Helper()
	var lost, sent uint64
	for _, p := range n.ports {
		lost += p.swallowed(lossFilter)
		sent += p.arrived() - p.sent
	}
	n.t.Logf("%d of %d packets were lost", lost, sent)
	if got := float64(lost) / float64(sent); sent < 100 || math.Abs(got-share) > share/2 {
		n.t.Errorf("the network lost %.2f of %d packets, want %.2f", got, sent, share)
	}
}

// arrived counts the packets that the switch took from the port.
func (p *port) arrived() uint64 {
	p.net.t.Helper()
	out, err := output("ip", "-n", p.net.hub, "-s", "-j", "link", "show", "dev", p.device)
	must(p.net.t, err)
	var links []struct {
		Stats struct {
			RX struct{ Packets uint64 } `json:"rx"`
		} `json:"stats64"`
	}
	must(p.net.t, json.Unmarshal(out, &links))
	return links[0].Stats.RX.Packets
}

// swallowed counts what the filter of that priority took from the port.
func (p *port) swallowed(priority string) uint64 {
	p.net.t.Helper()
	out, err := output("tc", "-n", p.net.hub, "-s", "filter", "show", "dev", p.device, "ingress", "pref", priority)
	must(p.net.t, err)
	found := regexp.MustCompile(`Sent \d+ bytes (\d+) pkt`).FindSubmatch(out)
	if found == nil {
		p.net.t.Fatalf("no count of packets in %q", out)
	}
	n, err := strconv.ParseUint(string(found[1]), 10, 64)
	must(p.net.t, err)
	return n
}

// lossProgram is classic BPF that matches a random share of packets: load the
// kernel's random number (ancillary datum 56 of bpf(4)), match if it is below
// share × 2^32.
func lossProgram(share float64) string {
	return fmt.Sprintf("4,32 0 0 %d,53 1 0 %d,6 0 0 %d,6 0 0 0", uint32(0xfffff000+56), uint32(share*(1<<32)), uint32(0xffffffff))
}

// blockUDP lets no UDP packet through.
func (n *network) blockUDP() {
	n.t.Helper()
	abilities().needProtocols(n.t)
	for _, p := range n.ports {
		must(n.t, p.swallow(udpFilter, "u32", "match", "ip", "protocol", "17", "0xff"))
	}
}

// blockedUDP counts the packets that blockUDP has stopped.
func (n *network) blockedUDP() (count uint64) {
	n.t.Helper()
	for _, p := range n.ports {
		count += p.swallowed(udpFilter)
	}
	return count
}

func (n *network) passUDP() {
	n.t.Helper()
	for _, p := range n.ports {
		must(n.t, p.unfilter(udpFilter))
	}
}

// partition moves the ports into a network of their own; heal brings them back.
func (n *network) partition(ports ...*port) {
	n.t.Helper()
	n.move(otherBridge, ports)
}

func (n *network) heal(ports ...*port) {
	n.t.Helper()
	n.move(mainBridge, ports)
}

func (n *network) move(bridge string, ports []*port) {
	n.t.Helper()
	for _, p := range ports {
		must(n.t, ip("-n", n.hub, "link", "set", p.device, "master", bridge))
	}
}

// blackhole takes the port out of the switch: its link stays up, what it sends
// and what is sent to it vanishes, and nobody gets an error.
func (p *port) blackhole() {
	p.net.t.Helper()
	must(p.net.t, ip("-n", p.net.hub, "link", "set", p.device, "nomaster"))
}

// able is what this kernel can do; nil means it can.
type able struct {
	setup, delay, loss, protocols, tap error
}

func (a able) netem() bool { return a.delay == nil }

func (a able) needLoss(t *testing.T) { need(t, "loss by tc (cls_bpf, act_mirred)", a.loss) }

func (a able) needProtocols(t *testing.T) {
	need(t, "a filter by protocol (cls_u32, act_mirred)", a.protocols)
}

func (a able) needDelay(t *testing.T) {
	if !a.netem() {
		need(t, "delay by netem, or by tap devices,", a.tap)
	}
}

func need(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("SKIPPED: this kernel cannot do %s: %v", what, err) // in CI too: a kernel is not installed
	}
}

// abilities tries everything once, in a namespace of its own.
var abilities = sync.OnceValue(func() (a able) {
	name := fmt.Sprintf("sg-%d-0-try", os.Getpid())
	if a.setup = ip("netns", "add", name); a.setup != nil {
		return a
	}
	defer func() {
		if err := ip("netns", "del", name); err != nil {
			a.setup = err
		}
	}()
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"},
		{"link", "add", "name", "p1", "type", "veth", "peer", "name", "p2"},
		{"link", "set", "p1", "master", "br0", "up"},
		{"link", "add", sinkDevice, "type", "veth", "peer", "name", "drain"},
	} {
		if a.setup = ip(append([]string{"-n", name}, args...)...); a.setup != nil {
			return a
		}
	}
	if a.setup = inNamespace(name, func() error { return nil }); a.setup != nil {
		return a
	}
	if a.setup = tc("-n", name, "qdisc", "add", "dev", "p1", "clsact"); a.setup != nil {
		return a
	}
	p := &port{net: &network{hub: name}, device: "p1"}
	a.loss = p.swallow(lossFilter, "bpf", "bytecode", lossProgram(0.5))
	a.protocols = p.swallow(udpFilter, "u32", "match", "ip", "protocol", "17", "0xff")
	a.delay = tc("-n", name, "qdisc", "add", "dev", "p1", "root", "netem", "delay", "50ms")
	a.tap = inNamespace(name, func() error {
		f, err := openTap("t")
		if err != nil {
			return err
		}
		return f.Close()
	})
	return a
})
