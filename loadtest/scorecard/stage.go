package scorecard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// A stage is one gateway before three simulated targets, and an instance outside
// the boundary that must never hear of it.
type stage struct {
	sim     *azuresim.Sim
	inside  []*azuresim.Instance
	outside *azuresim.Instance
	url     string
	keys    []string // of two clients

	dir    string
	cancel context.CancelFunc
	ended  chan error // what the gateway's Run returned
}

// A layout shapes a stage.
type layout struct {
	number  int // of the stage, for addresses of its own
	tls     bool
	passive int // how many of the targets, counted from the last, are in another region
}

// startLimit bounds a start: far beyond what a slow machine takes.
const startLimit = 60 * time.Second

const outsideName = "outside"

// A healthy answer takes time, so that refusing at once looks like being free.
const (
	answerTakes  = 20 * time.Millisecond
	answerTokens = 5
)

func start(ctx context.Context, run Gateway, l layout) (*stage, error) {
	s := &stage{ended: make(chan error, 1), keys: []string{clientKey("A"), clientKey("B")}}
	ctx, s.cancel = context.WithCancel(ctx)
	err := s.startSim(ctx, l)
	if err == nil {
		s.dir, err = os.MkdirTemp("", "scorecard-")
	}
	if err == nil {
		err = s.startGateway(ctx, run, l)
	} else {
		s.ended <- nil
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// startSim gives each instance an address of its own: a port that an instance
// gives up while it refuses must not become another's.
func (s *stage) startSim(ctx context.Context, l layout) error {
	cfg := azuresim.Config{Latency: azuresim.Latency{FirstToken: answerTakes, Tokens: answerTokens}, HeaderFaults: true}
	for n := range targets + 1 {
		i := azuresim.InstanceConfig{
			Name: fmt.Sprintf("target-%d", n+1), Region: "Sweden Central", APIKey: "backend-key",
			Listen: fmt.Sprintf("127.%d.%d.%d:0", 64+l.number/250, l.number%250, n+1),
			Deployments: []azuresim.DeploymentConfig{{
				Name: route, Model: "gpt-4o", Version: "2024-11-20",
				TokensPerMinute: 100_000_000, RequestsPerMinute: 10_000_000,
			}, {Name: sessionRoute, Model: sessionRoute, Version: "2025-08-28"}},
		}
		switch {
		case n == targets:
			i.Name, i.Region = outsideName, "East US 2"
		case n >= targets-l.passive:
			i.Region = "West Europe"
		}
		if l.tls {
			i.TLS = &azuresim.TLSConfig{}
		}
		cfg.Instances = append(cfg.Instances, i)
	}
	sim, err := azuresim.Start(ctx, cfg, zerolog.Nop())
	if err != nil {
		return fmt.Errorf("start the simulator: %w", err)
	}
	s.sim = sim
	for _, i := range cfg.Instances {
		if i.Name == outsideName {
			s.outside = sim.Instance(i.Name)
			continue
		}
		s.inside = append(s.inside, sim.Instance(i.Name))
	}
	return nil
}

// clientKey is a well-formed key; that it can be guessed does no harm here.
func clientKey(letter string) string { return "sg_eu_" + strings.Repeat(letter, 43) }

const configText = `boundary: eu
region: swedencentral
name: scorecard
listen: 127.0.0.1:0
residency: {countries: [SE, NL, IE]}
policy: {file: %q}
drain: {notice: 1ms, timeout: 5s}
`

const policyText = `boundary: eu
residency: {countries: [SE, NL, IE]}
stamps:
  - {region: swedencentral, fallback: [{{if .Passive}}westeurope{{end}}]}
backends:
{{- range .Backends}}
  - name: {{.Name}}
    region: {{.Region}}
    endpoint: {{.URL}}
    credential: {apiKeyFile: {{printf "%q" $.KeyFile}}}
    deployments:
      - {name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: Standard, tokensPerMinute: 450000}
      - {name: gpt-realtime, model: gpt-realtime, version: "2025-08-28", sku: Standard}
{{- end}}
routes:
  - name: gpt-4o
    model: gpt-4o
    version: "2024-11-20"
    timeouts: {connect: 1s, firstByte: 1500ms, idle: 1500ms, answer: 4s, total: 30s}
  - name: gpt-realtime
    model: gpt-realtime
    version: "2025-08-28"
    timeouts: {connect: 1s, firstByte: 1500ms, idle: 1500ms, total: 30s}
clients:
{{- range $n, $hash := .Hashes}}
  - {name: client-{{$n}}, keys: [{sha256: {{$hash}}}], routes: [gpt-4o, gpt-realtime]}
{{- end}}
`

// write puts key and policy into the stage's directory and returns the text of
// the gateway's configuration.
func (s *stage) write(l layout) ([]byte, error) {
	type backend struct{ Name, Region, URL string }
	data := struct {
		Backends []backend
		Hashes   []string
		KeyFile  string
		Passive  bool
	}{KeyFile: filepath.Join(s.dir, "key"), Passive: l.passive > 0}
	for n, i := range s.inside {
		region := "swedencentral"
		if n >= targets-l.passive {
			region = "westeurope"
		}
		data.Backends = append(data.Backends, backend{i.Name(), region, i.URL()})
	}
	for _, key := range s.keys {
		sum := sha256.Sum256([]byte(key))
		data.Hashes = append(data.Hashes, hex.EncodeToString(sum[:]))
	}
	var text bytes.Buffer
	if err := template.Must(template.New("policy").Parse(policyText)).Execute(&text, data); err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "policy.yaml")
	return fmt.Appendf(nil, configText, file), errors.Join(
		os.WriteFile(data.KeyFile, []byte("backend-key"), 0o600), os.WriteFile(file, text.Bytes(), 0o600))
}

// startGateway returns when the gateway serves.
func (s *stage) startGateway(ctx context.Context, run Gateway, l layout) error {
	text, err := s.write(l)
	if err != nil {
		s.ended <- nil
		return fmt.Errorf("write the gateway's files: %w", err)
	}
	ready := make(chan string, 1)
	go func() { s.ended <- run(ctx, text, s.sim.CertPool(), func(url string) { ready <- url }) }()
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case s.url = <-ready:
		return nil
	case err := <-s.ended:
		s.ended <- nil
		return fmt.Errorf("start the gateway: %w", err)
	case <-limit.C:
		return errors.New("start the gateway: it is not ready in time")
	}
}

// stop ends everything and waits for it.
func (s *stage) stop() error {
	s.cancel()
	err := <-s.ended
	if s.sim != nil {
		err = errors.Join(err, s.sim.Close())
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// stray counts what must not be: connections to the instance outside, and
// requests that were meant for another host than the one they came to.
func (s *stage) stray() int {
	n := int(s.outside.Connections())
	for _, i := range s.inside {
		for _, r := range i.Records() {
			if r.Host != i.Address() {
				n++
			}
		}
	}
	return n
}
