package devstack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificates are the files under tls/ that the stack's gateways and their
// clients need. They are made by the first start with TLS, and again by every
// start that does not keep state.
type certificates struct {
	ca        string // what clients have to trust
	cert, key string // what every gateway shows: all of them are 127.0.0.1
}

// certificateLife is the clients' keys' too: longer than anyone keeps the state
// of one stack. One that ends within the margin is made anew by a start.
const (
	certificateLife   = keyLife
	certificateMargin = 24 * time.Hour
)

// certificates returns the files, making what is not there.
func (c Config) certificates() (certificates, error) {
	out := certificates{ca: c.path("tls", "ca.pem"), cert: c.path("tls", "gateway.crt"), key: c.path("tls", "gateway.key")}
	if out.usable(time.Now()) == nil {
		return out, nil
	}
	if err := out.create(time.Now()); err != nil {
		return out, fmt.Errorf("make the stack's certificate: %w", err)
	}
	return out, nil
}

// usable says what is wrong with what an earlier start made, if it made all of it.
func (c certificates) usable(now time.Time) error {
	roots, err := c.roots()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now.Add(certificateMargin)})
	return err
}

// create makes an authority and the one certificate that it ever signs. The
// authority's key is not written down: whoever trusts ca.pem trusts these
// gateways and nobody else.
func (c certificates) create(now time.Time) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "stampctl dev " + now.UTC().Format(time.RFC3339)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: "a gateway of stampctl dev"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), caKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return c.write(caDER, der, private)
}

func (c certificates) write(ca, cert, key []byte) error {
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{c.key, "PRIVATE KEY", key}, {c.cert, "CERTIFICATE", cert}, {c.ca, "CERTIFICATE", ca}} {
		if err := writeFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})); err != nil {
			return err
		}
	}
	return nil
}

// roots trusts the stack's own authority; nil for a stack without TLS.
func (c certificates) roots() (*x509.CertPool, error) {
	if c.ca == "" {
		return nil, nil //nolint:nilnil // nil is what tls.Config takes for "nothing of our own"
	}
	text, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("read the stack's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", c.ca)
	}
	return pool, nil
}
