// Package controlplane signs and publishes policies, takes orders and shows what
// is in force, for all boundaries that it is configured with.
//
// It holds no state of its own beside its signing key and token: everything is
// in each boundary's etcd, so any number may run. Gateways do not need it to
// serve. It never moves anything from one boundary's etcd to another's. The
// command controlplane runs it, and so do tests.
package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/certificate"
	"github.com/stampgate/stampgate/stamp/secret"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// How long the listener waits for clients, and the end for requests.
const (
	headerTimeout   = 10 * time.Second
	readTimeout     = time.Minute // an 8 MiB document over a slow line
	writeTimeout    = time.Minute // a full history
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 32 << 10
	startLimit      = 30 * time.Second // of all embedded etcds
	shutdownTimeout = 10 * time.Second
)

// Run serves until ctx ends, and returns when all that it started has ended.
func Run(ctx context.Context, cfg Config, log zerolog.Logger) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p := &process{cfg: cfg, log: log, servers: make(map[geo.Boundary]*embedded.Server), stores: make(map[geo.Boundary]*store.Store)}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if err := p.openStores(ctx); err != nil {
		return err
	}
	return p.serve(ctx)
}

// A process is a control plane on its way up or down.
type process struct {
	cfg      Config
	log      zerolog.Logger
	key      signing.PrivateKey
	token    secret.Secret
	listener net.Listener
	servers  map[geo.Boundary]*embedded.Server
	stores   map[geo.Boundary]*store.Store
}

// prepare does what can fail at once, before anything is started.
func (p *process) prepare(ctx context.Context) (err error) {
	if p.token, err = loadOrCreateToken(p.cfg.TokenFile); err != nil {
		return err
	}
	if p.key, err = signing.LoadOrCreateKey(p.cfg.SigningKeyFile); err != nil {
		return err
	}
	var lc net.ListenConfig
	if p.listener, err = lc.Listen(ctx, "tcp", p.cfg.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if p.cfg.TLS.CertFile == "" {
		return nil
	}
	pair, err := certificate.Load(p.cfg.TLS.CertFile, p.cfg.TLS.KeyFile)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	p.listener = tls.NewListener(p.listener, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: pair.ForServer,
	})
	return nil
}

func (p *process) openStores(ctx context.Context) error {
	if err := p.startEmbedded(ctx); err != nil {
		return err
	}
	for _, b := range p.cfg.names() {
		conf := p.cfg.Boundaries[b].Etcd.store()
		if srv, ok := p.servers[b]; ok {
			conf.Endpoints = srv.Endpoints()
		}
		s, err := store.Open(conf, p.log.With().Str("boundary", string(b)).Logger())
		if err != nil {
			return fmt.Errorf("boundary %s: %w", b, err)
		}
		p.stores[b] = s
	}
	return nil
}

// startEmbedded starts an etcd for each boundary that has none, all at once.
func (p *process) startEmbedded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var mu sync.Mutex // guards p.servers and errs
	var errs []error
	var wg sync.WaitGroup
	first := p.cfg.Embedded.Listen
	for _, b := range p.cfg.names() {
		boundary := p.cfg.Boundaries[b]
		if len(boundary.Etcd.Endpoints) > 0 {
			continue
		}
		listen := boundary.Embedded.Listen
		if listen == "" {
			listen, first = first, ""
		}
		conf := embedded.Config{Dir: filepath.Join(p.cfg.Embedded.Dir, string(b)), Listen: listen, NoSync: p.cfg.NoSync}
		wg.Go(func() {
			srv, err := embedded.Start(ctx, conf, p.log.With().Str("boundary", string(b)).Logger())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("boundary %s: %w", b, err))
				return
			}
			p.servers[b] = srv
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *process) serve(ctx context.Context) error {
	handler, err := api.New(api.Config{
		Stores: p.stores, Key: p.key, Trusted: p.cfg.TrustedKeys, Token: p.token,
		AllowLoopback: p.cfg.AllowLoopbackBackends, Version: telemetry.Version(), Log: p.log,
	})
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       telemetry.StdLog(p.log),
	}
	failed := make(chan error, 1+len(p.servers))
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stopped)
	wg.Go(func() {
		if err := srv.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve: %w", err)
		}
	})
	for b, etcd := range p.servers {
		wg.Go(func() {
			select {
			case err, ok := <-etcd.Err():
				if ok {
					failed <- fmt.Errorf("embedded etcd of %s: %w", b, err)
				}
			case <-stopped:
			}
		})
	}
	p.ready()
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failed:
	}
	p.log.Info().AnErr("cause", context.Cause(ctx)).Msg("stopping")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(failure, srv.Shutdown(end))
}

func (p *process) ready() {
	scheme := "http://"
	if p.cfg.TLS.CertFile != "" {
		scheme = "https://"
	}
	a := Addresses{URL: scheme + p.listener.Addr().String(), PublicKey: p.key.Public(), Etcd: make(map[geo.Boundary][]string)}
	for b, s := range p.stores {
		a.Etcd[b] = s.Endpoints()
	}
	p.log.Info().Str("url", a.URL).Str("public_key", a.PublicKey.String()).Interface("etcd", a.Etcd).
		Str("version", telemetry.Version()).Msg("ready")
	if p.cfg.OnReady != nil {
		p.cfg.OnReady(a)
	}
}

// close ends what was started, the newest first.
func (p *process) close() error {
	var errs []error
	if p.listener != nil {
		if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, s := range p.stores {
		errs = append(errs, s.Close())
	}
	var wg sync.WaitGroup
	for _, srv := range p.servers {
		wg.Go(srv.Close)
	}
	wg.Wait()
	return errors.Join(errs...)
}
