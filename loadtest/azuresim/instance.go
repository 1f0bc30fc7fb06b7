package azuresim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

// The limits of an instance's front and of the control API.
const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 4 * time.Minute // longer than a client's, so that the client ends idle connections
	writeTimeout   = 2 * time.Minute // for one write to a client that does not read
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 26_214_400 // what Azure's own 413 names
)

// An Instance is one simulated Azure OpenAI resource of a running Sim.
type Instance struct {
	cfg         InstanceConfig
	sim         *Sim
	log         zerolog.Logger
	gate        *gate
	server      *http.Server
	serving     sync.WaitGroup
	deployments map[string]*deployment
	operations  []operation
	records     *recordRing
	faults      *faultSet
	latency     atomic.Pointer[Latency]
	certs       *certificates // nil without TLS

	requests atomic.Uint64
	inFlight atomic.Int64

	listenMu sync.Mutex // one at a time adapts the listener to the faults
	timers   timers
}

// A deployment is a model deployment with its limits.
type deployment struct {
	DeploymentConfig
	limit *limiter
	cache promptCache
}

// startInstance opens the listener and serves.
func startInstance(ctx context.Context, s *Sim, cfg InstanceConfig) (*Instance, error) {
	i := &Instance{
		cfg:         cfg,
		sim:         s,
		log:         s.log.With().Str("instance", cfg.Name).Logger(),
		deployments: make(map[string]*deployment, len(cfg.Deployments)),
		operations:  operations(),
		records:     newRecordRing(s.cfg.MaxRecords),
		faults:      newFaultSet(s.random),
	}
	i.latency.Store(cfg.Latency)
	for _, d := range cfg.Deployments {
		i.deployments[d.Name] = &deployment{DeploymentConfig: d, limit: newLimiter(d)}
	}
	var err error
	if i.gate, err = openGate(ctx, cfg.Listen, cfg.Listener, i.screen); err != nil {
		return nil, err
	}
	i.server = &http.Server{
		Handler:           http.HandlerFunc(i.serve),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withConn,
		ErrorLog:          telemetry.StdLog(i.log),
	}
	if cfg.TLS != nil {
		if i.certs, err = s.certificatesFor(cfg, i.gate.address); err != nil {
			return nil, errors.Join(err, i.gate.Close())
		}
		i.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.certificate}
	}
	i.serving.Go(i.run)
	for _, f := range cfg.Faults {
		if _, err := i.AddFault(f); err != nil {
			i.close()
			return nil, fmt.Errorf("set fault: %w", err)
		}
	}
	return i, nil
}

// run serves until close.
func (i *Instance) run() {
	serve := i.server.Serve
	if i.cfg.TLS != nil {
		serve = func(l net.Listener) error { return i.server.ServeTLS(l, "", "") }
	}
	if err := serve(i.gate); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		i.log.Error().Err(err).Msg("instance ended")
	}
}

// close cuts all connections and waits for what served them.
func (i *Instance) close() {
	i.timers.stop()
	_ = i.gate.Close()
	_ = i.server.Close()
	i.serving.Wait()
	i.awaitHandlers()
}

// awaitHandlers returns when no handler runs any more: Server.Close does not
// wait for the handlers whose connections it has cut.
func (i *Instance) awaitHandlers() {
	limit := time.NewTimer(closeGrace)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i.inFlight.Load() > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			return
		}
	}
}

// Name is the instance's name in the configuration.
func (i *Instance) Name() string { return i.cfg.Name }

// Region is the display name that x-ms-region carries.
func (i *Instance) Region() string { return i.cfg.Region }

// Address is the host and port it listens on, also while it refuses.
func (i *Instance) Address() string { return i.gate.address }

// URL is the instance's endpoint without a path.
func (i *Instance) URL() string {
	if i.cfg.TLS != nil {
		return "https://" + i.gate.address
	}
	return "http://" + i.gate.address
}

// Requests counts the requests that ever arrived, recorded or not.
func (i *Instance) Requests() uint64 { return i.requests.Load() }

// Connections counts the connections that ever were accepted, with or without
// a request: zero proves that nothing came near.
func (i *Instance) Connections() uint64 { return i.gate.accepted.Load() }

// InFlight is the number of requests being answered now.
func (i *Instance) InFlight() int { return int(i.inFlight.Load()) }

// Records returns what is kept of the requests, oldest first.
func (i *Instance) Records() []Record { return i.records.since(0) }

// RecordsSince returns the records with a sequence number above after.
func (i *Instance) RecordsSince(after uint64) []Record { return i.records.since(after) }

// ClearRecords forgets the records; counts go on.
func (i *Instance) ClearRecords() { i.records.clear() }

// RecordsDropped counts records lost because the ring was full.
func (i *Instance) RecordsDropped() uint64 { return i.records.droppedCount() }

// Latency returns the latency in force for deployments without their own.
func (i *Instance) Latency() Latency { return *i.latency.Load() }

// SetLatency changes the latency for requests that arrive from now on. It also
// speaks for deployments that the configuration gave their own.
func (i *Instance) SetLatency(l Latency) error {
	if err := l.validate(); err != nil {
		return fmt.Errorf("set latency: %w", err)
	}
	i.latency.Store(new(l.withDefaults()))
	return nil
}

// latencyOf returns what applies to d: its own setting only while the
// instance's is still the one of the configuration.
func (i *Instance) latencyOf(d *deployment) Latency {
	l := i.latency.Load()
	if d != nil && d.Latency != nil && l == i.cfg.Latency {
		return *d.Latency
	}
	return *l
}

// timers is a set of pending calls that end with their instance.
type timers struct {
	mu      sync.Mutex // guards the fields below
	pending []*time.Timer
	stopped bool
	running sync.WaitGroup
}

// after calls f once d has passed, unless stop comes first.
func (t *timers) after(d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.pending = append(t.pending, time.AfterFunc(d, func() {
		t.mu.Lock()
		if t.stopped {
			t.mu.Unlock()
			return
		}
		t.running.Add(1)
		t.mu.Unlock()
		defer t.running.Done()
		f()
	}))
}

// stop prevents further calls and waits for those that run.
func (t *timers) stop() {
	t.mu.Lock()
	t.stopped = true
	for _, p := range t.pending {
		p.Stop()
	}
	t.mu.Unlock()
	t.running.Wait()
}
