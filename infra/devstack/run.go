package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
)

// errStopped: the caller ended the start before the stack was ready.
var errStopped = errors.New("stopped before the stack was ready")

// Run starts the stack and blocks until ctx ends; then it stops every process
// and returns when all of them have ended. It calls ready once, when every
// gateway has served a real request and the stack file is written.
//
// A process that dies while the stack starts ends the start, with a
// *DeathError. One that dies later is reported to c.Log at once and not
// restarted: the rest goes on, and Run's result says in the end who died.
func Run(ctx context.Context, c Config, ready func(*Stack)) (err error) {
	if err := supported(); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fmt.Errorf("find the stack's folder: %w", err)
	}
	bin, err := findBinaries(c.BinDir)
	if err != nil {
		return err
	}
	folder, err := openFolder(c.Dir, c.KeepState)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.close()) }()
	p, ports, err := settlePlan(ctx, c)
	if err != nil {
		return err
	}
	defer ports.releaseAll()
	var certs certificates
	if c.TLS {
		if certs, err = c.certificates(); err != nil {
			return err
		}
	}
	s := &stack{
		Config: c, certificates: certs, plan: p, ports: ports, bin: bin, folder: folder,
		secrets: secrets{config: c}, spawner: newSpawner(), deaths: make(chan *child, 3+maxGateways),
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	file, err := s.start(ctx)
	if err != nil {
		return err
	}
	ready(file)
	return s.watch(ctx)
}

// settlePlan chooses the ports. A start that keeps state takes those of the
// last run, since the published policies name them.
func settlePlan(ctx context.Context, c Config) (plan, *reservation, error) {
	var last plan
	data, err := os.ReadFile(c.path(planName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return plan{}, nil, fmt.Errorf("read the last run's plan: %w", err)
	default:
		if err := json.Unmarshal(data, &last); err != nil {
			return plan{}, nil, fmt.Errorf("read the last run's plan: %w", err)
		}
		if c.PortBase == 0 {
			c.PortBase = last.PortBase
		}
		if !reflect.DeepEqual(layOut(c.Boundaries, c.PortBase), last) {
			return plan{}, nil, misconfigured("the state kept in %s is of another stack: start it with the same boundaries, regions, gateways and ports, or without --keep-state", c.Dir)
		}
	}
	p, ports, err := choosePorts(ctx, c)
	if err != nil {
		return plan{}, nil, err
	}
	if err := writeJSON(c.path(planName), p); err != nil {
		ports.releaseAll()
		return plan{}, nil, err
	}
	return p, ports, nil
}

// binaries are the programs that the stack is made of.
type binaries struct{ controlPlane, gateway, loadtest string }

func findBinaries(dir string) (binaries, error) {
	var missing []string
	find := func(name string) string {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, name)
		}
		return path
	}
	b := binaries{controlPlane: find("controlplane"), gateway: find("gateway"), loadtest: find("loadtest")}
	if len(missing) > 0 {
		return b, misconfigured("no program %s in %s: build it with 'make build', or name the folder with --bin", strings.Join(missing, ", "), dir)
	}
	return b, nil
}

// stack is one run.
type stack struct {
	Config
	certificates certificates // empty without TLS
	plan         plan
	ports        *reservation
	bin          binaries
	folder       *folder
	secrets      secrets
	spawner      *spawner

	children []*child // in the order of their start; used by Run's goroutine alone
	deaths   chan *child

	mu       sync.Mutex // guards the field below
	stopping bool       // ends are expected from now on
}

// launch starts a child on the addresses that it is to have.
func (s *stack) launch(cmd command, addrs ...string) (*child, error) {
	s.ports.release(addrs...)
	cmd.log = s.path("logs", cmd.name+".log")
	c, err := s.spawner.spawn(cmd, func(c *child) {
		s.mu.Lock()
		expected := s.stopping
		s.mu.Unlock()
		if !expected {
			s.deaths <- c // has room for every child
		}
	})
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	return c, s.folder.remember(s.children)
}

// whileAlive runs one step of the start and cuts it short when a child dies.
func (s *stack) whileAlive(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { result <- step(ctx) })
	select {
	case err := <-result:
		return err
	case dead := <-s.deaths:
		return dead.death()
	}
}

// watch reports deaths until ctx ends.
func (s *stack) watch(ctx context.Context) error {
	var dead []string
	for {
		select {
		case <-ctx.Done():
			if len(dead) > 0 {
				return fmt.Errorf("died while the stack ran: %s", strings.Join(dead, ", "))
			}
			return nil
		case c := <-s.deaths:
			dead = append(dead, c.name)
			_, _ = fmt.Fprintf(s.Log, "%v\nthe stack goes on without it\n", c.death())
		}
	}
}

// stop ends all children, the gateways first so that they can drain, and takes
// the stack file away.
func (s *stack) stop() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	err := remove(s.path(StackFileName))
	var gateways, others []*child
	for _, c := range s.children {
		if strings.HasPrefix(filepath.Base(c.path), "gateway") {
			gateways = append(gateways, c)
		} else {
			others = append(others, c)
		}
	}
	err = errors.Join(err, stop(gateways, gatewayStop), stop(others, otherStop))
	s.spawner.close()
	return errors.Join(err, remove(s.path(processesName)))
}

// remove takes a file away that may never have been written.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
