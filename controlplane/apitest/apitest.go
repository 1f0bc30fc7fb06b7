// Package apitest serves the control plane's operator API inside a test, on an
// etcd inside the test.
//
// One etcd serves all tests of a package (WithEtcd): each takes a boundary of
// its own (Boundary), so they may run at the same time. It never replaces the
// API by something simpler: what answers is what operators reach. Only tests of
// the API, of its client and of stampctl import it.
package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// Token is what operators present, unless Config.API says otherwise.
const Token = "the admin token of the tests"

// Config says what to serve. Only Etcd and Boundaries are needed.
type Config struct {
	Etcd       []string // endpoints
	Boundaries []geo.Boundary
	// Store changes how a boundary's store is opened: Intercept loses calls.
	Store func(geo.Boundary, *store.Config)
	API   func(*api.Config) // changes what the API works with
}

// A Server is an API that answers.
type Server struct {
	URL    string
	Stores map[geo.Boundary]*store.Store
	Key    signing.PrivateKey // that it signs with
	Log    *Log
	undo   []func() // in the order of starting
}

// New serves until the test ends.
func New(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start serves until Close.
func Start(cfg Config) (_ *Server, err error) {
	s := &Server{Stores: make(map[geo.Boundary]*store.Store), Log: &Log{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	log := zerolog.New(s.Log)
	for _, b := range cfg.Boundaries {
		conf := store.Config{Endpoints: cfg.Etcd}
		if cfg.Store != nil {
			cfg.Store(b, &conf)
		}
		st, err := store.Open(conf, log)
		if err != nil {
			return nil, err
		}
		s.undo = append(s.undo, func() { _ = st.Close() })
		s.Stores[b] = st
	}
	key, err := signing.GenerateKey()
	if err != nil {
		return nil, err
	}
	conf := api.Config{Stores: s.Stores, Key: key, Token: secret.New(Token), Version: "v0-test", Log: log}
	if cfg.API != nil {
		cfg.API(&conf)
	}
	s.Key = conf.Key
	handler, err := api.New(conf)
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(handler)
	s.undo = append(s.undo, server.Close)
	s.URL = server.URL
	return s, nil
}

// Close ends the server, the newest part first.
func (s *Server) Close() {
	for _, undo := range slices.Backward(s.undo) {
		undo()
	}
	s.undo = nil
}

// Client speaks to the server as an operator.
func (s *Server) Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL, Token: secret.New(Token)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// WithEtcd runs a package's tests beside one etcd, whose endpoints it hands over
// first, and returns the exit code.
func WithEtcd(m *testing.M, use func(endpoints []string)) (code int) {
	dir, err := os.MkdirTemp("", "stampgate-etcd-")
	if err != nil {
		panic(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			code = max(code, 1)
		}
	}()
	etcd, err := embedded.Start(context.Background(), embedded.Config{Dir: dir, NoSync: true}, zerolog.Nop())
	if err != nil {
		panic(err)
	}
	defer etcd.Close()
	use(etcd.Endpoints())
	return m.Run()
}

// Boundary makes a boundary's name from the test's, which is unique, and from
// what tells several of one test apart.
func Boundary(t testing.TB, more ...string) geo.Boundary {
	sum := sha256.Sum256([]byte(t.Name() + "/" + strings.Join(more, "/")))
	return geo.Boundary("b-" + hex.EncodeToString(sum[:6]))
}

// Policy is a valid policy of a boundary, with backend swc-ptu and stamps in
// swedencentral and westeurope; the name of its client makes it differ from
// others.
func Policy(b geo.Boundary, client string) []byte {
	return fmt.Appendf(nil, `boundary: %s
residency: {countries: [SE, NL, IE]}
stamps:
  - {region: swedencentral, fallback: [westeurope]}
  - {region: westeurope, fallback: [swedencentral]}
backends:
  - name: swc-ptu
    region: swedencentral
    endpoint: https://swc-ptu.openai.azure.com
    credential: {managedIdentity: {}}
    deployments:
      - {name: gpt-5.4, model: gpt-5.4, version: "2026-03-05", sku: ProvisionedManaged, ptu: 100}
  - name: weu
    region: westeurope
    endpoint: https://weu.openai.azure.com
    credential: {managedIdentity: {}}
    deployments:
      - {name: gpt-5.4, model: gpt-5.4, version: "2026-03-05", sku: Standard, tokensPerMinute: 1000}
routes:
  - {name: gpt-5.4, model: gpt-5.4, version: "2026-03-05"}
clients:
  - name: %s
    keys: [{sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}]
    routes: [gpt-5.4]
`, b, client)
}

// A Log keeps what was written to it, and may be read meanwhile.
type Log struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
