package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/stampgate/stampgate/geo"
)

// What the children say of themselves in their ready lines.
type (
	controlPlaneReady struct {
		URL       string              `json:"url"`
		PublicKey string              `json:"public_key"`
		Etcd      map[string][]string `json:"etcd"`
	}
	simulatorReady struct {
		ControlURL  string `json:"control"`
		IdentityURL string `json:"identity"`
	}
	gatewayReady struct {
		URL      string `json:"url"`
		AdminURL string `json:"admin_url"`
	}
)

// start brings the stack up in the order in which its parts need each other,
// and returns the stack file when a request to any gateway would succeed.
func (s *stack) start(ctx context.Context) (*Stack, error) {
	began := time.Now()
	var file *Stack
	err := s.startAll(ctx, &file)
	if err != nil && ctx.Err() != nil {
		return nil, errStopped
	}
	if err != nil {
		return nil, err
	}
	s.progress("ready after %.1f s", time.Since(began).Seconds())
	return file, nil
}

func (s *stack) startAll(ctx context.Context, out **Stack) error {
	cpChild, err := s.startControlPlane()
	if err != nil {
		return err
	}
	simChild, header, err := s.startSimulator()
	if err != nil {
		return err
	}
	var cp controlPlaneReady
	var sim simulatorReady
	var clients map[geo.Boundary][]Client
	err = s.whileAlive(ctx, func(ctx context.Context) error {
		if err := errors.Join(simChild.awaitReady(ctx, &sim), cpChild.awaitReady(ctx, &cp)); err != nil {
			return err
		}
		if cp.URL == "" || cp.PublicKey == "" || sim.ControlURL == "" || sim.IdentityURL == "" {
			return errors.New("the ready lines of control plane and simulator do not say where they are: were the programs built from the same sources? 'make build' builds all of them")
		}
		clients, err = s.publish(ctx, cp)
		return err
	})
	if err != nil {
		return err
	}
	s.progress("control plane, simulator and policies are up; starting the gateways")
	gateways, err := s.startGateways(cp, sim, header)
	if err != nil {
		return err
	}
	file, err := s.stackFile(cp, cpChild.pid, clients)
	if err != nil {
		return err
	}
	s.addBackends(file, sim, simChild.pid)
	err = s.whileAlive(ctx, func(ctx context.Context) error {
		return s.awaitGateways(ctx, file, gateways)
	})
	if err != nil {
		return err
	}
	*out = file
	return writeJSON(s.path(StackFileName), file)
}

func (s *stack) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(s.Log, format+"\n", args...)
}

func (s *stack) startControlPlane() (*child, error) {
	file, err := writeConfig(s.Config, "controlplane", controlPlaneConfig(s.Config, s.plan))
	if err != nil {
		return nil, err
	}
	addrs := []string{s.plan.ControlPlane}
	for _, b := range s.plan.Boundaries {
		addrs = append(addrs, b.Etcd)
	}
	return s.launch(command{
		name: "controlplane", path: s.bin.controlPlane, args: []string{"--config", file},
		env: environment(os.Environ()),
	}, addrs...)
}

// startSimulator also returns the secret that the simulated managed identity
// asks for.
func (s *stack) startSimulator() (c *child, identityHeader string, err error) {
	config, err := simulatorConfig(s.plan, s.secrets)
	if err != nil {
		return nil, "", err
	}
	file, err := writeConfig(s.Config, "simulator", config)
	if err != nil {
		return nil, "", err
	}
	addrs := []string{s.plan.SimControl}
	for _, b := range s.plan.Boundaries {
		for _, i := range b.Backends {
			addrs = append(addrs, i.Listen)
		}
	}
	c, err = s.launch(command{
		name: "simulator", path: s.bin.loadtest, args: []string{"simulate", "--config", file},
		env: environment(os.Environ()),
	}, addrs...)
	if err != nil {
		return nil, "", err
	}
	identityHeader, err = s.secrets.value("identity.header", randomHex)
	return c, identityHeader, err
}

// startGateways returns the gateways by name.
func (s *stack) startGateways(cp controlPlaneReady, sim simulatorReady, identityHeader string) (map[string]*child, error) {
	env := environment(os.Environ(), "IDENTITY_ENDPOINT="+sim.IdentityURL, "IDENTITY_HEADER="+identityHeader)
	out := map[string]*child{}
	for _, b := range s.plan.Boundaries {
		for _, g := range b.Gateways {
			config, err := s.gatewayConfig(b, g, cp)
			if err != nil {
				return nil, err
			}
			file, err := writeConfig(s.Config, g.Name, config)
			if err != nil {
				return nil, err
			}
			c, err := s.launch(command{
				name: g.Name, path: s.bin.gateway, args: []string{"--config", file, "--allow-loopback-backends"}, env: env,
			}, g.Public, g.Admin, g.Gossip)
			if err != nil {
				return nil, err
			}
			out[g.Name] = c
		}
	}
	return out, nil
}

// stackFile fills in all but gateways' and backends' process ids and URLs,
// which are known only once they run.
func (s *stack) stackFile(cp controlPlaneReady, pid int, clients map[geo.Boundary][]Client) (*Stack, error) {
	token, err := os.ReadFile(s.path("keys", controlPlaneTokenName))
	if err != nil {
		return nil, fmt.Errorf("read the control plane's token: %w", err)
	}
	file := &Stack{
		PID:          os.Getpid(),
		CAFile:       s.certificates.ca,
		ControlPlane: ControlPlane{URL: cp.URL, AdminToken: strings.TrimSpace(string(token)), PublicKey: cp.PublicKey, PID: pid},
		Boundaries:   map[geo.Boundary]*Endpoint{},
	}
	for _, b := range s.plan.Boundaries {
		file.Boundaries[b.Name] = &Endpoint{Etcd: cp.Etcd[string(b.Name)], Clients: clients[b.Name]}
	}
	return file, nil
}

func (s *stack) addBackends(file *Stack, sim simulatorReady, pid int) {
	for _, b := range s.plan.Boundaries {
		for _, i := range b.Backends {
			file.Boundaries[b.Name].Backends = append(file.Boundaries[b.Name].Backends, Backend{
				Name: i.Name, Region: i.Region, URL: "http://" + i.Listen,
				ControlURL: sim.ControlURL, PID: pid,
			})
		}
	}
}

// awaitGateways adds each gateway to the stack file when it has served a real
// request.
func (s *stack) awaitGateways(ctx context.Context, file *Stack, children map[string]*child) error {
	token, err := s.secrets.value(adminTokenName, randomHex)
	if err != nil {
		return err
	}
	roots, err := s.certificates.roots()
	if err != nil {
		return err
	}
	for _, b := range s.plan.Boundaries {
		e := file.Boundaries[b.Name]
		for _, g := range b.Gateways {
			c := children[g.Name]
			var up gatewayReady
			if err := c.awaitReady(ctx, &up); err != nil {
				return err
			}
			if err := awaitTraffic(ctx, roots, up.URL, e.Clients[0].Key); err != nil {
				return fmt.Errorf("gateway %s is up but does not serve: %w; its last lines, from %s:\n%s", g.Name, err, c.log, indent(tail(c.log, tailLines)))
			}
			e.Gateways = append(e.Gateways, Gateway{
				Name: g.Name, Region: g.Region, URL: up.URL, AdminURL: up.AdminURL, AdminToken: token, Gossip: g.Gossip, PID: c.pid,
			})
		}
	}
	return nil
}
