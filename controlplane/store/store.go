// Package store keeps a boundary's policy, orders, presence and audit trail in
// the boundary's etcd, and tells those who follow them what changes.
//
// It is the only importer of the etcd client. It never decides whether a policy
// is good: it hands over what is stored, and Envelope.OpenVerified and
// Order.Verify are for those who receive it. It never makes a caller wait for an
// etcd that is away longer than its context and Timing.Request say, and losing
// etcd never removes anything that was delivered. The control plane writes;
// gateways watch, and write nothing but leased keys of their own.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/grpclog"

	"github.com/stampgate/stampgate/stamp/certificate"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Limits of what goes over the wire.
const (
	// A publication writes an envelope of at most 1.4 MB twice, current and
	// history, so 4 MiB hold it. Clusters of our own accept that much; of a
	// foreign one --max-request-bytes may have to be raised.
	maxSendBytes = 4 << 20
	// An answer holds at most historyPage envelopes.
	maxReceiveBytes = 32 << 20
)

// Config says which etcd and how.
type Config struct {
	Endpoints []string // http://… or https://…
	CAFile    string   // of the servers; "" = the system's
	CertFile  string   // of this client, with KeyFile; read again for every connection
	KeyFile   string
	Timing    Timing // zero fields take their defaults

	// Intercept, if set, stands around every unary call to etcd. It is there so
	// that tests can lose a request or its answer.
	Intercept func(ctx context.Context, method string, call func(context.Context) error) error
}

// Timing holds every duration of the store. Tests shorten them.
type Timing struct {
	Request          time.Duration // one read or write; default 5s
	Keepalive        time.Duration // of an idle connection; default 10s, never under 5s (servers refuse it)
	KeepaliveTimeout time.Duration // default 3s
	Progress         time.Duration // between two progress requests of a watch; default 5s
	Silence          time.Duration // of a watch, after which its connection is rebuilt; default 15s
	Relist           time.Duration // between two full lists, ± 20%; default 5m
	BackoffMax       time.Duration // between two tries; default 5s
	PresenceTTL      time.Duration // default 15s
	DigestTTL        time.Duration // default 10s
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Request, 5*time.Second)
	def(&t.Keepalive, 10*time.Second)
	def(&t.KeepaliveTimeout, 3*time.Second)
	def(&t.Progress, 5*time.Second)
	def(&t.Silence, 15*time.Second)
	def(&t.Relist, 5*time.Minute)
	def(&t.BackoffMax, 5*time.Second)
	def(&t.PresenceTTL, 15*time.Second)
	def(&t.DigestTTL, 10*time.Second)
	return t
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if len(c.Endpoints) == 0 {
		errs = append(errs, errors.New("etcd.endpoints is empty"))
	}
	for i, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || (u.Path != "" && u.Path != "/") {
			errs = append(errs, fmt.Errorf("etcd.endpoints[%d]: want https://host:port", i))
			continue
		}
		if u.Scheme == "http" && (c.CAFile != "" || c.CertFile != "") {
			errs = append(errs, fmt.Errorf("etcd.endpoints[%d] = %s is without TLS, though certificates are configured; use https", i, e))
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("etcd.certFile and etcd.keyFile belong together: one is missing"))
	}
	return errors.Join(errs...)
}

// A Store speaks to one etcd cluster. Any number of goroutines may use it.
type Store struct {
	cfg    Config
	timing Timing
	tls    *tls.Config
	log    zerolog.Logger
	client *clientv3.Client // for reads and writes; each watch has its own

	watchProblem, presenceProblem problem

	mu     sync.Mutex // guards leases; never held across a call
	leases map[string]digestLease
}

// Open makes a Store. It reads the certificate files, but does not wait for
// etcd, so a process starts while etcd is down.
func Open(cfg Config, log zerolog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		cfg: cfg, timing: cfg.Timing.withDefaults(), tls: tlsConfig, log: log,
		leases: make(map[string]digestLease),
	}
	if s.client, err = s.dial(cfg.Endpoints); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

// Close ends the connections. Watches and announcements end with their own
// contexts, which the caller cancels first.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// A problem is why something does not work at the moment.
type problem struct{ text atomic.Pointer[string] }

func (p *problem) set(err error) {
	if err == nil {
		p.text.Store(nil)
		return
	}
	p.text.Store(new(clip(err.Error(), problemBytes)))
}

func (p *problem) String() string {
	if text := p.text.Load(); text != nil {
		return *text
	}
	return ""
}

// problemBytes is what is kept of a problem's text: a line.
const problemBytes = 300

// Problems says why the policy is not followed and why presence is not announced
// at the moment, such as that etcd withdrew the right to it; "" where it works.
func (s *Store) Problems() (watch, presence string) {
	return s.watchProblem.String(), s.presenceProblem.String()
}

// SilenceGRPC keeps gRPC, which etcd speaks, from writing lines of its own to
// stderr. It sets a global, so only main calls it, once, before anything else.
func SilenceGRPC() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// Endpoints returns the configured endpoints.
func (s *Store) Endpoints() []string { return append([]string(nil), s.cfg.Endpoints...) }

func (s *Store) dial(endpoints []string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:            endpoints,
		DialKeepAliveTime:    s.timing.Keepalive,
		DialKeepAliveTimeout: s.timing.KeepaliveTimeout,
		PermitWithoutStream:  false, // etcd takes pings without a stream for an attack and hangs up
		MaxCallSendMsgSize:   maxSendBytes,
		MaxCallRecvMsgSize:   maxReceiveBytes,
		TLS:                  s.tls,
		// The client warns of every try; the loops here say once what is wrong.
		Logger: telemetry.Zap(zerolog.Nop()),
	}
	if s.cfg.Intercept != nil {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(s.intercept))
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd client: %w", err)
	}
	return c, nil
}

func (s *Store) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return s.cfg.Intercept(ctx, method, func(ctx context.Context) error {
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// Check is Validate, and reads the files that the configuration names as well.
// Open fails for these reasons and no other.
func (c Config) Check() error {
	if err := c.Validate(); err != nil {
		return err
	}
	_, err := c.tls()
	return err
}

func (c Config) tls() (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd.caFile: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd.caFile %s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile == "" {
		return cfg, nil
	}
	pair, err := certificate.Load(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("etcd.certFile, etcd.keyFile: %w", err)
	}
	cfg.GetClientCertificate = pair.ForClient
	return cfg, nil
}
