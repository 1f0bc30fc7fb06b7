package controlplane_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Over TLS on both sides: operators reach the control plane, and the control
// plane a cluster that takes only clients with a certificate.
func TestOverTLSToOperatorsAndToEtcd(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert, key := ca.issue(t)
	endpoint := startTLSEtcd(t, ca.file, cert, key)
	etcd := controlplane.Etcd{Endpoints: []string{endpoint}, CAFile: ca.file, CertFile: cert, KeyFile: key}
	r := start(t, func(c *controlplane.Config) {
		c.TLS = controlplane.TLS{CertFile: cert, KeyFile: key}
		c.Boundaries = map[geo.Boundary]controlplane.Boundary{"eu": {Etcd: etcd}}
	})
	if p, err := r.trusting(t, ca.file).Publish(t.Context(), "eu", apitest.Policy("eu", "payroll-a"), client.PublishOptions{}); err != nil || p.Serial != 1 {
		t.Fatalf("publish: %+v, %v", p, err)
	}
	if _, err := r.client.Status(t.Context()); !isUnreachable(err) {
		t.Errorf("a client without the CA: %v", err)
	}
	stranger := newCA(t)
	sCert, sKey := stranger.issue(t)
	for what, cfg := range map[string]store.Config{
		"no client certificate":         {Endpoints: []string{endpoint}, CAFile: ca.file},
		"a stranger's certificate":      {Endpoints: []string{endpoint}, CAFile: ca.file, CertFile: sCert, KeyFile: sKey},
		"a server that is not trusted":  {Endpoints: []string{endpoint}, CAFile: stranger.file, CertFile: cert, KeyFile: key},
		"plain HTTP to a server of TLS": {Endpoints: []string{"http" + endpoint[len("https"):]}},
	} {
		cfg.Timing.Request = 2 * time.Second
		s, err := store.Open(cfg, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Current(t.Context(), "eu"); err == nil || errors.Is(err, store.ErrNoPolicy) {
			t.Errorf("%s: it is let in", what)
		}
		_ = s.Close()
	}
}

func startTLSEtcd(t *testing.T, ca, cert, key string) string {
	t.Helper()
	conf := embed.NewConfig()
	conf.Dir = t.TempDir()
	loopback := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{loopback}, []url.URL{loopback}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	conf.ClientTLSInfo = transport.TLSInfo{TrustedCAFile: ca, CertFile: cert, KeyFile: key, ClientCertAuth: true}
	conf.UnsafeNoFsync = true
	conf.ZapLoggerBuilder = embed.NewZapLoggerBuilder(telemetry.Zap(zerolog.Nop()))
	e, err := embed.StartEtcd(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready after a minute")
	}
	return "https://" + e.Clients[0].Addr().String()
}

// An authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	dir  string
}

func newCA(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key = newECKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = writePEM(t, a.dir, "ca.pem", "CERTIFICATE", der)
	return a
}

// issue returns the files of a certificate for servers and clients.
func (a *authority) issue(t *testing.T) (cert, key string) {
	t.Helper()
	k := newECKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, a.dir, "cert.pem", "CERTIFICATE", der), writePEM(t, a.dir, "key.pem", "PRIVATE KEY", keyDER)
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
