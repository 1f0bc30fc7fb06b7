// Package azuresim is a simulated Azure OpenAI: many instances in one process,
// each on its own address, that answer as the service does as far as a client
// or a gateway can tell. Headers, error bodies, stream framing, authentication
// and rate limits follow what was read or recorded of the real service.
//
// Chats call the tools that they are given and answer in the format that they
// are asked for: arguments and structured output are made from their JSON Schema
// (see schema.go for which words of it) and valid by it. Those tools are called
// that the prompt names, or else the first; after a tool's message the answer is
// in words, unless tool_choice requires a call.
//
// Its control API sets latencies and faults while it runs, and tells what
// arrived where: every request is recorded, without its text.
//
// It never computes an answer (texts and numbers are made up, the same for the
// same request), never logs or keeps a prompt, and never calls anybody. Tests
// and load runs may use it, in their own process or as the command
// "loadtest simulate"; nothing that serves customers may.
package azuresim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// closeGrace bounds how long Close waits for a handler that has lost its
// connection; handlers only ever wait on timers and on that connection.
const closeGrace = 10 * time.Second

// A Sim is a running simulator. It owns every goroutine it starts; Close ends
// and awaits them all.
type Sim struct {
	cfg       Config
	log       zerolog.Logger
	names     []string // in the order of the configuration
	instances map[string]*Instance
	ca        *authority // nil unless an instance wants a generated certificate
	identity  *identity
	sequence  atomic.Uint64 // numbers the records of all instances

	control       *http.Server // nil without a control address
	controlURL    string
	stopping      context.Context // ends when Close begins
	stop          context.CancelFunc
	serving       sync.WaitGroup
	closeOnce     sync.Once
	closed        chan struct{}
	detachFromCtx func() bool
	rngMu         sync.Mutex // guards rng
	rng           *rand.Rand
}

// Start validates the configuration, opens every listener and serves until ctx
// ends or Close is called. When it returns without an error, every instance
// accepts connections.
func Start(ctx context.Context, cfg Config, log zerolog.Logger) (*Sim, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sim{
		cfg:       cfg,
		log:       log,
		instances: make(map[string]*Instance, len(cfg.Instances)),
		identity:  newIdentity(cfg.Identity),
		closed:    make(chan struct{}),
		rng:       rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)),
	}
	s.stopping, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.detachFromCtx = context.AfterFunc(ctx, s.stopServing)
	return s, nil
}

// open starts all instances, then the control API, so that whoever can ask
// about an instance can also call it.
func (s *Sim) open(ctx context.Context) error {
	if err := s.makeAuthority(); err != nil {
		return err
	}
	for _, ic := range s.cfg.Instances {
		i, err := startInstance(ctx, s, ic)
		if err != nil {
			return fmt.Errorf("start instance %s: %w", ic.Name, err)
		}
		s.instances[ic.Name] = i
		s.names = append(s.names, ic.Name)
	}
	if s.cfg.ControlListen == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.ControlListen)
	if err != nil {
		return fmt.Errorf("listen for the control API: %w", err)
	}
	s.controlURL = "http://" + l.Addr().String()
	s.control = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	s.serving.Go(func() {
		if err := s.control.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error().Err(err).Msg("control API ended")
		}
	})
	return nil
}

// Instance returns the instance of that name, or nil if there is none.
func (s *Sim) Instance(name string) *Instance { return s.instances[name] }

// Instances returns all instances in the order of the configuration.
func (s *Sim) Instances() []*Instance {
	out := make([]*Instance, 0, len(s.names))
	for _, n := range s.names {
		out = append(out, s.instances[n])
	}
	return out
}

// URLs returns the base URL of every instance by name.
func (s *Sim) URLs() map[string]string {
	out := make(map[string]string, len(s.instances))
	for n, i := range maps.All(s.instances) {
		out[n] = i.URL()
	}
	return out
}

// ControlURL is the base URL of the control API, empty if it does not listen.
func (s *Sim) ControlURL() string { return s.controlURL }

// IdentityURL is what IDENTITY_ENDPOINT must hold for azidentity's managed
// identity to get its tokens here; IdentityHeader is what IDENTITY_HEADER must.
func (s *Sim) IdentityURL() string { return s.controlURL + identityPath }

// IdentityHeader is the secret that the identity endpoint asks for.
func (s *Sim) IdentityHeader() string { return s.cfg.Identity.Header }

// Records returns what all instances recorded, in the order of arrival.
func (s *Sim) Records() []Record {
	var out []Record
	for _, i := range s.Instances() {
		out = append(out, i.Records()...)
	}
	slices.SortFunc(out, bySequence)
	return out
}

// ClearRecords forgets the records of all instances; counts go on.
func (s *Sim) ClearRecords() {
	for _, i := range s.Instances() {
		i.ClearRecords()
	}
}

// ClearFaults ends every fault of every instance.
func (s *Sim) ClearFaults() {
	for _, i := range s.Instances() {
		i.ClearFaults()
	}
}

// SetRegionFault adds the same fault to every instance of a region, as a region
// that fails. It returns how many instances that were.
func (s *Sim) SetRegionFault(region string, f Fault) (int, error) {
	n := 0
	for _, i := range s.Instances() {
		if i.Region() != region {
			continue
		}
		if _, err := i.AddFault(f); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Close ends all connections and returns when every goroutine has ended. It may
// be called more than once and at the same time.
func (s *Sim) Close() error {
	s.stopServing()
	<-s.closed
	return nil
}

// stopServing is Close's body; it also runs when Start's context ends.
func (s *Sim) stopServing() {
	s.closeOnce.Do(func() {
		if s.detachFromCtx != nil {
			s.detachFromCtx()
		}
		s.stop()
		if s.control != nil {
			_ = s.control.Close()
		}
		for _, i := range s.instances {
			i.close()
		}
		s.serving.Wait()
		close(s.closed)
	})
}

// random returns a number in [0, 1) from the simulator's seeded source.
func (s *Sim) random() float64 {
	s.rngMu.Lock()
	defer s.rngMu.Unlock()
	return s.rng.Float64()
}
