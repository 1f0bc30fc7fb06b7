// Package membership makes the gateways of a stamp know each other, and carries
// what they tell each other. It runs one gossip cluster for one (boundary, region)
// and nothing across regions.
//
// What is told goes over channels. A channel has a name, versions, and of each
// member its latest payload: bytes whose meaning is the matter of the channel's
// owner. Each member signs its messages with a key made at its boot, and the name
// under which it is a member holds that key's digest: a member, even one that has
// the cluster's key, cannot send in another's name. Messages are numbered; of two
// of one member on one channel the greater number holds, of two with one number the
// greater bytes, so that all members end with the same whatever the order.
//
// Builds of different versions share a stamp. Each shows in its metadata which
// channels it has and which versions of each it reads; what a member does not know,
// it skips, keeps and passes on. Everything is bounded, and what a peer sends is
// never logged.
//
// It only carries. Nothing here judges a target or admits a request, no request
// waits for it, and a stamp whose gossip is gone, poisoned or full works as well as
// one without gossip.
//
// It is the only user of hashicorp/memberlist. Owners of channels use it, such as
// gateway/stampview; membertest has the network that tests run it on.
package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/geo"
)

// DefaultListen is where gossip listens if the configuration does not say.
const DefaultListen = "0.0.0.0:7946"

// Config is what a gateway's configuration says of its gossip.
type Config struct {
	Boundary geo.Boundary
	Region   geo.RegionID
	Name     string // of the gateway; members are named by it and by a suffix that each boot makes
	Version  string // of the build, shown to peers; may be empty

	Listen    string // address:port, for UDP and TCP; empty = DefaultListen
	Advertise string // address[:port] that peers reach us at; empty = found from Listen
	// Join names the seeds: "host:port" or "dns+host:port". Names are resolved
	// anew in each round, an address of our own is ignored.
	Join []string
	// KeyFile holds base64 keys of 32 bytes, one a line, the first is used to
	// send. It is read again while running. It may be empty only where Listen is
	// a loopback address.
	KeyFile string
	// Channels are those that this build has.
	Channels []ChannelVersions
	TCPOnly  bool // for networks that carry no UDP between gateways
	Fast     bool // notices a crash in 3 s instead of 6 s, at twice the probes
	// PeersFile remembers the members' addresses over a restart; empty = not.
	PeersFile string

	Resolver   Resolver // nil = the system's
	Logger     zerolog.Logger
	Registerer prometheus.Registerer // nil = no metrics
}

// Resolver looks up the addresses of a seed; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// An Option changes what only tests should change.
type Option func(*Membership)

// WithTransport replaces the sockets, for tests on an in-memory network. The
// transport then says which address is advertised, and a key is not required.
func WithTransport(t memberlist.Transport) Option {
	return func(m *Membership) { m.transport = t }
}

// Membership is one gateway's place in its stamp. Its methods may be called by
// any number of goroutines, before, during and after Run.
type Membership struct {
	cfg       Config
	log       zerolog.Logger
	label     string
	id        identity
	listen    netip.AddrPort
	seeds     []seed
	keys      *keyFile             // nil = not encrypted
	transport memberlist.Transport // set by WithTransport only

	table       *table
	drops       *drops
	metrics     *metrics
	channels    []*Channel
	broadcaster *broadcaster
	peers       *peers
	pings       pingWatch
	library     *libraryLog

	running atomic.Bool
	started chan struct{} // closed when the sockets listen
	list    atomic.Pointer[memberlist.Memberlist]
	local   atomic.Pointer[netip.AddrPort]
	once    sync.Once
}

// New checks the configuration, reads the key file and makes the identity of
// this boot. It opens no socket and starts nothing.
func New(cfg Config, opts ...Option) (*Membership, error) {
	m := &Membership{cfg: cfg, started: make(chan struct{})}
	for _, o := range opts {
		o(m)
	}
	if err := m.configure(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return m, nil
}

func (m *Membership) configure() error {
	var errs []error
	fault := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	label, err := clusterLabel(m.cfg.Boundary, m.cfg.Region)
	fault(err)
	if m.label == "" { // a test of the other guards has set it
		m.label = label
	}
	fault(validName(m.cfg.Name))
	fault(validChannels(m.cfg.Channels))
	m.listen, err = parseListen(m.cfg.Listen)
	fault(err)
	m.seeds, err = parseSeeds(m.cfg.Join)
	fault(err)
	switch {
	case m.cfg.KeyFile != "":
		m.keys, err = readKeyFile(m.cfg.KeyFile)
		fault(err)
	case m.transport == nil && m.listen.IsValid() && !m.listen.Addr().IsLoopback():
		fault(errors.New("keyFile is missing: without a key anybody who reaches the port is a member"))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if m.cfg.Resolver == nil {
		m.cfg.Resolver = net.DefaultResolver
	}
	if m.id, err = newIdentity(m.cfg); err != nil {
		return err
	}
	m.log = m.cfg.Logger.With().Str("gossip_label", m.label).Logger()
	m.drops = new(drops)
	m.library = &libraryLog{drops: m.drops}
	m.table = newTable(m.id, m.label, m.drops)
	for _, c := range m.cfg.Channels {
		m.channels = append(m.channels, &Channel{m: m, ChannelVersions: c})
	}
	m.broadcaster = newBroadcaster(m)
	m.peers = newPeers(m.cfg.PeersFile)
	if m.metrics, err = newMetrics(m); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// View returns what is known now. It never changes, so a caller may keep it for
// as long as it works on it.
func (m *Membership) View() *View { return m.table.view() }

// Changed returns a channel that is closed at the next change of the View. Take
// it before View, or before a channel's Messages, so that no change is missed:
//
//	for {
//		changed := m.Changed()
//		use(channel.Messages())
//		<-changed // or ctx.Done()
//	}
func (m *Membership) Changed() <-chan struct{} { return m.table.next() }

// Members returns the live members, ourselves included, sorted by name.
func (m *Membership) Members() []Member { return m.View().Members }

// HealthScore is memberlist's judgement of this gateway itself: 0 is well, 7 is
// bad. Peers are probed more slowly as it grows.
func (m *Membership) HealthScore() int {
	if l := m.list.Load(); l != nil {
		return l.GetHealthScore()
	}
	return 0
}

// Started is closed when Run listens. It says nothing about peers: readiness
// never waits for gossip.
func (m *Membership) Started() <-chan struct{} { return m.started }

// LocalAddr is the address that peers reach us at; it is not valid before
// Started.
func (m *Membership) LocalAddr() netip.AddrPort {
	if a := m.local.Load(); a != nil {
		return *a
	}
	return netip.AddrPort{}
}

// Self is this gateway as a member.
func (m *Membership) Self() Member { return m.View().Self }

// Label names the cluster: gw/<boundary>/<region>.
func (m *Membership) Label() string { return m.label }

func clusterLabel(b geo.Boundary, r geo.RegionID) (string, error) {
	if !b.Valid() || !r.Valid() {
		return "", fmt.Errorf("boundary = %q, region = %q, want names of 1 to %d small letters, digits and hyphens", b, r, geo.MaxName)
	}
	return "gw/" + string(b) + "/" + string(r), nil
}

func validName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if name == "" || len(name) > maxName || strings.Trim(name, allowed) != "" {
		return fmt.Errorf("name = %q, want 1 to %d letters, digits, dots, hyphens or underscores", name, maxName)
	}
	return nil
}

func parseListen(s string) (netip.AddrPort, error) {
	if s == "" {
		s = DefaultListen
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen = %q, want address:port such as %s", s, DefaultListen)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
