package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A seed is where to look for members: an address, or a name that stands for
// any number of them.
type seed struct {
	text string // as configured
	host string
	port uint16
}

const (
	maxSeeds      = 64
	maxSeedAddrs  = 256 // of one name: a DNS answer must not make us dial the world
	lookupTimeout = 5 * time.Second
	dnsPrefix     = "dns+"
)

func parseSeeds(join []string) ([]seed, error) {
	if len(join) > maxSeeds {
		return nil, fmt.Errorf("join names %d seeds, want at most %d", len(join), maxSeeds)
	}
	var seeds []seed
	for i, text := range join {
		host, port, err := net.SplitHostPort(strings.TrimPrefix(text, dnsPrefix))
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
			return nil, fmt.Errorf("join[%d] = %q, want host:port or dns+host:port", i, text)
		}
		seeds = append(seeds, seed{text, host, uint16(n)})
	}
	return seeds, nil
}

// resolve returns the addresses of a seed. A name is looked up anew each time:
// behind it gateways come and go.
func (s seed) resolve(ctx context.Context, r Resolver) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s.host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), s.port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip", s.host)
	if err != nil {
		return nil, fmt.Errorf("look up seed %s: %w", s.text, err)
	}
	addrs = addrs[:min(len(addrs), maxSeedAddrs)]
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a.Unmap(), s.port)
	}
	return out, nil
}

// candidates returns which addresses to try: those that are neither live
// members nor our own, each once, at most limit. They come shuffled, so that
// with more than limit each gets its turn.
func candidates(known []netip.AddrPort, members []Member, own func(netip.AddrPort) bool, limit int, shuffle func([]netip.AddrPort)) []netip.AddrPort {
	live := make(map[netip.AddrPort]bool, len(members))
	for _, m := range members {
		live[m.Addr] = true
	}
	out := slices.Clone(known)
	slices.SortFunc(out, netip.AddrPort.Compare)
	out = slices.Compact(out)
	out = slices.DeleteFunc(out, func(a netip.AddrPort) bool {
		return live[a] || !dialable(a) || own(a)
	})
	shuffle(out)
	return out[:min(len(out), limit)]
}

// dialable refuses what cannot be a gateway's address.
func dialable(a netip.AddrPort) bool {
	return a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast() && a.Addr().Zone() == ""
}
