package boundarytest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/needs"
	"github.com/stampgate/stampgate/infra/terraform/plan"
)

// A host is one party in a namespace of its own, joined to the router by a cable.
type host struct {
	name      string
	namespace string
	party     plan.Party
	addrs     []netip.Addr
}

// A lab is the boundary's networks on this machine.
type lab struct {
	t      *testing.T
	prefix string
	router string
	hosts  map[string]*host
}

// routerAddr is every host's next hop. It is on each of the router's cables.
const routerAddr = "169.254.1.1"

// tags stand for addresses that are Azure's or the Internet's. The balancer's is
// the real one, the others are for documentation.
func tags() map[string]netip.Addr {
	return map[string]netip.Addr{
		"AzureLoadBalancer":    netip.MustParseAddr("168.63.129.16"),
		"AzureTrafficManager":  netip.MustParseAddr("203.0.113.10"),
		"AzureActiveDirectory": netip.MustParseAddr("203.0.113.20"),
		"AzureMonitor":         netip.MustParseAddr("203.0.113.30"),
		"Storage":              netip.MustParseAddr("203.0.113.40"),
		"Internet":             netip.MustParseAddr("203.0.113.50"),
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, prefix: fmt.Sprintf("sgb-%d", os.Getpid()), hosts: map[string]*host{}}
	l.router = l.prefix + "-router"
	l.namespace(l.router)
	l.must("ip", "netns", "exec", l.router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
	return l
}

func (l *lab) namespace(name string) {
	l.t.Helper()
	l.must("ip", "netns", "add", name)
	l.t.Cleanup(func() {
		// The test's context has ended.
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			l.t.Errorf("%v: %s", err, out)
		}
	})
	l.must("ip", "-n", name, "link", "set", "lo", "up")
}

// add joins a host with its addresses. Every packet, also to a neighbour in the
// same subnet, goes through the router, as it does through Azure's.
func (l *lab) add(name string, party plan.Party, addrs ...netip.Addr) *host {
	l.t.Helper()
	h := &host{name: name, namespace: l.prefix + "-" + name, party: party, addrs: addrs}
	l.namespace(h.namespace)
	cable := fmt.Sprintf("c%d", len(l.hosts)+1)
	l.must("ip", "-n", l.router, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
	l.must("ip", "-n", l.router, "addr", "add", routerAddr+"/32", "dev", cable)
	l.must("ip", "-n", l.router, "link", "set", cable, "up")
	l.must("ip", "-n", h.namespace, "link", "set", "eth0", "up")
	for _, a := range addrs {
		l.must("ip", "-n", h.namespace, "addr", "add", a.String()+"/32", "dev", "eth0")
		l.must("ip", "-n", l.router, "route", "add", a.String()+"/32", "dev", cable)
	}
	l.must("ip", "-n", h.namespace, "route", "add", "default", "via", routerAddr, "dev", "eth0", "onlink", "src", addrs[0].String())
	l.hosts[name] = h
	return h
}

func (l *lab) must(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.CommandContext(l.t.Context(), name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// enforce makes the router's filter of the planned rules.
func (l *lab) enforce(n *plan.Networks, regions []string) {
	l.t.Helper()
	var chains, jumps strings.Builder
	for _, inbound := range []bool{false, true} { // what goes out is tried first
		for i, region := range regions {
			for _, subnet := range n.Subnets(region) {
				prefix, _ := n.Subnet(region, subnet)
				chain := fmt.Sprintf("r%d_%s_%t", i, subnet, inbound)
				fmt.Fprintf(&chains, " chain %s {\n", chain)
				for _, r := range n.Rules(region, subnet, inbound) {
					for _, line := range filter(r) {
						fmt.Fprintf(&chains, "  %s\n", line)
					}
				}
				chains.WriteString("  drop\n }\n")
				match := "saddr"
				if inbound {
					match = "daddr"
				}
				fmt.Fprintf(&jumps, "  ip %s %s jump %s\n", match, prefix, chain)
			}
		}
	}
	// Metadata and its tokens are not subject to the rules in Azure either.
	ruleset := "table ip nsg {\n" + chains.String() + " chain forward {\n  type filter hook forward priority 0; policy drop;\n" +
		"  ct state established,related accept\n  ip daddr " + metadata + " accept\n" + jumps.String() + "  accept\n }\n}\n"
	cmd := exec.CommandContext(l.t.Context(), "ip", "netns", "exec", l.router, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("nft: %v: %s\n%s", err, out, ruleset)
	}
}

// lose resets every connection to an address, as when what stood there has gone.
func (l *lab) lose(addr netip.Addr) {
	l.t.Helper()
	l.must("ip", "netns", "exec", l.router, "nft", "insert", "rule", "ip", "nsg", "forward",
		"ip", "daddr", addr.String(), "meta", "l4proto", "tcp", "reject", "with", "tcp", "reset")
}

// filter is a rule as nft lines: one for each pair of what it names.
func filter(r plan.Rule) []string {
	verdict := "drop"
	if r.Allow {
		verdict = "return" // the other side's rules have their say
	}
	var lines []string
	for _, from := range r.From {
		for _, to := range r.To {
			line := address("saddr", from) + address("daddr", to)
			switch {
			case r.Protocol != "*" && r.Port != "*":
				line += fmt.Sprintf("%s dport %s ", strings.ToLower(r.Protocol), r.Port)
			case r.Protocol != "*":
				line += "ip protocol " + strings.ToLower(r.Protocol) + " "
			}
			lines = append(lines, line+verdict)
		}
	}
	return lines
}

func address(side, entry string) string {
	private := "{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 }"
	switch addr, known := tags()[entry]; {
	case entry == "*":
		return ""
	case entry == "VirtualNetwork":
		return fmt.Sprintf("ip %s { 10.10.0.0/24, 10.20.0.0/24 } ", side)
	case entry == "Internet":
		return fmt.Sprintf("ip %s != %s ip %s != %s ", side, private, side, tags()["AzureLoadBalancer"])
	case known:
		return fmt.Sprintf("ip %s %s ", side, addr)
	}
	return fmt.Sprintf("ip %s %s ", side, entry)
}

// in runs f on a thread that is in the host's namespace: sockets that f opens
// belong to it for good. The thread ends afterwards.
func (h *host) in(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- func() error {
			ns, err := os.Open(filepath.Join("/run/netns", h.namespace))
			if err != nil {
				return err
			}
			defer ns.Close()
			number := map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]
			if _, _, errno := syscall.RawSyscall(number, ns.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
				return os.NewSyscallError("setns", errno)
			}
			return f()
		}()
	}()
	return <-result
}

// dial connects from the host. What a filter drops shows as a timeout.
func (h *host) dial(to netip.AddrPort, limit time.Duration) (conn net.Conn, err error) {
	err = h.in(func() (err error) {
		d := net.Dialer{Timeout: limit, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.addrs[0], 0))}
		conn, err = d.Dial("tcp4", to.String())
		return err
	})
	return conn, err
}

// reaches reports whether a connection from the host to the other is there, or
// swallowed. Anything else is a fault of the test. One that should be there gets
// the time that a busy machine needs; a filter swallows at once.
func (l *lab) reaches(from *host, to netip.AddrPort, want bool) bool {
	limit := 400 * time.Millisecond
	if want {
		limit = 20 * time.Second
	}
	conn, err := from.dial(to, limit)
	if err == nil {
		_ = conn.Close()
		return true
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		l.t.Errorf("%s to %s: %v, want a connection or silence", from.name, to, err)
	}
	return false
}

// onlyReach has every host try an address at once: exactly those that may get
// there do.
func (l *lab) onlyReach(t *testing.T, target *host, to netip.AddrPort, may func(name string) bool) {
	t.Helper()
	var wg sync.WaitGroup
	for name, h := range l.hosts {
		if h == target {
			continue
		}
		wg.Go(func() {
			if want := may(name); l.reaches(h, to, want) != want {
				t.Errorf("%s reaches %s: %v, want %v", name, to, !want, want)
			}
		})
	}
	wg.Wait()
}

// listen answers on the ports of all of the host's addresses until the test ends.
func (l *lab) listen(h *host, ports []int) {
	l.t.Helper()
	for _, addr := range h.addrs {
		for _, port := range ports {
			var listener net.Listener
			err := h.in(func() (err error) {
				listener, err = net.Listen("tcp4", netip.AddrPortFrom(addr, uint16(port)).String())
				return err
			})
			if err != nil {
				l.t.Fatalf("%s: %v", h.name, err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			})
			l.t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
		}
	}
}

// run runs a command in the host's namespace until the test ends; what it says is
// shown if the test fails.
func (l *lab) run(h *host, env []string, name string, args ...string) {
	l.t.Helper()
	args = append([]string{"netns", "exec", h.namespace, name}, args...)
	cmd := exec.Command("ip", args...) // ip becomes the command: one process, one pid
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.Contains(strings.ToLower(v), "_proxy=") }), env...)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if l.t.Failed() {
			text := log.Bytes()
			l.t.Logf("%s on %s said last:\n%s", filepath.Base(name), h.name, text[max(0, len(text)-6<<10):])
		}
	})
}

// hostsFile gives names to the processes of a namespace, as the region's private
// DNS zone would.
func (l *lab) hostsFile(h *host, text string) {
	l.t.Helper()
	dir := filepath.Join("/etc/netns", h.namespace)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = os.RemoveAll(dir); _ = os.Remove("/etc/netns") })
	for name, text := range map[string]string{"hosts": "127.0.0.1 localhost\n" + text, "resolv.conf": "nameserver 127.0.0.1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			l.t.Fatal(err)
		}
	}
}

// require skips the test, and says why, where it cannot run. In CI that is an
// error.
func require(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: processes in namespaces take half a minute")
	}
	needs.Root(t, "network namespaces cannot be made")
	needs.Tool(t, "terraform", "ip", "nft", "sysctl")
	name := fmt.Sprintf("sgb-%d-try", os.Getpid())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", name).CombinedOutput(); err != nil {
		needs.Missing(t, fmt.Sprintf("network namespaces, which this kernel does not make: %v: %s", err, out))
	}
	defer func() { _ = exec.Command("ip", "netns", "del", name).Run() }()
	try := exec.CommandContext(ctx, "ip", "netns", "exec", name, "nft", "-f", "-")
	try.Stdin = strings.NewReader("table ip try {\n chain forward {\n  type filter hook forward priority 0;\n  ct state established accept\n  meta l4proto tcp reject with tcp reset\n }\n}\n")
	if out, err := try.CombinedOutput(); err != nil {
		needs.Missing(t, fmt.Sprintf("nftables, which this kernel does not have: %v: %s", err, out))
	}
}
