package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/stampgate/stampgate/controlplane/store"
)

// An authority signs the certificates of a cluster that knows users.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate for a user; the first is the authority's own.
func (a *authority) issue(user string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.key = private
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, key = a.file(user+".pem"), a.file(user+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// startUsers starts an etcd that knows its clients by their certificates.
func (a *authority) startUsers() string {
	a.t.Helper()
	local := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	conf := embed.NewConfig()
	conf.Dir, conf.LogLevel, conf.UnsafeNoFsync = a.t.TempDir(), "fatal", true
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{local}, []url.URL{local}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	conf.EnableGRPCGateway = false
	conf.ClientTLSInfo.CertFile, conf.ClientTLSInfo.KeyFile = a.issue("server")
	conf.ClientTLSInfo.TrustedCAFile, conf.ClientTLSInfo.ClientCertAuth = a.file("ca.pem"), true
	etcd, err := embed.StartEtcd(conf)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(etcd.Close)
	<-etcd.Server.ReadyNotify()
	return "https://" + etcd.Clients[0].Addr().String()
}

// online is a store.Handler that knows whether it is connected.
type online struct{ now atomic.Bool }

func (*online) Policy(store.Envelope)       {}
func (*online) PolicyInvalid(uint64, error) {}
func (*online) Orders([]store.Order)        {}
func (o *online) Connected(v bool)          { o.now.Store(v) }

// A real etcd whose operator revokes a gateway's role: the watch stays open, and
// the gateway knows within seconds that it is not connected any more, and why.
func TestARealRevokedRoleShows(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	endpoint := a.startUsers()
	ca := x509.NewCertPool()
	ca.AddCert(a.cert)
	pair, err := tls.LoadX509KeyPair(a.issue("root"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, TLS: &tls.Config{RootCAs: ca, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	grant := func() {
		t.Helper()
		must(admin.RoleGrantPermission(ctx, "reader", "/stampgate/eu/", clientv3.GetPrefixRangeEnd("/stampgate/eu/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	}
	for _, user := range []string{"root", "gateway"} {
		must(admin.UserAddWithOptions(ctx, user, "", &clientv3.UserAddOptions{NoPassword: true}))
	}
	must(admin.RoleAdd(ctx, "root"))
	must(admin.UserGrantRole(ctx, "root", "root"))
	must(admin.RoleAdd(ctx, "reader"))
	grant()
	must(admin.UserGrantRole(ctx, "gateway", "reader"))
	must(admin.AuthEnable(ctx))

	cert, key := a.issue("gateway")
	s, err := store.Open(store.Config{
		Endpoints: []string{endpoint}, CAFile: a.file("ca.pem"), CertFile: cert, KeyFile: key,
		Timing: store.Timing{Progress: 200 * time.Millisecond, BackoffMax: 200 * time.Millisecond},
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var h online
	done := make(chan error, 1)
	wctx, stop := context.WithCancel(ctx)
	go func() { done <- s.Watch(wctx, "eu", &h) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	awaitOnline := func(want bool) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for h.now.Load() != want {
			select {
			case <-tick.C:
			case <-ctx.Done():
				problem, _ := s.Problems()
				t.Fatalf("connected is %t after a minute, problem %q", h.now.Load(), problem)
			}
		}
	}
	awaitOnline(true)
	must(admin.UserRevokeRole(ctx, "gateway", "reader"))
	awaitOnline(false)
	if problem, _ := s.Problems(); problem == "" {
		t.Error("nothing says why")
	} else {
		t.Log(problem)
	}
	must(admin.UserGrantRole(ctx, "gateway", "reader"))
	awaitOnline(true)
}
