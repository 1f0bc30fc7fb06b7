package membertest

import (
	"embed"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

// A Puppet is a member of the library alone: it shows and sends the bytes that a
// test gives it, such as those of another build or of an attacker, and passes
// nothing on.
type Puppet struct {
	list *memberlist.Memberlist
	meta []byte

	mu       sync.Mutex // guards the fields below
	state    []byte
	received [][]byte
}

// StartPuppet runs a puppet until the test ends. Secret is the cluster's key, nil
// where there is none.
func StartPuppet(t testing.TB, at *Transport, name, label string, secret, meta []byte) *Puppet {
	t.Helper()
	p := &Puppet{meta: meta}
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Label, conf.SecretKey, conf.Transport, conf.Delegate = name, label, secret, at, p
	conf.Logger = telemetry.StdLog(zerolog.New(t.Output()).With().Str("puppet", name).Logger())
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	p.list = list
	return p
}

// Stop ends the puppet without a goodbye.
func (p *Puppet) Stop() { _ = p.list.Shutdown() }

// Join makes the puppet known to one gateway, which tells the others. It reports
// whether that let it in.
func (p *Puppet) Join(at netip.AddrPort) bool {
	_, err := p.list.Join([]string{at.String()})
	return err == nil
}

// Exchange joins one gateway anew, with a state of the test's.
func (p *Puppet) Exchange(with netip.AddrPort, state []byte) {
	p.setState(state)
	p.Join(with)
	p.setState(nil)
}

// Send sends a message to one gateway, by stream.
func (p *Puppet) Send(to *Gateway, message []byte) error {
	addr := to.Net.Addr()
	return p.list.SendReliable(&memberlist.Node{Name: to.Self().Name, Addr: addr.Addr().AsSlice(), Port: addr.Port()}, message)
}

// Received returns all messages that have reached the puppet.
func (p *Puppet) Received() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.received)
}

func (p *Puppet) setState(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = b
}

// NodeMeta implements memberlist.Delegate.
func (p *Puppet) NodeMeta(int) []byte { return p.meta }

// NotifyMsg implements memberlist.Delegate.
func (p *Puppet) NotifyMsg(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received = append(p.received, slices.Clone(b))
}

// GetBroadcasts implements memberlist.Delegate.
func (p *Puppet) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (p *Puppet) LocalState(bool) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// MergeRemoteState implements memberlist.Delegate.
func (p *Puppet) MergeRemoteState([]byte, bool) {}

// Builds are the bytes of members of other builds: see Build. They are never written
// again; when a format changes, another one is added.
//
//go:embed testdata
var builds embed.FS

// A Build is what a member of another build shows and sends: its name, its metadata,
// and messages by channel. They are signed for the stamp of Config.
type Build struct {
	Name     string
	Meta     []byte
	Messages map[string][]byte
}

// OtherBuild reads a folder of testdata: "first" is the first format of all, "newer"
// one that will have fields and a channel that we do not know.
func OtherBuild(t testing.TB, folder string) Build {
	t.Helper()
	b := Build{Messages: make(map[string][]byte)}
	list, err := builds.ReadDir(path.Join("testdata", folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		text, err := builds.ReadFile(path.Join("testdata", folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		switch channel, ok := strings.CutSuffix(f.Name(), ".message"); {
		case ok:
			b.Messages[channel] = text
		case f.Name() == "meta":
			b.Meta = text
		case f.Name() == "name":
			b.Name = strings.TrimSpace(string(text))
		}
	}
	return b
}

// Start lets a member of the build join a stamp through one gateway, and sends that
// one its messages.
func (b Build) Start(t testing.TB, at *Transport, via *Gateway) *Puppet {
	t.Helper()
	p := StartPuppet(t, at, b.Name, via.Label(), nil, b.Meta)
	if !p.Join(via.Net.Addr()) {
		t.Fatalf("%s is not let in", b.Name)
	}
	Await(t, 10*time.Second, b.Name+" is a member", func() bool { return via.Knows(b.Name) })
	for channel, message := range b.Messages {
		if err := p.Send(via, message); err != nil {
			t.Fatalf("%s: %s: %v", b.Name, channel, err)
		}
	}
	return p
}
