package gateway_test

import (
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway"
)

const goodConfig = `
boundary: eu
region: swedencentral
name: eu-swedencentral-1
listen: 127.0.0.1:8443
residency: {countries: [SE, NL, IE]}
policy: {file: policy.yaml}
`

func TestConfigDefaults(t *testing.T) {
	cfg, err := gateway.ParseConfig([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if cfg.Drain.Notice.String() != "20s" || cfg.Drain.Timeout.String() != "10m0s" {
		t.Errorf("drain = %+v, want 20s and 10m", cfg.Drain)
	}
}

// A misspelt limit must not become "no limit": what is unknown, doubled or
// trailing is an error that names its line.
func TestConfigIsReadStrictly(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "the document is empty: a configuration names at least boundary"},
		{"unknown field", goodConfig + "residancy: {}\n", "line 8: residancy: is an unknown field: did you mean residency?"},
		{"unknown nested field", goodConfig + "drain: {notise: 1s}\n", "line 8: drain.notise: is an unknown field: did you mean notice?"},
		{"doubled field", goodConfig + "region: westeurope\n", "line 8: region: is given twice, first on line 3"},
		{"second document", goodConfig + "---\nboundary: us\n", "line 8: a second document begins here"},
		{"tab", "boundary: eu\n\tregion: x\n", "line 2: is indented with a tab"},
		{"bad size", goodConfig + "limits: {held: much}\n", "line 8: limits.held: is not a size"},
		{"no size", goodConfig + "limits: {held: 0}\n", "line 8: limits.held: is not a size"},
		{"a size beyond all", goodConfig + "limits: {held: 9223372036854775807GiB}\n", "line 8: limits.held: is not a size"},
		{"unknown limit", goodConfig + "limits: {conections: 1}\n", "line 8: limits.conections: is an unknown field: did you mean connections?"},
		{"bad duration", goodConfig + "drain: {notice: soon}\n", "line 8: drain.notice: is not a duration"},
		{"a flag that no file may set", goodConfig + "AllowLoopback: true\n", "line 8: AllowLoopback: is an unknown field"},
		{"several at once", goodConfig + "zone: [a]\nhttp2: 1\n", "line 8: zone: is a list, want text\nline 9: http2: is neither true nor false"},
	} {
		_, err := gateway.ParseConfig([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestConfigFaultsAreAllReportedWithTheirPath(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		want           []string
	}{
		{"everything missing", goodConfig, "name: x\n", []string{"boundary:", "region:", "listen:", "policy:"}},
		{"a boundary that no policy can name", "boundary: eu", "boundary: EU", []string{"boundary: \"EU\""}},
		{"a region that no policy can name", "region: swedencentral", "region: Sweden Central", []string{"region: \"Sweden Central\""}},
		{"a region outside its own countries", "[SE, NL, IE]", "[NL]", []string{"region: swedencentral is in SE"}},
		{"clear text on the network", "127.0.0.1:8443", "0.0.0.0:8443", []string{"tls: is missing"}},
		{"half a certificate", "policy:", "tls: {certFile: a}\npolicy:", []string{"tls: certFile and keyFile"}},
		{"an open admin listener", "policy:", "admin: {listen: 0.0.0.0:9443}\npolicy:", []string{"admin.tokenFile"}},
		{"a Front Door without a name", "policy:", "frontDoor: {ids: [\"\"]}\npolicy:", []string{"frontDoor.ids[0]"}},
		{"a name of two lines", "name: eu-swedencentral-1", "name: \"a\\nb\"", []string{"name "}},
		{"bodies in no folder", "policy:", "bodies: {above: 4MiB}\npolicy:", []string{"bodies.dir"}},
		{"an open gossip port", "policy:", "gossip: {listen: 0.0.0.0:7946}\npolicy:", []string{"gossip.keyFile"}},
		{"two sources", "{file: policy.yaml}", "{file: policy.yaml, etcd: {endpoints: [http://e:2379]}}", []string{"policy: names both"}},
		{"etcd without a trusted key", "{file: policy.yaml}", "{etcd: {endpoints: [http://e:2379]}}", []string{"policy.trustedKeys"}},
		{"a key that is none", "{file: policy.yaml}", "{etcd: {endpoints: [http://e:2379]}, trustedKeys: [x]}", []string{"policy.trustedKeys[0]"}},
		{"a cache that moves", "{file: policy.yaml}", "{etcd: {endpoints: [http://e:2379]}, cacheDir: cache}", []string{"policy.cacheDir"}},
		{"an unknown reach", "[SE, NL, IE]", "[SE, NL], regionalProcessing: country", []string{"residency.regionalProcessing"}},
		{"an unknown zone", "[SE, NL, IE]", "[SE, NL], dataZones: {Nordics: [SE]}", []string{"residency.dataZones"}},
		{"no countries", "[SE, NL, IE]", "[]", []string{"residency.countries"}},
		{"a country that is none", "[SE, NL, IE]", "[SE, sweden]", []string{"residency.countries[1]"}},
		{"HTTP/2 that nobody can agree on", "policy:", "http2: true\npolicy:", []string{"http2: is on without tls"}},
		{"limits below nothing", "policy:", "limits: {connections: -1, bodyTimeout: -1s}\npolicy:", []string{"limits.connections:", "limits.bodyTimeout:"}},
		{"limits that cross", "policy:", "limits: {connections: 10, connectionsPerSource: 11, held: 1GiB, heldPerClient: 2GiB}\npolicy:", []string{"limits.connectionsPerSource:", "limits.heldPerClient:"}},
		{"less than a request", "policy:", "limits: {held: 100MiB}\npolicy:", []string{"limits.held: is too little"}},
		{"less than a request for a client", "policy:", "limits: {heldPerClient: 1MiB}\npolicy:", []string{"limits.heldPerClient: is too little"}},
	} {
		cfg, err := gateway.ParseConfig([]byte(strings.Replace(goodConfig, tt.from, tt.to, 1)))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		err = cfg.Validate()
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", tt.name, err, want)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("boundary: eu\nregion: [x]\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := gateway.ParseConfig(text)
		if err != nil {
			return
		}
		if cfg.Validate() == nil && (cfg.Boundary == "" || len(cfg.Residency.Countries) == 0) {
			t.Errorf("a configuration without a boundary or countries is good: %q", text)
		}
	})
}
