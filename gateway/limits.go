package gateway

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/memory"
	"github.com/stampgate/stampgate/gateway/serve"
)

// Limits bound what clients can make a gateway hold. What is zero gets a default.
type Limits struct {
	Connections          int             `yaml:"connections,omitempty"`          // of clients; default 16384, fewer with little memory
	ConnectionsPerSource int             `yaml:"connectionsPerSource,omitempty"` // IPv6 by /64; default a quarter of connections
	SessionsPerClient    int             `yaml:"sessionsPerClient,omitempty"`    // WebSockets; default 1000
	Held                 memory.Size     `yaml:"held,omitempty"`                 // bodies and unsent answers; default 512 MiB, or a quarter of the memory limit if that is less
	HeldPerClient        memory.Size     `yaml:"heldPerClient,omitempty"`        // default half of held
	UnsentPerConnection  memory.Size     `yaml:"unsentPerConnection,omitempty"`  // of answers; default 1 MiB
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
	leastHeld = 2*serve.MaxBody + 1<<20

	adminConnections = 256
)

// withDefaults fills in what is zero, for a process that may use so many bytes of
// memory; 0: nobody says.
func (l Limits) withDefaults(most int64) Limits {
	connections, held := defaultConnections, int64(defaultHeld)
	if most > 0 {
		// A quarter of the memory each. Collecting garbage takes about as much again.
		connections = min(connections, max(64, int(most/4/connectionCost)))
		held = min(held, max(2*leastHeld, most/4))
	}
	fill(&l.Connections, connections)
	fill(&l.ConnectionsPerSource, max(1, l.Connections/4))
	fill(&l.SessionsPerClient, defaultSessionsPerClient)
	fill(&l.Held, memory.Size(held))
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
		fault(path, "is too little for the largest request: a client needs %v", memory.Size(leastHeld))
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
