package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/certificate"
)

// renew writes a certificate with this serial, and its key, at a time of their own.
func renew(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), serial)
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), serial)
}

func write(t *testing.T, name string, text []byte, serial int64) {
	t.Helper()
	if name == "" {
		return
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000+serial, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// serial is that of the certificate which the next connection gets.
func serial(t *testing.T, p *certificate.Pair) int64 {
	t.Helper()
	server, err := p.ForServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := p.ForClient(nil)
	if err != nil || client != server {
		t.Errorf("a client shows another certificate than a server, %v", err)
	}
	return server.Leaf.SerialNumber.Int64()
}

// loaded is a pair with serial number 1, and where its files are.
func loaded(t *testing.T) (p *certificate.Pair, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	renew(t, cert, key, 1)
	p, err := certificate.Load(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return p, cert, key
}

func TestARenewedCertificateIsTakenWithoutARestart(t *testing.T) {
	p, cert, key := loaded(t)
	if got := serial(t, p); got != 1 {
		t.Errorf("serial %d, want 1", got)
	}
	renew(t, cert, key, 2)
	if got := serial(t, p); got != 2 {
		t.Errorf("serial %d after the renewal, want 2", got)
	}
}

// Between the writing of the one file and of the other the two do not match.
func TestAHalfWrittenPairLeavesTheOldOneInUse(t *testing.T) {
	p, cert, key := loaded(t)
	renew(t, cert, "", 2)
	if got := serial(t, p); got != 1 {
		t.Errorf("serial %d while the key is the old one, want 1", got)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if got := serial(t, p); got != 1 {
		t.Errorf("serial %d without a key, want 1", got)
	}
	renew(t, cert, key, 3)
	if got := serial(t, p); got != 3 {
		t.Errorf("serial %d when both are there, want 3", got)
	}
}

func TestAPairThatCannotBeReadFailsTheStart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if _, err := certificate.Load(cert, key); err == nil {
		t.Error("a certificate was loaded that is not there")
	}
	renew(t, cert, key, 1)
	write(t, key, []byte("no key"), 2)
	if _, err := certificate.Load(cert, key); err == nil {
		t.Error("a certificate was loaded without its key")
	}
}
