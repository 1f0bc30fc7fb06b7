package devstack

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func readAll(t *testing.T, c certificates) []byte {
	t.Helper()
	var all []byte
	for _, f := range []string{c.ca, c.cert, c.key} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

func TestTheAuthorityVouchesForTheGatewaysAndItsKeyIsNowhere(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	if err := os.Mkdir(c.path("tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	certs, err := c.certificates()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := certs.roots()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certs.cert, certs.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "localhost", "::1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := filepath.Glob(c.path("tls", "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("tls/ has %v, want the authority, the certificate and its key", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", f, info.Mode().Perm(), err)
		}
	}
}

func TestCertificatesAreKeptWhileTheyAreWholeAndGood(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, c certificates)
		kept  bool
	}{
		"whole":                     {func(*testing.T, certificates) {}, true},
		"the authority is missing":  {func(t *testing.T, c certificates) { removeFile(t, c.ca) }, false},
		"the key is missing":        {func(t *testing.T, c certificates) { removeFile(t, c.key) }, false},
		"the key is another's":      {func(t *testing.T, c certificates) { mixWithOthers(t, c, func(c certificates) string { return c.key }) }, false},
		"the authority is another":  {func(t *testing.T, c certificates) { mixWithOthers(t, c, func(c certificates) string { return c.ca }) }, false},
		"the time is nearly up":     {func(t *testing.T, c certificates) { mustCreate(t, c, time.Now().Add(-certificateLife+time.Hour)) }, false},
		"there is still a long way": {func(t *testing.T, c certificates) { mustCreate(t, c, time.Now().Add(-time.Hour)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Dir: t.TempDir()}
			if err := os.Mkdir(config.path("tls"), 0o700); err != nil {
				t.Fatal(err)
			}
			certs, err := config.certificates()
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(t, certs)
			var before []byte
			if c.kept {
				before = readAll(t, certs)
			}
			if certs, err = config.certificates(); err != nil {
				t.Fatal(err)
			}
			if after := readAll(t, certs); bytes.Equal(after, before) != c.kept {
				t.Errorf("kept: %t, want %t", !c.kept, c.kept)
			}
			if err := certs.usable(time.Now()); err != nil {
				t.Errorf("not usable: %v", err)
			}
		})
	}
}

func removeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// mixWithOthers puts one file of another stack in the place of this one's, as a
// start does that ends between two files.
func mixWithOthers(t *testing.T, c certificates, which func(certificates) string) {
	t.Helper()
	dir := t.TempDir()
	other := certificates{ca: filepath.Join(dir, "ca"), cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	mustCreate(t, other, time.Now())
	if err := os.Rename(which(other), which(c)); err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t *testing.T, c certificates, at time.Time) {
	t.Helper()
	if err := c.create(at); err != nil {
		t.Fatal(err)
	}
}
