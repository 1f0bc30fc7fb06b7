package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/stampgate/stampgate/gateway/descriptor"
	"github.com/stampgate/stampgate/geo"
)

// A Resolver looks a backend's name up. *net.Resolver is one; tests use lying ones.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A Dialer opens connections for one boundary. Its argument is a geo.Target:
// code that would dial something which no fence has admitted does not compile.
type Dialer struct {
	Boundary geo.Boundary
	Resolver Resolver       // net.DefaultResolver if nil
	Roots    *x509.CertPool // the system's if nil
	// Slots are what connections may be open at once; nil: any number.
	Slots *descriptor.Slots
	// Connect replaces the TCP dial, for in-memory networks of tests.
	Connect func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Dial resolves the target's name, lets the target judge every address, and
// connects to the first one that answers: one that is silent keeps the next one
// waiting for stagger. It refuses the zero target and those
// of another boundary. The whole dial, TLS included, is bounded by limit.
func (d Dialer) Dial(ctx context.Context, t geo.Target, limit time.Duration) (net.Conn, error) {
	return d.dial(ctx, t, limit, nil)
}

// dial is Dial for a pool that follows the answers of the target's name.
func (d Dialer) dial(ctx context.Context, t geo.Target, limit time.Duration, follow *resolution) (net.Conn, error) {
	if !t.Valid() || t.Boundary() != d.Boundary {
		return nil, &DialError{Err: fmt.Errorf("dial: a target of boundary %q was given to the dialer of %q", t.Boundary(), d.Boundary)}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addrs, err := d.resolve(ctx, t)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	follow.heard(addrs, time.Now())
	conn, err := d.connect(ctx, addrs)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	if w := wireOf(conn); w != nil {
		w.name = follow
	}
	if !t.TLS() {
		return conn, nil
	}
	secured, err := d.handshake(ctx, conn, t)
	if err != nil {
		return nil, errors.Join(&DialError{TLS: true, Err: err}, conn.Close())
	}
	return secured, nil
}

// resolve returns the addresses that the target admits. One that it does not
// admit fails the whole dial: a name server that mixes foreign addresses in is
// not to be trusted with the rest.
func (d Dialer) resolve(ctx context.Context, t geo.Target) ([]netip.AddrPort, error) {
	port, err := t.PortNumber()
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(t.Host()); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(addr, port)}, t.CheckAddr(addr)
	}
	var resolver Resolver = net.DefaultResolver
	if d.Resolver != nil {
		resolver = d.Resolver
	}
	found, err := resolver.LookupNetIP(ctx, "ip", t.Host())
	if err != nil && descriptor.Short() { // the resolver's errors do not say so
		return nil, fmt.Errorf("look up %s: %w", t.Host(), descriptor.ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", t.Host(), err)
	}
	addrs := make([]netip.AddrPort, 0, len(found))
	for _, a := range found {
		a = a.Unmap()
		if err := t.CheckAddr(a); err != nil {
			return nil, fmt.Errorf("fence: %w", err)
		}
		addrs = append(addrs, netip.AddrPortFrom(a, port))
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("look up %s: no address", t.Host())
	}
	return addrs, nil
}

func (d Dialer) dialTCP(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	if !d.Slots.Take() {
		return nil, fmt.Errorf("dial %s: %w", a, descriptor.ErrNone)
	}
	connect := d.Connect
	if connect == nil {
		connect = connectTCP
	}
	conn, err := connect(ctx, a)
	if err != nil {
		d.Slots.Give()
		return nil, err
	}
	return newWire(conn, a.Addr(), d.Slots), nil
}

func connectTCP(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	var nd net.Dialer // no Resolver is needed: the address is a literal
	return nd.DialContext(ctx, "tcp", a.String())
}

func (d Dialer) handshake(ctx context.Context, conn net.Conn, t geo.Target) (net.Conn, error) {
	secured := tls.Client(conn, &tls.Config{
		ServerName: t.Host(), RootCAs: d.Roots, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls with %s: %w", t.Host(), err)
	}
	return secured, nil
}
