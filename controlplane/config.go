package controlplane

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// Config is the control plane's configuration file. It is read once at start;
// what changes while it runs is in each boundary's etcd.
type Config struct {
	Listen string `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	// TokenFile holds the admin bearer token. It is made when absent.
	TokenFile string `yaml:"tokenFile"`
	// SigningKeyFile holds the key that signs policies and orders. It is made
	// when absent.
	SigningKeyFile string `yaml:"signingKeyFile"`
	// TrustedKeys made publications that still count as genuine, beside the
	// signing key itself: the old one while a new one takes over.
	TrustedKeys []signing.PublicKey       `yaml:"trustedKeys"`
	Boundaries  map[geo.Boundary]Boundary `yaml:"boundaries"`
	Embedded    Embedded                  `yaml:"embedded"`
	// AllowLoopbackBackends accepts policies with http://127.… backends:
	// development and tests only.
	AllowLoopbackBackends bool `yaml:"allowLoopbackBackends"`

	// OnReady, if set, is called once when requests are served.
	OnReady func(Addresses) `yaml:"-"`
	// NoSync keeps embedded etcds from flushing to disk: for tests.
	NoSync bool `yaml:"-"`
}

// TLS is how the listener is secured.
type TLS struct {
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	Disabled bool   `yaml:"disabled"` // plain HTTP on an address that is not loopback
}

// A Boundary says where one boundary's etcd is. Without endpoints this process
// runs one.
type Boundary struct {
	Etcd     Etcd             `yaml:"etcd"`
	Embedded BoundaryEmbedded `yaml:"embedded"`
}

// Etcd is a cluster of the boundary's own.
type Etcd struct {
	Endpoints []string `yaml:"endpoints"`
	CAFile    string   `yaml:"caFile"`
	CertFile  string   `yaml:"certFile"`
	KeyFile   string   `yaml:"keyFile"`
}

// Embedded is for the etcds that run inside this process.
type Embedded struct {
	Dir string `yaml:"dir"` // one folder in it for each boundary
	// Listen is the loopback address of the first of them, by boundary name. The
	// others take a free port each, and keep it over restarts.
	Listen string `yaml:"listen"`
}

// BoundaryEmbedded is for one boundary's embedded etcd.
type BoundaryEmbedded struct {
	Listen string `yaml:"listen"` // a loopback address
}

// Addresses tell where a running control plane is to be found.
type Addresses struct {
	URL       string                    `json:"url"`
	PublicKey signing.PublicKey         `json:"publicKey"`
	Etcd      map[geo.Boundary][]string `json:"etcd"`
}

// DefaultConfig holds what a file may leave out.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:9400"} }

// maxConfigBytes is far above any configuration written by people.
const maxConfigBytes = 1 << 20

// LoadConfig reads a configuration file, strictly, and validates it.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxConfigBytes { // what is cut off must not become what is not said
		return Config{}, fmt.Errorf("%s: more than %d bytes are no configuration", path, maxConfigBytes)
	}
	cfg, err := ParseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// ParseConfig reads a configuration: unknown and repeated names and a second
// document are errors, since a misspelt setting must not be no setting.
func ParseConfig(text []byte) (Config, error) {
	cfg := DefaultConfig()
	rules := strictyaml.Rules{What: "a configuration", Needs: "tokenFile, signingKeyFile and boundaries"}
	if err := strictyaml.Decode(text, &cfg, rules); err != nil {
		return Config{}, err
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Validate reports every fault with its path. It opens no file.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		fault("listen: want host:port, not %q", c.Listen)
	}
	switch certs := c.TLS.CertFile != "" && c.TLS.KeyFile != ""; {
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		fault("tls: certFile and keyFile belong together: one is missing")
	case certs && c.TLS.Disabled:
		fault("tls: it is disabled, and yet certificates are configured")
	case err == nil && !certs && !c.TLS.Disabled && !isLoopback(host):
		fault("tls: %s is not loopback: give certFile and keyFile, or write disabled: true", c.Listen)
	}
	if c.TokenFile == "" {
		fault("tokenFile is missing: name a file for the admin token, it is made when absent")
	}
	if c.SigningKeyFile == "" {
		fault("signingKeyFile is missing: name a file for the signing key, it is made when absent")
	}
	if len(c.Boundaries) == 0 {
		fault("boundaries is empty: name at least one")
	}
	for _, b := range c.names() {
		errs = append(errs, c.validateBoundary(b)...)
	}
	return errors.Join(errs...)
}

func (c Config) validateBoundary(b geo.Boundary) []error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !b.Valid() {
		fault("boundaries: %q: want small letters, digits and '-', at most 63", b)
	}
	conf := c.Boundaries[b]
	if len(conf.Etcd.Endpoints) > 0 {
		if err := conf.Etcd.store().Validate(); err != nil {
			fault("boundaries.%s: %w", b, err)
		}
		if conf.Embedded.Listen != "" {
			fault("boundaries.%s.embedded: the boundary has an etcd of its own", b)
		}
		return errs
	}
	if conf.Etcd.CAFile+conf.Etcd.CertFile+conf.Etcd.KeyFile != "" {
		fault("boundaries.%s.etcd: certificates without endpoints", b)
	}
	if c.Embedded.Dir == "" {
		fault("boundaries.%s: neither etcd.endpoints nor embedded.dir is given", b)
	}
	return errs
}

func (e Etcd) store() store.Config {
	return store.Config{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile}
}

// names are the boundaries in order.
func (c Config) names() []geo.Boundary {
	out := make([]geo.Boundary, 0, len(c.Boundaries))
	for b := range c.Boundaries {
		out = append(out, b)
	}
	slices.Sort(out)
	return out
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost"
}
