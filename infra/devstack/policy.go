package devstack

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"text/template"
	"time"

	"github.com/stampgate/stampgate/geo"
)

//go:embed policy.yaml.tmpl
var policyTemplate string

// deployment is a model deployment of a simulated instance: the same facts go
// into the policy and into the simulator's configuration.
type deployment struct {
	Name            string  `yaml:"name"`
	Model           string  `yaml:"model"`
	Version         string  `yaml:"version"`
	SKU             geo.SKU `yaml:"sku"`
	PTU             int     `yaml:"ptu,omitempty"`
	TokensPerMinute int     `yaml:"tokensPerMinute,omitempty"`
}

// route is a model that clients may ask for, under its own name.
type route struct {
	Name, Version string
	Provisioned   bool // there is reserved capacity for it as well
}

func routes() []route {
	return []route{
		{"gpt-5.4", "2026-03-05", true},
		{"gpt-5.4-mini", "2026-03-17", true},
		{"text-embedding-3-large", "1", false},
		{"gpt-35-turbo-instruct", "0914", false}, // the one family that still does completions
		{"gpt-realtime-2", "2026-05-06", false},
	}
}

// probeRoute is what the stack asks each gateway for before it calls itself
// ready.
const probeRoute = "gpt-5.4"

// deploymentsOf returns what a provisioned or a standard instance offers. The
// capacities are small enough that a load run can reach them.
func deploymentsOf(provisioned bool) []deployment {
	var out []deployment
	for _, r := range routes() {
		d := deployment{Name: r.Name, Model: r.Name, Version: r.Version, SKU: geo.Standard, TokensPerMinute: 450_000}
		if provisioned {
			d.Name, d.SKU, d.PTU, d.TokensPerMinute = r.Name+"-ptu", geo.ProvisionedManaged, 100, 0
		}
		if !provisioned || r.Provisioned {
			out = append(out, d)
		}
	}
	return out
}

// keyLife is how long the clients' keys are good for: longer than anyone keeps
// the state of one stack.
const keyLife = 365 * 24 * time.Hour

// clientsOf names the callers of every boundary. There are two, so that one can
// be seen to do the other no harm; the second may use the chat models alone.
func clientsOf() []Client {
	var all []string
	for _, r := range routes() {
		all = append(all, r.Name)
	}
	return []Client{
		{Name: "payroll", Routes: all},
		{Name: "support", Routes: []string{"gpt-5.4", "gpt-5.4-mini"}},
	}
}

// policyOf writes the boundary's first policy.
func policyOf(b boundaryPlan, clients []Client, s secrets) ([]byte, error) {
	type backend struct {
		backendPlan
		KeyFile     string
		Deployments []deployment
	}
	type client struct {
		Client
		SHA256, NotAfter string
	}
	data := struct {
		Boundary  geo.Boundary
		Countries []geo.Country
		Stamps    []stampPlan
		Backends  []backend
		Routes    []route
		Clients   []client
	}{Boundary: b.Name, Countries: countriesOf(b.Regions), Stamps: stampsOf(b.Regions), Routes: routes()}
	for _, p := range b.Backends {
		data.Backends = append(data.Backends, backend{p, s.config.path("keys", backendKeyName(p.Name)), deploymentsOf(p.Provisioned)})
	}
	for _, c := range clients {
		sum := sha256.Sum256([]byte(c.Key))
		data.Clients = append(data.Clients, client{c, hex.EncodeToString(sum[:]), time.Now().Add(keyLife).UTC().Format(time.RFC3339)})
	}
	t, err := template.New("policy").Parse(policyTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the policy's template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("write the policy of %s: %w", b.Name, err)
	}
	return out.Bytes(), nil
}

// stampPlan is one stamp with the regions that stand in for it.
type stampPlan struct {
	Region   geo.RegionID
	Fallback []geo.RegionID
}

// stampsOf has every region stand in for every other, beginning with the next.
func stampsOf(regions []geo.RegionID) []stampPlan {
	var out []stampPlan
	for i, r := range regions {
		out = append(out, stampPlan{r, append(slices.Clone(regions[i+1:]), regions[:i]...)})
	}
	return out
}
