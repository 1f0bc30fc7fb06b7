// Package embedded runs one etcd inside this process, for a boundary that is
// given none: in development, in tests and on a single machine.
//
// It has one member, so losing the machine loses it; gateways go on with what
// they have on disk. It listens on loopback only and knows no users: whoever has
// an account on the machine can write to it, and only the signatures tell a
// genuine policy. Production gives each boundary a cluster of its own. Only the
// control plane and tests import it: it brings a server's worth of packages,
// which the gateway does without.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"github.com/rs/zerolog"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	anyPort = "127.0.0.1:0"
	// A publication holds an envelope of at most 1.4 MB twice.
	maxRequestBytes = 4 << 20
	// 200 envelopes of history at their largest are 280 MB.
	quotaBytes = 1 << 30
	// Entries of the log that stay in memory: presence and digests are written
	// every few seconds for ever, and a single member has no follower to help
	// along. etcd's own 10,000 are tens of megabytes.
	snapshotCount   = 2000
	snapshotCatchUp = 100
)

// Config says where the data lives and where to listen.
type Config struct {
	Dir string // made, for the owner alone, when it is not there
	// Listen is the loopback address for clients. Without one, or with port 0,
	// it takes the port it had the last time if that is free, so that those who
	// were told of it find it again.
	Listen string
	// NoSync leaves out flushing to disk: for tests.
	NoSync bool
}

// A Server is a running etcd.
type Server struct {
	etcd     *embed.Etcd
	endpoint string
	// serving is set between start and stop: only then do etcd's warnings mean
	// something, outside it complains of its own doing.
	serving *atomic.Bool
	close   func() // once: etcd panics the second time
}

// Start runs an etcd and waits until it serves, or until ctx ends.
func Start(ctx context.Context, cfg Config, log zerolog.Logger) (*Server, error) {
	client, err := loopbackURL(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start embedded etcd: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start embedded etcd: %w", err)
	}
	var s *Server
	if before, ok := lastListen(cfg.Dir); ok && client.Port() == "0" {
		s, err = start(ctx, cfg, before, log)
	}
	if s == nil {
		if err = ctx.Err(); err == nil {
			s, err = start(ctx, cfg, client, log)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start embedded etcd in %s: %w", cfg.Dir, err)
	}
	if err := rememberListen(cfg.Dir, s.endpoint); err != nil {
		log.Warn().Err(err).Msg("address of the embedded etcd cannot be remembered")
	}
	return s, nil
}

func start(ctx context.Context, cfg Config, client url.URL, log zerolog.Logger) (*Server, error) {
	serving := new(atomic.Bool)
	conf := cfg.etcd(client)
	quiet := telemetry.Zap(log.Level(zerolog.WarnLevel).Hook(only{serving}))
	conf.ZapLoggerBuilder = embed.NewZapLoggerBuilder(quiet)
	etcd, err := embed.StartEtcd(conf)
	if err != nil {
		return nil, err
	}
	// StartEtcd returns before the member has joined itself.
	select {
	case <-etcd.Server.ReadyNotify():
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		etcd.Close()
		return nil, err
	}
	serving.Store(true)
	return &Server{etcd: etcd, endpoint: "http://" + etcd.Clients[0].Addr().String(), serving: serving, close: sync.OnceFunc(etcd.Close)}, nil
}

// only lets lines through while a condition holds.
type only struct{ condition *atomic.Bool }

// Run implements zerolog.Hook.
func (o only) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	if !o.condition.Load() {
		e.Discard()
	}
}

// Endpoints returns where clients reach it.
func (s *Server) Endpoints() []string { return []string{s.endpoint} }

// Err yields an error if the server fails while it runs.
func (s *Server) Err() <-chan error { return s.etcd.Err() }

// Close ends the server and waits for it. It may be called again.
func (s *Server) Close() {
	s.serving.Store(false)
	s.close()
}

// Compact forgets what was before the newest revision, as happens by itself
// once an hour. Watchers that are behind must list again.
func (s *Server) Compact(ctx context.Context) error {
	return compact(ctx, s.etcd.Server)
}

func (c Config) etcd(client url.URL) *embed.Config {
	// A single member talks to nobody, but etcd insists on an address.
	peer := url.URL{Scheme: "http", Host: anyPort}
	conf := embed.NewConfig()
	conf.Name = "embedded"
	conf.Dir = filepath.Join(c.Dir, "data")
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	conf.MaxRequestBytes = maxRequestBytes
	conf.QuotaBackendBytes = quotaBytes
	conf.SnapshotCount, conf.SnapshotCatchUpEntries = snapshotCount, snapshotCatchUp
	conf.AutoCompactionMode, conf.AutoCompactionRetention = embed.CompactorModePeriodic, time.Hour.String()
	conf.EnableGRPCGateway = false
	conf.UnsafeNoFsync = c.NoSync
	return conf
}

// loopbackURL refuses every other address: the server knows no users.
func loopbackURL(listen string) (url.URL, error) {
	if listen == "" {
		listen = anyPort
	}
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return url.URL{}, fmt.Errorf("listen address %q: want 127.0.0.1:PORT", listen)
	}
	if !addr.Addr().IsLoopback() {
		return url.URL{}, fmt.Errorf("listen address %s is not loopback: give the boundary an etcd cluster with TLS instead", listen)
	}
	return url.URL{Scheme: "http", Host: addr.String()}, nil
}

// The file in the data directory that holds the last endpoint.
const listenFile = "endpoint"

func lastListen(dir string) (url.URL, bool) {
	text, err := os.ReadFile(filepath.Join(dir, listenFile))
	if err != nil {
		return url.URL{}, false
	}
	u, err := loopbackURL(strings.TrimPrefix(string(text), "http://"))
	return u, err == nil && len(text) > 0
}

func rememberListen(dir, endpoint string) error {
	return renameio.WriteFile(filepath.Join(dir, listenFile), []byte(endpoint), 0o600)
}
