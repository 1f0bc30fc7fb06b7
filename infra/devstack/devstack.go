// Package devstack runs a whole Stampgate on one machine for development:
// control plane with embedded etcd, simulated Azure OpenAI instances, and the
// gateways of every stamp, each as a real process that is started from a built
// binary.
//
// The stack lives in one folder (".dev"): keys, configurations, policies, logs,
// and stack.json, which says how to reach everything. It builds nothing, it
// reaches nothing outside the loopback range, and it never restarts what died:
// a death is something to look at. The command stampctl dev is its face; tests
// that want the real processes may call Run themselves, and anyone may Load
// the stack file.
package devstack

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// Names of what is kept in the stack's folder.
const (
	StackFileName = "stack.json"
	lockName      = "stampgate-dev.lock" // also marks the folder as ours
	processesName = "processes.json"
	planName      = "plan.json"
)

// DefaultDir is the folder of the stack, beside the sources.
const DefaultDir = ".dev"

// Bounds of the phases. Each is far above what a healthy start takes, so that
// running into one means that something is wrong, not slow.
const (
	readyWait   = 30 * time.Second // from a process's start to its ready line
	trafficWait = 30 * time.Second // from the last gateway's ready line to a served request
	gatewayStop = 8 * time.Second  // from SIGTERM to SIGKILL; the drain timeout in the gateways' configuration is below it
	otherStop   = 5 * time.Second  // the same, for control plane and simulator
)

// Config says which stack to run, and where.
type Config struct {
	Dir        string // folder of the stack; made if absent
	BinDir     string // where the binaries controlplane, gateway and loadtest are
	Boundaries []Boundary
	// KeepState keeps keys, etcd's data and the published policies of the last
	// run in Dir. Otherwise each start begins anew.
	KeepState bool
	// PortBase is the first port of the stack's block. 0: the first block, from
	// DefaultPortBase on, of which no port is in use.
	PortBase int
	// TLS has the gateways speak https, with a certificate of an authority that
	// is made in Dir. The simulated backends stay plain, on loopback.
	TLS bool
	Log io.Writer // progress and deaths, for a person
}

// A Boundary is one residency boundary of the stack.
type Boundary struct {
	Name             geo.Boundary
	Regions          []geo.RegionID
	GatewaysPerStamp int
}

// DefaultBoundaries returns the stack that is run where nothing else is asked
// for: ten gateways in four stamps.
func DefaultBoundaries() []Boundary {
	return []Boundary{
		{Name: "eu", Regions: []geo.RegionID{"swedencentral", "westeurope"}, GatewaysPerStamp: 3},
		{Name: "us", Regions: []geo.RegionID{"eastus2", "westus3"}, GatewaysPerStamp: 2},
	}
}

// A ConfigError is a fault in what was asked for, as opposed to something that
// went wrong while doing it.
type ConfigError struct{ Text string }

func (e *ConfigError) Error() string { return e.Text }

func misconfigured(format string, args ...any) error {
	return &ConfigError{Text: fmt.Sprintf(format, args...)}
}

// boundaryName is what may stand in a key, a file name and a gossip label.
func boundaryName(s string) bool {
	return regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`).MatchString(s)
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, misconfigured(format, args...)) }
	if c.Dir == "" {
		fault("the stack's folder is missing: name it with --dir")
	}
	if len(c.Boundaries) == 0 {
		fault("no boundary is asked for: name one with --boundaries, such as eu")
	}
	if len(c.Boundaries) > maxBoundaries {
		fault("%d boundaries, want at most %d", len(c.Boundaries), maxBoundaries)
	}
	var seen []geo.Boundary
	gateways := 0
	for _, b := range c.Boundaries {
		if !boundaryName(string(b.Name)) {
			fault("boundary %q: want lower-case letters, digits and hyphens, such as eu", b.Name)
		}
		if slices.Contains(seen, b.Name) {
			fault("boundary %s is asked for twice", b.Name)
		}
		seen = append(seen, b.Name)
		if len(b.Regions) == 0 {
			fault("boundary %s has no region: name them with --regions %s=REGION,REGION", b.Name, b.Name)
		}
		for i, r := range b.Regions {
			if _, ok := geo.Lookup(r); !ok {
				fault("boundary %s: %q is not a region of Azure", b.Name, r)
			}
			if slices.Contains(b.Regions[:i], r) {
				fault("boundary %s: region %s is named twice", b.Name, r)
			}
		}
		if b.GatewaysPerStamp < 1 {
			fault("boundary %s: %d gateways per stamp, want at least 1", b.Name, b.GatewaysPerStamp)
		}
		gateways += b.GatewaysPerStamp * len(b.Regions)
	}
	if gateways > maxGateways {
		fault("%d gateways, want at most %d: use fewer regions or --gateways", gateways, maxGateways)
	}
	if c.PortBase != 0 && (c.PortBase < 1024 || c.PortBase > 65535-blockSize) {
		fault("--ports %d: want a first port between 1024 and %d", c.PortBase, 65535-blockSize)
	}
	return errors.Join(errs...)
}

// path joins names to the stack's folder, as an absolute path: the children
// are told where their files are whatever folder they run in.
func (c Config) path(names ...string) string {
	return filepath.Join(append([]string{c.Dir}, names...)...)
}

// countriesOf returns the countries in which regional deployments of the regions
// may process, each once, in order.
func countriesOf(regions []geo.RegionID) []geo.Country {
	var out []geo.Country
	for _, id := range regions {
		r, _ := geo.Lookup(id)
		for _, country := range r.GeographyCountries() {
			if !slices.Contains(out, country) {
				out = append(out, country)
			}
		}
	}
	return out
}

// indent puts text under a line of its own.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}
