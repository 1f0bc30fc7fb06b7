package gateway

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/api"
	"github.com/stampgate/stampgate/gateway/edge"
)

// Limits bound what clients can make a gateway hold. What is zero gets a default.
type Limits struct {
	Connections          int             `yaml:"connections,omitempty"`          // of clients; default 16384, fewer with little memory
	ConnectionsPerSource int             `yaml:"connectionsPerSource,omitempty"` // IPv6 by /64; default a quarter of connections
	SessionsPerClient    int             `yaml:"sessionsPerClient,omitempty"`    // WebSockets; default 1000
	Held                 Bytes           `yaml:"held,omitempty"`                 // bodies and unsent answers; default 512 MiB, or a quarter of the memory limit if that is less
	HeldPerClient        Bytes           `yaml:"heldPerClient,omitempty"`        // default half of held
	UnsentPerConnection  Bytes           `yaml:"unsentPerConnection,omitempty"`  // of answers; default 1 MiB
	HeadTimeout          policy.Duration `yaml:"headTimeout,omitempty"`          // for the head of a request, TLS included; default 10 s
	BodyTimeout          policy.Duration `yaml:"bodyTimeout,omitempty"`          // for its body; default 60 s
	WriteTimeout         policy.Duration `yaml:"writeTimeout,omitempty"`         // for a client to take one piece of its answer; default 60 s
}

const (
	defaultConnections       = 16 << 10
	defaultSessionsPerClient = 1000
	defaultHeld              = 512 << 20
	defaultUnsent            = 1 << 20
	defaultHeadTimeout       = 10 * time.Second
	defaultBodyTimeout       = 60 * time.Second
	defaultWriteTimeout      = 60 * time.Second

	// connectionCost is what an idle connection costs, in bytes: its buffers, its
	// goroutine, and the records of TLS. What a request costs is in held.
	connectionCost = 16 << 10
	// leastHeld is what the largest request needs: its body, once more with the
	// deployment's name in it, and what every request costs.
	leastHeld = 2*api.MaxBody + 1<<20

	adminConnections = 256
)

// withDefaults fills in what is zero, for a process that may use so many bytes of
// memory; 0: nobody says.
func (l Limits) withDefaults(memory int64) Limits {
	connections, held := defaultConnections, int64(defaultHeld)
	if memory > 0 {
		// A quarter of the memory each. Collecting garbage takes about as much again.
		connections = min(connections, max(64, int(memory/4/connectionCost)))
		held = min(held, max(2*leastHeld, memory/4))
	}
	fill(&l.Connections, connections)
	fill(&l.ConnectionsPerSource, max(1, l.Connections/4))
	fill(&l.SessionsPerClient, defaultSessionsPerClient)
	fill(&l.Held, Bytes(held))
	fill(&l.HeldPerClient, l.Held/2)
	fill(&l.UnsentPerConnection, defaultUnsent)
	fill(&l.HeadTimeout, policy.Duration(defaultHeadTimeout))
	fill(&l.BodyTimeout, policy.Duration(defaultBodyTimeout))
	fill(&l.WriteTimeout, policy.Duration(defaultWriteTimeout))
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate reports what is wrong with limits that were given, each by its path.
// What is zero will get a default.
func (l Limits) validate(fault func(path, format string, args ...any)) {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"connections", int64(l.Connections)},
		{"connectionsPerSource", int64(l.ConnectionsPerSource)},
		{"sessionsPerClient", int64(l.SessionsPerClient)},
		{"unsentPerConnection", int64(l.UnsentPerConnection)},
		{"headTimeout", int64(l.HeadTimeout)},
		{"bodyTimeout", int64(l.BodyTimeout)},
		{"writeTimeout", int64(l.WriteTimeout)},
	} {
		if n.value < 0 {
			fault("limits."+n.name, "must be above 0; leave it out for the default")
		}
	}
	full := l.withDefaults(0)
	if full.Connections > 0 && full.ConnectionsPerSource > full.Connections {
		fault("limits.connectionsPerSource", "%d is more than connections, %d", full.ConnectionsPerSource, full.Connections)
	}
	if full.HeldPerClient > full.Held {
		fault("limits.heldPerClient", "%v is more than held, %v", full.HeldPerClient, full.Held)
	}
	if full.HeldPerClient < leastHeld {
		path := "limits.heldPerClient"
		if l.HeldPerClient == 0 {
			path = "limits.held"
		}
		fault(path, "is too little for the largest request: a client needs %v", Bytes(leastHeld))
	}
}

// connectionsFor returns the bounds of connections where there are descriptors for
// so many; 0: for any number. perSource is 0, not bounded, where one source may
// have all: health is answered beyond the total.
func (l Limits) connectionsFor(descriptors int) (total, perSource int) {
	total, perSource = l.Connections, l.ConnectionsPerSource
	if descriptors > 0 {
		total = min(total, descriptors)
	}
	if perSource >= total {
		perSource = 0
	}
	return total, perSource
}

// timeouts are what the limits give a client's connection.
func (l Limits) timeouts() edge.Timeouts {
	return edge.Timeouts{Head: time.Duration(l.HeadTimeout), Body: time.Duration(l.BodyTimeout), Write: time.Duration(l.WriteTimeout)}
}

// Bytes is a size; in YAML a number of bytes, or one with KiB, MiB or GiB.
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for name, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(string(text), name); ok {
			number, unit = strings.TrimSpace(rest), size
		}
	}
	value, err := strconv.ParseInt(number, 10, 64)
	if err != nil || value <= 0 || value > math.MaxInt64/unit {
		return errors.New("is not a size: want a whole number of bytes above 0, or one with KiB, MiB or GiB")
	}
	*b = Bytes(value * unit)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String returns the size in the form that UnmarshalText reads.
func (b Bytes) String() string {
	switch {
	case b != 0 && b%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", b>>30)
	case b != 0 && b%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", b>>20)
	case b != 0 && b%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", b>>10)
	}
	return strconv.FormatInt(int64(b), 10)
}

// IsZero implements yaml.IsZeroer: no size is given.
func (b Bytes) IsZero() bool { return b == 0 }

// memoryLimit is how many bytes of memory this process may use: the less of
// GOMEMLIMIT and of its control group's; 0 if neither says.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1) // reads it
	if n, err := groupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); err == nil {
		limit = min(limit, n)
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// groupLimit reads the memory limit of this process's control group (version 2)
// and of those above it, as far as they can be seen.
func groupLimit(self, root string) (int64, error) {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0, err
	}
	_, group, ok := strings.Cut(strings.TrimSpace(string(text)), "0::/")
	if !ok {
		return 0, errors.New("not in a control group of version 2")
	}
	limit := int64(math.MaxInt64)
	for dir := filepath.Join(root, group); len(dir) >= len(root); dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "memory.max")) //nolint:gosec // the kernel names the group
		if err != nil {
			continue // the outermost group has none
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is none
			limit = min(limit, n)
		}
	}
	return limit, nil
}
