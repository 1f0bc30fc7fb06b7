package azuresim

import (
	"context"
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
	"slices"
	"time"
)

// An authority signs the certificates of instances that bring none.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// certificates are what an instance may show: the right one, and the wrong
// ones for the fault wrong-certificate.
type certificates struct {
	right     *tls.Certificate
	otherName *tls.Certificate
	expired   *tls.Certificate
	unknownCA *tls.Certificate
}

// CAPEM is the certificate of the authority that signed the instances'
// generated certificates, nil if there is none.
func (s *Sim) CAPEM() []byte {
	if s.ca == nil {
		return nil
	}
	return slices.Clone(s.ca.pem)
}

// CertPool trusts the simulator's own authority and nothing else.
func (s *Sim) CertPool() *x509.CertPool {
	p := x509.NewCertPool()
	if s.ca != nil {
		p.AddCert(s.ca.cert)
	}
	return p
}

// makeAuthority creates the authority if an instance speaks TLS.
func (s *Sim) makeAuthority() error {
	wanted := slices.ContainsFunc(s.cfg.Instances, func(i InstanceConfig) bool { return i.TLS != nil })
	if !wanted {
		return nil
	}
	var err error
	if s.ca, err = newAuthority("azuresim CA"); err != nil {
		return err
	}
	if s.cfg.CAFile == "" {
		return nil
	}
	if err := os.WriteFile(s.cfg.CAFile, s.ca.pem, 0o600); err != nil {
		return fmt.Errorf("write CA file: %w", err)
	}
	return nil
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-48 * time.Hour),
		NotAfter:              now.Add(365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// issue signs a server certificate for the given names and addresses.
func (a *authority) issue(names []string, ips []net.IP, notAfter time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: names[0]},
		DNSNames:     names,
		IPAddresses:  ips,
		NotBefore:    time.Now().Add(-48 * time.Hour),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}

// certificatesFor makes all that the instance may ever show, so that a fault
// costs nothing when it strikes.
func (s *Sim) certificatesFor(cfg InstanceConfig, address string) (*certificates, error) {
	stranger, err := newAuthority("unknown CA")
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	names := append([]string{"localhost"}, cfg.TLS.Names...)
	var ips []net.IP
	if ip := net.ParseIP(host); ip != nil {
		ips = append(ips, ip)
	} else {
		names = append(names, host)
	}
	year := time.Now().Add(365 * 24 * time.Hour)
	c := &certificates{}
	for _, one := range []struct {
		out      **tls.Certificate
		by       *authority
		names    []string
		ips      []net.IP
		notAfter time.Time
	}{
		{&c.right, s.ca, names, ips, year},
		{&c.otherName, s.ca, []string{"other.invalid"}, nil, year},
		{&c.expired, s.ca, names, ips, time.Now().Add(-24 * time.Hour)},
		{&c.unknownCA, stranger, names, ips, year},
	} {
		if *one.out, err = one.by.issue(one.names, one.ips, one.notAfter); err != nil {
			return nil, err
		}
	}
	if cfg.TLS.CertFile != "" {
		own, err := tls.LoadX509KeyPair(cfg.TLS.CertFile, cfg.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		c.right = &own
	}
	return c, nil
}

// certificate chooses what to show to one client.
func (i *Instance) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f, ok := i.faults.take(situation{phase: phaseHandshake})
	if !ok {
		return i.certs.right, nil
	}
	switch f.Certificate {
	case CertificateExpired:
		return i.certs.expired, nil
	case CertificateUnknownCA:
		return i.certs.unknownCA, nil
	default:
		return i.certs.otherName, nil
	}
}

// connKey finds the connection in a request's context.
type connKey struct{}

// withConn keeps a request's connection at hand, for faults that act on it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection as the server writes to it, and the one below
// any encryption.
func connOf(ctx context.Context) (outer net.Conn, raw *gateConn) {
	outer, _ = ctx.Value(connKey{}).(net.Conn)
	inner := outer
	if t, ok := inner.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	raw, ok := inner.(*gateConn)
	if !ok {
		panic("every connection of an instance comes through its gate")
	}
	return outer, raw
}
