package azuresim

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// A Config is everything a simulator needs at its start. Latencies and faults
// can be changed while it runs.
type Config struct {
	// ControlListen is the address of the control API and of the identity
	// endpoint, for example 127.0.0.1:0. Empty: none (in-process use).
	ControlListen string `yaml:"controlListen"`
	// Instances are the simulated Azure OpenAI resources.
	Instances []InstanceConfig `yaml:"instances"`
	// Identity describes the issuer of the tokens that instances accept.
	Identity IdentityConfig `yaml:"identity"`
	// Latency is that of every instance which sets none of its own.
	Latency Latency `yaml:"latency"`
	// HeaderFaults lets a request ask for a fault by the header x-sim-fault.
	HeaderFaults bool `yaml:"headerFaults"`
	// CAFile is where the certificate of the generated authority is written,
	// for SSL_CERT_FILE. Empty: nowhere.
	CAFile string `yaml:"caFile"`
	// MaxRecords bounds the records kept per instance; older ones are dropped
	// and counted. Default 10,000 (some 8 MB).
	MaxRecords int `yaml:"maxRecords"`
	// Seed makes jitter and fault shares repeatable.
	Seed uint64 `yaml:"seed"`
}

// An InstanceConfig is one Azure OpenAI resource.
type InstanceConfig struct {
	Name   string `yaml:"name"`
	Region string `yaml:"region"` // display name, as in x-ms-region: "Sweden Central"
	// Listen is a host and port, for example 127.0.0.5:0.
	Listen string `yaml:"listen"`
	// Listener replaces Listen, for in-memory networks. It cannot be reopened,
	// so a refusing instance closes what it accepts instead.
	Listener net.Listener `yaml:"-"`
	// APIKey is the resource's key; a second one is accepted in APIKey2.
	APIKey  string `yaml:"apiKey"`
	APIKey2 string `yaml:"apiKey2"`
	// KeysDisabled is a resource with local authentication turned off.
	KeysDisabled bool        `yaml:"keysDisabled"`
	AcceptTokens TokenConfig `yaml:"acceptTokens"`
	// TLS makes the instance speak https (HTTP/1.1 and HTTP/2). Nil: plain.
	TLS         *TLSConfig         `yaml:"tls"`
	Deployments []DeploymentConfig `yaml:"deployments"`
	Latency     *Latency           `yaml:"latency"` // nil: the Config's
	Faults      []Fault            `yaml:"faults"`  // in force from the start
}

// A TokenConfig says which Entra tokens an instance takes.
type TokenConfig struct {
	// Audiences default to cognitiveservices.azure.com and ai.azure.com.
	Audiences []string `yaml:"audiences"`
	// Principals are the object ids that hold a data-plane role; empty: all.
	Principals []string `yaml:"principals"`
	// Disabled refuses every token.
	Disabled bool `yaml:"disabled"`
}

// A TLSConfig says which certificate an instance shows. Without files one is
// made for its address and Names, signed by the simulator's own authority.
type TLSConfig struct {
	CertFile string   `yaml:"certFile"`
	KeyFile  string   `yaml:"keyFile"`
	Names    []string `yaml:"names"` // further DNS names, for example swc.openai.azure.com
}

// A DeploymentConfig is one model deployment of an instance.
type DeploymentConfig struct {
	Name    string `yaml:"name"`
	Model   string `yaml:"model"`
	Version string `yaml:"version"`
	// SKU is Standard (default) or any other of Azure's; those that contain
	// "Provisioned" are limited by utilisation, the others by the two limits.
	SKU string `yaml:"sku"`
	// TokensPerMinute is the limit of a standard deployment; 0: none.
	TokensPerMinute int `yaml:"tokensPerMinute"`
	// RequestsPerMinute defaults to 6 per 1,000 tokens per minute.
	RequestsPerMinute int `yaml:"requestsPerMinute"`
	// PTU is the number of provisioned units.
	PTU int `yaml:"ptu"`
	// TokensPerMinutePerPTU is what one unit serves. Default 2,500.
	TokensPerMinutePerPTU int      `yaml:"tokensPerMinutePerPTU"`
	Latency               *Latency `yaml:"latency"` // nil: the instance's
}

// An IdentityConfig describes the simulator's issuer of tokens.
type IdentityConfig struct {
	Header string `yaml:"header"` // what X-IDENTITY-HEADER must hold; default "simulated"
	// SigningKey makes tokens of one process acceptable to another.
	SigningKey string        `yaml:"signingKey"`
	Lifetime   time.Duration `yaml:"lifetime"` // default 24 h, as Azure's for managed identities
	ObjectID   string        `yaml:"objectID"` // the oid of issued tokens
	Tenant     string        `yaml:"tenant"`
}

// A Latency says how long an answer takes.
type Latency struct {
	FirstToken time.Duration `yaml:"firstToken"` // from the request's last byte
	PerToken   time.Duration `yaml:"perToken"`   // for each further token
	Tokens     int           `yaml:"tokens"`     // length of an answer; default 16
	Jitter     float64       `yaml:"jitter"`     // 0…1: each wait varies by up to this share
}

const (
	defaultTokens     = 16
	defaultMaxRecords = 10_000
	defaultPTUTokens  = 2_500
	// The object id and tenant that issued tokens name unless told otherwise.
	defaultObjectID = "00000000-0000-4000-8000-00000000a1d0"
	defaultTenant   = "00000000-0000-4000-8000-000000007e7a"
)

// defaultAudiences are the resources of Azure OpenAI: the older documents name
// the first, those of the v1 API the second.
func defaultAudiences() []string {
	return []string{"https://cognitiveservices.azure.com", "https://ai.azure.com"}
}

// withDefaults returns a copy with every default filled in; the caller's slices
// stay as they were.
func (c Config) withDefaults() Config {
	c.MaxRecords = cmp.Or(c.MaxRecords, defaultMaxRecords)
	c.Latency.Tokens = cmp.Or(c.Latency.Tokens, defaultTokens)
	c.Identity.Header = cmp.Or(c.Identity.Header, "simulated")
	c.Identity.SigningKey = cmp.Or(c.Identity.SigningKey, "azuresim")
	c.Identity.Lifetime = cmp.Or(c.Identity.Lifetime, 24*time.Hour)
	c.Identity.ObjectID = cmp.Or(c.Identity.ObjectID, defaultObjectID)
	c.Identity.Tenant = cmp.Or(c.Identity.Tenant, defaultTenant)
	c.Instances = slices.Clone(c.Instances)
	for n := range c.Instances {
		i := &c.Instances[n]
		i.Region = cmp.Or(i.Region, "Sweden Central")
		if i.AcceptTokens.Audiences == nil {
			i.AcceptTokens.Audiences = defaultAudiences()
		}
		if i.Latency == nil {
			i.Latency = new(c.Latency)
		}
		i.Latency = new(i.Latency.withDefaults())
		i.Deployments = slices.Clone(i.Deployments)
		for m := range i.Deployments {
			i.Deployments[m] = i.Deployments[m].withDefaults()
		}
	}
	return c
}

func (l Latency) withDefaults() Latency {
	l.Tokens = cmp.Or(l.Tokens, defaultTokens)
	return l
}

func (d DeploymentConfig) withDefaults() DeploymentConfig {
	d.SKU = cmp.Or(d.SKU, "Standard")
	d.Model = cmp.Or(d.Model, d.Name)
	if d.Latency != nil {
		d.Latency = new(d.Latency.withDefaults())
	}
	if d.provisioned() {
		d.PTU = cmp.Or(d.PTU, 100)
		d.TokensPerMinutePerPTU = cmp.Or(d.TokensPerMinutePerPTU, defaultPTUTokens)
		return d
	}
	// Azure grants six requests a minute for every thousand tokens.
	d.RequestsPerMinute = cmp.Or(d.RequestsPerMinute, (d.TokensPerMinute*6+999)/1000)
	return d
}

// provisioned tells whether the deployment is paid by units and so limited by
// utilisation.
func (d DeploymentConfig) provisioned() bool { return strings.Contains(d.SKU, "Provisioned") }

// snapshotName is the model's name with its version, as answers report it.
func (d DeploymentConfig) snapshotName() string {
	if d.Version == "" {
		return d.Model
	}
	return d.Model + "-" + d.Version
}

// Validate reports every fault of the configuration, each with its path.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Instances) == 0 {
		bad("instances: none, want at least one")
	}
	if c.MaxRecords < 0 {
		bad("maxRecords = %d, want 0 or more", c.MaxRecords)
	}
	if err := c.Latency.validate(); err != nil {
		bad("latency: %w", err)
	}
	seen := map[string]bool{}
	for n, i := range c.Instances {
		path := fmt.Sprintf("instances[%d]", n)
		if i.Name == "" || url.PathEscape(i.Name) != i.Name {
			bad("%s.name = %q, want letters, digits, - and _", path, i.Name)
		}
		if seen[i.Name] {
			bad("%s.name = %q is there twice", path, i.Name)
		}
		seen[i.Name] = true
		for _, err := range i.faultsOf() {
			bad("%s.%w", path, err)
		}
	}
	return errors.Join(errs...)
}

// faultsOf returns what is wrong with an instance, each with the path below it.
func (i InstanceConfig) faultsOf() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i.Listener == nil {
		if _, _, err := net.SplitHostPort(i.Listen); err != nil {
			bad("listen = %q, want host:port", i.Listen)
		}
	}
	if t := i.TLS; t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		bad("tls: certFile and keyFile go together")
	}
	if i.Latency != nil {
		if err := i.Latency.validate(); err != nil {
			bad("latency: %w", err)
		}
	}
	names := map[string]bool{}
	for n, d := range i.Deployments {
		if d.Name == "" || names[d.Name] {
			bad("deployments[%d].name = %q, want a name that is there once", n, d.Name)
		}
		names[d.Name] = true
		if d.TokensPerMinute < 0 || d.RequestsPerMinute < 0 || d.PTU < 0 || d.TokensPerMinutePerPTU < 0 {
			bad("deployments[%d]: a limit is negative", n)
		}
		if d.Latency != nil {
			if err := d.Latency.validate(); err != nil {
				bad("deployments[%d].latency: %w", n, err)
			}
		}
	}
	for n, f := range i.Faults {
		if err := f.Validate(); err != nil {
			bad("faults[%d]: %w", n, err)
		}
	}
	return errs
}

func (l Latency) validate() error {
	switch {
	case l.FirstToken < 0 || l.PerToken < 0:
		return fmt.Errorf("a wait is negative")
	case l.Tokens < 0 || l.Tokens > maxAnswerTokens:
		return fmt.Errorf("tokens = %d, want 0 to %d", l.Tokens, maxAnswerTokens)
	case l.Jitter < 0 || l.Jitter > 1:
		return fmt.Errorf("jitter = %g, want 0 to 1", l.Jitter)
	}
	return nil
}

// ParseConfig reads a YAML configuration. Unknown and repeated names and a
// second document are errors.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	if err := strictyaml.Decode(text, &c, strictyaml.Rules{What: "a configuration", Needs: "instances"}); err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := c.withDefaults().Validate(); err != nil {
		return Config{}, fmt.Errorf("check configuration: %w", err)
	}
	return c, nil
}
