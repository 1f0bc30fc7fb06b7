package devstack

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/geo"
)

// The configurations of the children. They are written out here and not taken
// from the children's packages, so that stampctl does not carry an etcd server
// and a gateway with it; the children refuse what they do not know.

type object map[string]any

// controlPlaneConfig is for controlplane --config.
func controlPlaneConfig(c Config, p plan) object {
	boundaries := object{}
	for _, b := range p.Boundaries {
		boundaries[string(b.Name)] = object{"embedded": object{"listen": b.Etcd}}
	}
	return object{
		"listen":                p.ControlPlane,
		"tls":                   object{"disabled": true},
		"tokenFile":             c.path("keys", controlPlaneTokenName),
		"signingKeyFile":        c.path("keys", "signing.key"),
		"boundaries":            boundaries,
		"embedded":              object{"dir": c.path("etcd")},
		"allowLoopbackBackends": true,
	}
}

// controlPlaneTokenName is the file in which the control plane leaves the token
// that it takes.
const controlPlaneTokenName = "controlplane.token"

// simulatorConfig is for loadtest simulate --config.
func simulatorConfig(p plan, s secrets) (object, error) {
	header, err := s.value("identity.header", randomHex)
	if err != nil {
		return nil, err
	}
	var instances []object
	for _, b := range p.Boundaries {
		for _, i := range b.Backends {
			key, err := s.value(backendKeyName(i.Name), randomHex)
			if err != nil {
				return nil, err
			}
			region, _ := geo.Lookup(i.Region)
			instances = append(instances, object{
				"name": i.Name, "region": region.Display, "listen": i.Listen, "apiKey": key,
				"keysDisabled": i.ManagedIdentity,
				"deployments":  deploymentsOf(i.Provisioned),
			})
		}
	}
	return object{
		"controlListen": p.SimControl,
		"identity":      object{"header": header},
		// Long enough that a stream can be watched, short enough not to wait for.
		"latency":   object{"firstToken": "40ms", "perToken": "4ms", "tokens": 16, "jitter": 0.2},
		"instances": instances,
	}, nil
}

// gatewayDrain is how long a gateway of the stack takes to drain: development
// stops more often than production, and gatewayStop is above the sum.
const (
	gatewayDrainNotice  = 500 * time.Millisecond
	gatewayDrainTimeout = 5 * time.Second
)

// gatewayConfig is for gateway --config.
func (s *stack) gatewayConfig(b boundaryPlan, g gatewayPlan, cp controlPlaneReady) (object, error) {
	gossipKey, err := s.secrets.gossip(b.Name, g.Region)
	if err != nil {
		return nil, err
	}
	sealKey, err := s.secrets.seal(b.Name)
	if err != nil {
		return nil, err
	}
	adminToken, err := s.secrets.file(adminTokenName, randomHex)
	if err != nil {
		return nil, err
	}
	var peers []string
	for _, other := range b.gatewaysIn(g.Region) {
		if other.Name != g.Name {
			peers = append(peers, other.Gossip)
		}
	}
	config := object{
		"boundary": b.Name, "region": g.Region, "name": g.Name, "zone": g.Zone,
		"listen":    g.Public,
		"admin":     object{"listen": g.Admin, "tokenFile": adminToken},
		"residency": object{"countries": countriesOf(b.Regions)},
		"policy": object{
			"etcd":        object{"endpoints": cp.Etcd[string(b.Name)]},
			"trustedKeys": []string{cp.PublicKey},
			"cacheDir":    s.path("cache", g.Name),
		},
		"gossip": object{"listen": g.Gossip, "advertise": g.Gossip, "join": peers, "keyFile": gossipKey},
		"seal":   object{"keyFile": sealKey},
		"drain":  object{"notice": gatewayDrainNotice.String(), "timeout": gatewayDrainTimeout.String()},
	}
	if s.TLS {
		config["tls"] = object{"certFile": s.certificates.cert, "keyFile": s.certificates.key}
	}
	return config, nil
}

// writeConfig writes config/NAME.yaml and returns its path.
func writeConfig(c Config, name string, config object) (string, error) {
	data, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	path := c.path("config", name+".yaml")
	return path, writeFile(path, data)
}

// environment is what the children see of ours: enough to run, and nothing that
// would have them reach a real Azure, a proxy, or a cluster.
func environment(ours []string, extra ...string) []string {
	var out []string
	for _, entry := range ours {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "GOTRACEBACK", "GORACE", "GOCOVERDIR", "GOMAXPROCS", "GODEBUG":
			out = append(out, entry)
		}
	}
	return append(out, extra...)
}
