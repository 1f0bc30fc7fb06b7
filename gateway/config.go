package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/memory"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// Config is a gateway's configuration file. It is read once at start and
// belongs to the process; what may change while it runs is in the policy.
type Config struct {
	Boundary  geo.Boundary `yaml:"boundary"`
	Region    geo.RegionID `yaml:"region"`
	Name      string       `yaml:"name"` // default: the host name
	Zone      string       `yaml:"zone"`
	Listen    string       `yaml:"listen"`
	TLS       TLS          `yaml:"tls"`
	Admin     *Admin       `yaml:"admin,omitempty"`
	Residency Residency    `yaml:"residency"`
	Policy    Policy       `yaml:"policy"`
	Gossip    *Gossip      `yaml:"gossip,omitempty"`
	FrontDoor FrontDoor    `yaml:"frontDoor"`
	Seal      *Seal        `yaml:"seal,omitempty"`
	Drain     Drain        `yaml:"drain"`
	Limits    Limits       `yaml:"limits"`
	Bodies    *Bodies      `yaml:"bodies,omitempty"`
	// HTTP2 lets clients choose it, over TLS. Its streams multiply what one
	// connection can hold, and no client of this API needs it.
	HTTP2 bool `yaml:"http2"`

	// AllowLoopback permits http://127.… backends. It is a flag and not a field,
	// so that no file can carry it into production.
	AllowLoopback bool `yaml:"-"`
}

// TLS is how a listener is secured.
type TLS struct {
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	Disabled bool   `yaml:"disabled"` // plain HTTP on an address that is not loopback
}

// Admin is the listener for operators: metrics, status, health with details.
type Admin struct {
	Listen    string `yaml:"listen"`
	TokenFile string `yaml:"tokenFile"` // bearer token; without it the listener must be loopback
}

// Residency is what no policy can go beyond.
type Residency struct {
	Countries               []geo.Country            `yaml:"countries"`
	DataZones               map[string][]geo.Country `yaml:"dataZones"`
	Processing              geo.Processing           `yaml:"processing"`
	RequirePrivateAddresses bool                     `yaml:"requirePrivateAddresses"`
	// RegionalProcessing is geography unless it says region: a policy may then say
	// region as well, and not otherwise.
	RegionalProcessing geo.RegionalProcessing `yaml:"regionalProcessing"`
}

// Policy says where the policy comes from: an etcd, or a file.
type Policy struct {
	Etcd        *Etcd    `yaml:"etcd,omitempty"`
	TrustedKeys []string `yaml:"trustedKeys"` // ed25519:<base64>, of whom a policy may be signed
	CacheDir    string   `yaml:"cacheDir"`    // for the last good policy; default /var/lib/stampgate
	// AcceptOlder is the serial of a policy below the highest that was followed here,
	// or cached where that is not known, which may be served all the same. It stands
	// for one start, not for good.
	AcceptOlder uint64 `yaml:"acceptOlder"`
	File        string `yaml:"file"`
}

// Etcd is the boundary's etcd.
type Etcd struct {
	Endpoints []string `yaml:"endpoints"`
	CAFile    string   `yaml:"caFile"`
	CertFile  string   `yaml:"certFile"`
	KeyFile   string   `yaml:"keyFile"`
}

// Gossip is the gateway's place in its stamp.
type Gossip struct {
	Listen    string   `yaml:"listen"`
	Advertise string   `yaml:"advertise"`
	Join      []string `yaml:"join"`
	KeyFile   string   `yaml:"keyFile"`
	TCPOnly   bool     `yaml:"tcpOnly"`
	Fast      bool     `yaml:"fast"`
}

// FrontDoor names the Front Door profiles through which requests may come.
type FrontDoor struct {
	IDs []string `yaml:"ids"`
}

// Seal is the key that object ids are sealed with.
type Seal struct {
	KeyFile string `yaml:"keyFile"`
}

// Bodies says where large bodies of requests are kept while they are served. Without
// it all are kept in memory.
type Bodies struct {
	Dir   string      `yaml:"dir"`   // on a disk, not in memory
	Above memory.Size `yaml:"above"` // bytes; default 1 MiB: what is not larger stays in memory
	Most  memory.Size `yaml:"most"`  // bytes of all files, half of them for one client; default 4 GiB: what is beyond stays in memory
}

// defaultAbove: a larger body has an image or a file in it, and waits for the model
// as long as any.
const (
	defaultAbove    = 1 << 20
	defaultMostKept = 4 << 30
)

// Drain says how the gateway stops.
type Drain struct {
	Notice  policy.Duration `yaml:"notice"`  // for balancers to see it; default 20s
	Timeout policy.Duration `yaml:"timeout"` // for streams to end; default 10m
}

const (
	defaultCacheDir     = "/var/lib/stampgate"
	defaultDrainNotice  = 20 * time.Second
	defaultDrainTimeout = 10 * time.Minute
	configLimit         = 1 << 20 // bytes
)

// LoadConfig reads a configuration file strictly: what is unknown, doubled or
// trailing is an error. Defaults are filled in; Validate says whether it is fit.
func LoadConfig(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > configLimit {
		return Config{}, fmt.Errorf("read configuration: %s has %d bytes, a configuration has at most %d", path, info.Size(), configLimit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := ParseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, nil
}

// ParseConfig decodes the text of a configuration file and fills in defaults.
func ParseConfig(text []byte) (Config, error) {
	var cfg Config
	rules := strictyaml.Rules{What: "a configuration", Needs: "boundary, region, listen, residency and policy"}
	if err := strictyaml.Decode(text, &cfg, rules); err != nil {
		return Config{}, err
	}
	return cfg.withDefaults(), nil
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name, _ = os.Hostname() // an empty name is refused by Validate
	}
	if c.Policy.CacheDir == "" {
		c.Policy.CacheDir = defaultCacheDir
	}
	if c.Drain.Notice == 0 {
		c.Drain.Notice = policy.Duration(defaultDrainNotice)
	}
	if c.Drain.Timeout == 0 {
		c.Drain.Timeout = policy.Duration(defaultDrainTimeout)
	}
	if c.Bodies != nil {
		b := *c.Bodies
		fill(&b.Above, defaultAbove)
		fill(&b.Most, defaultMostKept)
		c.Bodies = &b
	}
	return c
}

// local is the residency that the fence of every policy is held against.
func (c Config) local() geo.Residency {
	return geo.Residency{
		Boundary: c.Boundary, Countries: c.Residency.Countries, DataZones: c.Residency.DataZones,
		Processing: c.Residency.Processing, RequirePrivateAddresses: c.Residency.RequirePrivateAddresses,
		AllowLoopback: c.AllowLoopback, RegionalProcessing: c.Residency.RegionalProcessing,
	}
}

// Validate reports every fault of the configuration, each with its path. It
// reads no file.
func (c Config) Validate() error {
	var errs []error
	fault := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf(path+": "+format, args...))
	}
	if c.Boundary == "" {
		fault("boundary", "is missing: name the boundary that this gateway belongs to")
	} else if !c.Boundary.Valid() {
		fault("boundary", "%q: want 1 to %d small letters, digits and hyphens, as a policy names it", c.Boundary, geo.MaxName)
	}
	if c.Region == "" {
		fault("region", "is missing: name the Azure region or site that this gateway runs in")
	} else if !c.Region.Valid() {
		fault("region", "%q: want 1 to %d small letters, digits, hyphens, dots and underscores, as a policy names it", c.Region, geo.MaxName)
	} else if r, ok := geo.Lookup(c.Region); ok && len(c.Residency.Countries) > 0 && !slices.Contains(c.Residency.Countries, r.Country) {
		fault("region", "%s is in %s, which is not among residency.countries", c.Region, r.Country)
	}
	if c.Name == "" {
		fault("name", "is missing, and the host name is not known")
	} else if err := store.CheckName("name", c.Name); err != nil {
		errs = append(errs, err)
	}
	if _, err := geo.NewFence(c.local()); err != nil && c.Boundary != "" {
		errs = append(errs, err)
	}
	for i, id := range c.FrontDoor.IDs {
		if strings.TrimSpace(id) == "" {
			fault(fmt.Sprintf("frontDoor.ids[%d]", i), "is empty: name the Front Door's id, or leave the list empty to let calls in from anywhere")
		}
	}
	if c.Bodies != nil && c.Bodies.Dir == "" {
		fault("bodies.dir", "is missing: name a folder on a disk, or leave bodies out to keep them in memory")
	}
	c.validateListeners(fault)
	c.validatePolicy(fault)
	if c.Gossip != nil && c.Gossip.KeyFile == "" && !loopback(c.Gossip.Listen) {
		fault("gossip.keyFile", "is missing: without a key anybody who reaches the port is a member of the stamp")
	}
	if c.Drain.Notice < 0 || c.Drain.Timeout < 0 {
		fault("drain", "notice and timeout must not be negative")
	}
	c.Limits.validate(fault)
	return errors.Join(errs...)
}

func (c Config) validateListeners(fault func(path, format string, args ...any)) {
	if !addressAndPort(c.Listen) {
		fault("listen", "%q is not address:port", c.Listen)
	}
	switch {
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		fault("tls", "certFile and keyFile belong together: give both")
	case c.TLS.CertFile != "" && c.TLS.Disabled:
		fault("tls", "disabled, but a certificate is given: remove one of them")
	case c.TLS.CertFile == "" && !c.TLS.Disabled && !loopback(c.Listen):
		fault("tls", "is missing: client keys would cross the network in clear; give certFile and keyFile, or write tls: {disabled: true} where something in front ends TLS")
	}
	if c.HTTP2 && c.TLS.CertFile == "" {
		fault("http2", "is on without tls: clients agree on it in the TLS handshake alone; give tls.certFile, or remove http2")
	}
	if c.Admin == nil {
		return
	}
	if !addressAndPort(c.Admin.Listen) {
		fault("admin.listen", "%q is not address:port", c.Admin.Listen)
	} else if c.Admin.TokenFile == "" && !loopback(c.Admin.Listen) {
		fault("admin.tokenFile", "is missing: on %s anybody could read the stamp's state", c.Admin.Listen)
	}
}

func (c Config) validatePolicy(fault func(path, format string, args ...any)) {
	switch p := c.Policy; {
	case p.File != "" && p.Etcd != nil:
		fault("policy", "names both etcd and file: keep one")
	case p.File == "" && (p.Etcd == nil || len(p.Etcd.Endpoints) == 0):
		fault("policy", "names neither etcd.endpoints nor file: the gateway would have nothing to follow")
	case p.Etcd != nil && len(p.TrustedKeys) == 0:
		fault("policy.trustedKeys", "is empty: a policy from etcd is followed only if one of these keys signed it; stampctl signing-key show prints the public key")
	}
	for i, k := range c.Policy.TrustedKeys {
		if _, err := signing.ParsePublicKey(k); err != nil {
			fault(fmt.Sprintf("policy.trustedKeys[%d]", i), "%v", err)
		}
	}
	if c.Policy.Etcd != nil && c.Policy.CacheDir != "" && !filepath.IsAbs(c.Policy.CacheDir) {
		fault("policy.cacheDir", "%q is not an absolute path: after a restart in another folder the last good policy would be missing", c.Policy.CacheDir)
	}
}

// addressAndPort reports whether a listener may be meant: an address, a host
// name or nothing, and the number of a port.
func addressAndPort(listen string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	if address, _, _ := strings.Cut(host, "%"); net.ParseIP(address) != nil {
		return true
	}
	// Digits and dots alone are an address that is none.
	return strings.Trim(host, letters) == "" && (host == "" || strings.Trim(host, "0123456789.") != "")
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
