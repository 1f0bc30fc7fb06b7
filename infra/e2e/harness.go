// Package e2e starts the whole product inside a test: simulated Azure OpenAI
// instances, a control plane with embedded etcd, and gateways, each by the same
// Run function as its command, on real sockets of this machine.
//
// It is for tests only. Nothing in it stands in for a part of the product; the
// one thing simulated is Azure.
package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"text/template"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/loadtest/azuresim"
	"github.com/stampgate/stampgate/stamp/secret"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Limit bounds every wait: far beyond what a slow machine takes, so that only a
// fault reaches it.
const Limit = 60 * time.Second

// Options shape a stack. The zero value is boundary eu with one gateway in
// swedencentral, over plain HTTP, without gossip.
type Options struct {
	// Regions of boundary eu that have a stamp; default swedencentral.
	Regions []geo.RegionID
	// Gateways of each stamp; default 1.
	Gateways int
	// TLS has the gateways serve https.
	TLS bool
	// Gossip joins the gateways of a stamp.
	Gossip bool
	// Latency of the simulated instances.
	Latency azuresim.Latency
	// Edit changes the policy before it is published.
	Edit func(string) string
	// Clients beside payroll, which may use every route, too.
	Clients []string
	// Configure changes the configuration of each gateway before it starts.
	Configure func(*gateway.Config)
	// NoGateways leaves the gateways to the test, which may run them as processes.
	NoGateways bool
	// Log takes the lines of every part, from LogLevel on; default the test's
	// own output and warnings.
	Log      io.Writer
	LogLevel zerolog.Level
}

// A Stack is a running product.
type Stack struct {
	T        testing.TB
	Options  Options
	Sim      *azuresim.Sim
	Control  *client.Client
	Key      string            // of the client payroll, which may use every route
	Keys     map[string]string // of every client
	Policy   string            // as last published
	Gateways []*Gateway
	CAFile   string // of the gateways' certificate, with TLS

	dir         string
	addresses   controlplane.Addresses
	stopControl func()
	log         zerolog.Logger
	seeds       map[geo.RegionID][]string // addresses of gossip
}

// Start starts a stack and ends it with the test. It returns when every gateway
// is ready.
func Start(t testing.TB, opt Options) *Stack {
	t.Helper()
	if len(opt.Regions) == 0 {
		opt.Regions = []geo.RegionID{"swedencentral"}
	}
	if opt.Gateways == 0 {
		opt.Gateways = 1
	}
	if opt.Log == nil {
		opt.Log, opt.LogLevel = t.Output(), zerolog.WarnLevel
	}
	s := &Stack{T: t, Options: opt, dir: t.TempDir(), log: telemetry.NewLogger(opt.Log, opt.LogLevel, ""), Keys: map[string]string{}, seeds: map[geo.RegionID][]string{}}
	for _, name := range append([]string{"payroll"}, opt.Clients...) {
		key, err := auth.NewKey("eu")
		if err != nil {
			t.Fatal(err)
		}
		s.Keys[name] = key
	}
	s.Key = s.Keys["payroll"]
	s.startSim()
	s.startControl()
	s.Policy = s.document()
	if opt.Edit != nil {
		s.Policy = opt.Edit(s.Policy)
	}
	s.Publish(s.Policy)
	if opt.TLS {
		s.makeCertificate()
	}
	for _, region := range opt.Regions {
		for i := range opt.Gateways {
			s.Gateways = append(s.Gateways, s.newGateway(region, i+1))
		}
	}
	if !opt.NoGateways {
		for _, g := range s.Gateways {
			s.StartGateway(g)
		}
	}
	return s
}

// Instances of a region: a provisioned and a standard one.
func instances(region geo.RegionID) (provisioned, standard string) {
	return string(region) + "-ptu", string(region) + "-std"
}

func (s *Stack) startSim() {
	cfg := azuresim.Config{Latency: s.Options.Latency, HeaderFaults: true}
	for i, region := range s.Options.Regions {
		ptu, std := instances(region)
		r, _ := geo.Lookup(region)
		for j, name := range []string{ptu, std} {
			sku := "ProvisionedManaged"
			if name == std {
				sku = "Standard"
			}
			cfg.Instances = append(cfg.Instances, azuresim.InstanceConfig{
				Name: name, Region: r.Display, Listen: fmt.Sprintf("127.0.%d.%d:0", 10+i, 1+j), APIKey: "key-of-" + name,
				Deployments: []azuresim.DeploymentConfig{
					{Name: "gpt-4o", Model: "gpt-4o", Version: "2024-11-20", SKU: sku, PTU: 1000, TokensPerMinute: 100_000_000, RequestsPerMinute: 10_000_000},
					{Name: "realtime", Model: "gpt-realtime", Version: "2025-08-28", SKU: sku, PTU: 1000, TokensPerMinute: 100_000_000, RequestsPerMinute: 10_000_000},
					{Name: "embed", Model: "text-embedding-3-large", Version: "1", SKU: sku, PTU: 1000, TokensPerMinute: 100_000_000, RequestsPerMinute: 10_000_000},
				},
			})
		}
	}
	sim, err := azuresim.Start(context.Background(), cfg, s.log)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Sim = sim
	s.T.Cleanup(func() { _ = sim.Close() })
}

func (s *Stack) startControl() {
	ready := make(chan controlplane.Addresses, 1)
	cfg := controlplane.Config{
		Listen: "127.0.0.1:0", TokenFile: filepath.Join(s.dir, "token"), SigningKeyFile: filepath.Join(s.dir, "signing.key"),
		Boundaries:            map[geo.Boundary]controlplane.Boundary{"eu": {}},
		Embedded:              controlplane.Embedded{Dir: filepath.Join(s.dir, "etcd"), Listen: "127.0.0.1:0"},
		AllowLoopbackBackends: true, NoSync: true,
		OnReady: func(a controlplane.Addresses) { ready <- a },
	}
	s.stopControl = s.goRun("control plane", func(ctx context.Context) error { return controlplane.Run(ctx, cfg, s.log) })
	select {
	case s.addresses = <-ready:
	case <-time.After(Limit):
		s.T.Fatal("the control plane is not ready")
	}
	token, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Control, err = client.New(client.Config{URL: s.addresses.URL, Token: secret.New(string(bytes.TrimSpace(token)))})
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(s.Control.Close)
}

// Etcd returns the endpoints of the boundary's etcd.
func (s *Stack) Etcd() []string { return s.addresses.Etcd["eu"] }

// StopControl ends the control plane and with it the boundary's etcd.
func (s *Stack) StopControl() { s.stopControl() }

// goRun runs f in a goroutine. The function that it returns ends f and waits;
// the test's end calls it, too. An error of f fails the test.
func (s *Stack) goRun(name string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			s.T.Errorf("%s: %v", name, err)
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(Limit):
			s.T.Errorf("%s did not end", name)
		}
	}
	s.T.Cleanup(stop)
	return stop
}

const documentTemplate = `boundary: eu
residency: {countries: [SE, NL, IE, FR, DE]}
stamps:
{{- range $i, $r := .Regions}}
  - region: {{$r}}
    fallback: [{{range $j, $o := $.Regions}}{{if ne $r $o}}{{$o}}, {{end}}{{end}}]
{{- end}}
backends:
{{- range .Backends}}
  - name: {{.Name}}
    region: {{.Region}}
    endpoint: {{.URL}}
    credential: {apiKeyFile: {{.KeyFile}}}
    deployments:
      - {name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: {{.SKU}}{{.Capacity}}}
      - {name: embed, model: text-embedding-3-large, version: "1", sku: {{.SKU}}{{.Capacity}}}
{{- end}}
routes:
  - name: gpt-4o
    model: gpt-4o
    version: "2024-11-20"
    timeouts: {connect: 1s, firstByte: 5s, idle: 5s, total: 1m}
  - name: text-embedding-3-large
    model: text-embedding-3-large
    version: "1"
clients:
{{- range $name, $hash := .KeyHashes}}
  - name: {{$name}}
    keys: [{sha256: {{$hash}}, notAfter: 2100-01-01T00:00:00Z}]
    routes: [gpt-4o, text-embedding-3-large]
{{- end}}
`

func (s *Stack) document() string {
	type backend struct{ Name, Region, URL, KeyFile, SKU, Capacity string }
	data := struct {
		Regions   []geo.RegionID
		Backends  []backend
		KeyHashes map[string]string // by client
	}{Regions: s.Options.Regions, KeyHashes: map[string]string{}}
	for name, key := range s.Keys {
		data.KeyHashes[name] = sha256Hex(key)
	}
	for _, region := range s.Options.Regions {
		ptu, std := instances(region)
		for _, b := range []backend{
			{Name: ptu, Region: string(region), SKU: "ProvisionedManaged", Capacity: ", ptu: 100"},
			{Name: std, Region: string(region), SKU: "Standard", Capacity: ", tokensPerMinute: 450000"},
		} {
			b.URL = s.Sim.Instance(b.Name).URL()
			b.KeyFile = filepath.Join(s.dir, b.Name+".key")
			if err := os.WriteFile(b.KeyFile, []byte("key-of-"+b.Name), 0o600); err != nil {
				s.T.Fatal(err)
			}
			data.Backends = append(data.Backends, b)
		}
	}
	var text bytes.Buffer
	if err := template.Must(template.New("policy").Parse(documentTemplate)).Execute(&text, data); err != nil {
		s.T.Fatal(err)
	}
	return text.String()
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Publish publishes a policy through the control plane and returns its serial.
func (s *Stack) Publish(text string) uint64 {
	s.T.Helper()
	p, err := s.Control.Publish(s.T.Context(), "eu", []byte(text), client.PublishOptions{Author: "e2e", Message: "test"})
	if err != nil {
		s.T.Fatalf("publish: %v", err)
	}
	s.Policy = text
	return p.Serial
}

// Status reads the gateway's status from its admin listener.
func (s *Stack) Status(g *Gateway) admin.Status {
	s.T.Helper()
	var status admin.Status
	s.AdminJSON(g, "/status", &status)
	return status
}

// AdminJSON reads a path of the gateway's admin listener.
func (s *Stack) AdminJSON(g *Gateway, path string, into any) {
	s.T.Helper()
	text := s.Admin(g, path)
	if err := json.Unmarshal(text, into); err != nil {
		s.T.Fatalf("%s: %v: %s", path, err, text)
	}
}

// Admin returns what a path of the gateway's admin listener answers.
func (s *Stack) Admin(g *Gateway, path string) []byte {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodGet, g.AdminURL+path, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	if file := g.Config.Admin.TokenFile; file != "" {
		token, err := os.ReadFile(file)
		if err != nil {
			s.T.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // a test's own listener
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return text
}

// Await waits until what holds.
func (s *Stack) Await(what string, holds func() bool) {
	s.T.Helper()
	Await(s.T, what, holds)
}

// AwaitPolicy waits until the serial is in force on every gateway.
func (s *Stack) AwaitPolicy(serial uint64) {
	s.T.Helper()
	for _, g := range s.Gateways {
		s.Await(fmt.Sprintf("policy %d in force on %s", serial, g.Name), func() bool { return s.Status(g).Policy.Serial == serial })
	}
}

// Arrived counts the requests that reached any simulated instance, without the
// free probes of idle ones, which carry nothing of a client.
func (s *Stack) Arrived() (n int) {
	for _, region := range s.Options.Regions {
		ptu, std := instances(region)
		for _, i := range []*azuresim.Instance{s.Sim.Instance(ptu), s.Sim.Instance(std)} {
			n += int(i.Requests()) - len(Probes(i.Records()))
		}
	}
	return n
}

// Probes are the free probes among the records.
func Probes(records []azuresim.Record) []azuresim.Record {
	return slices.DeleteFunc(records, func(r azuresim.Record) bool { return r.Operation != "Models_List" })
}
