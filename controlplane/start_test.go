package controlplane_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/geo"
)

// usable is a configuration that would start, with everything in one folder.
func usable(dir string) controlplane.Config {
	return controlplane.Config{
		Listen: "127.0.0.1:0", TokenFile: filepath.Join(dir, "token"), SigningKeyFile: filepath.Join(dir, "key"),
		Boundaries: map[geo.Boundary]controlplane.Boundary{"eu": {}}, Embedded: controlplane.Embedded{Dir: filepath.Join(dir, "etcd")}, NoSync: true,
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatCannotStartSaysWhichFileOrAddressIsAtFault(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string, c *controlplane.Config)
		want   []string
	}{
		"a configuration with faults": {
			func(_ *testing.T, _ string, c *controlplane.Config) { c.Listen, c.TokenFile = "x", "" }, []string{"listen", "tokenFile"},
		},
		"a token file in no folder": {
			func(_ *testing.T, dir string, c *controlplane.Config) {
				c.TokenFile = filepath.Join(dir, "none", "token")
			}, []string{"admin token", "none/token"},
		},
		"a token file that others read": {
			func(t *testing.T, dir string, c *controlplane.Config) {
				c.TokenFile = write(t, filepath.Join(dir, "open"), strings.Repeat("a", 64), 0o644)
			}, []string{"admin token", "open", "chmod 600"},
		},
		"a token file that is a folder": {
			func(_ *testing.T, dir string, c *controlplane.Config) { c.TokenFile = dir }, []string{"admin token"},
		},
		"a signing key that is none": {
			func(t *testing.T, dir string, c *controlplane.Config) {
				c.SigningKeyFile = write(t, filepath.Join(dir, "broken"), "no key\n", 0o600)
			}, []string{"signing key", "broken"},
		},
		"a signing key that others read": {
			func(t *testing.T, dir string, c *controlplane.Config) {
				c.SigningKeyFile = write(t, filepath.Join(dir, "open"), "no key\n", 0o644)
			}, []string{"signing key", "open"},
		},
		"an address in use": {
			func(_ *testing.T, _ string, c *controlplane.Config) { c.Listen = taken.Addr().String() }, []string{"listen", taken.Addr().String(), "in use"},
		},
		"no such certificate": {
			func(_ *testing.T, dir string, c *controlplane.Config) {
				c.TLS = controlplane.TLS{CertFile: filepath.Join(dir, "none.pem"), KeyFile: filepath.Join(dir, "key")}
			}, []string{"tls", "none.pem"},
		},
		"a certificate that is none": {
			func(t *testing.T, dir string, c *controlplane.Config) {
				text := write(t, filepath.Join(dir, "text"), "no PEM\n", 0o600)
				c.TLS = controlplane.TLS{CertFile: text, KeyFile: text}
			}, []string{"tls"},
		},
		"an embedded etcd below a file": {
			func(t *testing.T, dir string, c *controlplane.Config) {
				c.Embedded.Dir = filepath.Join(write(t, filepath.Join(dir, "file"), "", 0o600), "etcd")
			}, []string{"boundary eu", "embedded etcd"},
		},
		"an embedded etcd for the world": {
			func(_ *testing.T, _ string, c *controlplane.Config) { c.Embedded.Listen = "0.0.0.0:0" }, []string{"boundary eu", "not loopback"},
		},
		"an embedded etcd on a port in use": {
			func(_ *testing.T, _ string, c *controlplane.Config) {
				c.Boundaries["eu"] = controlplane.Boundary{Embedded: controlplane.BoundaryEmbedded{Listen: taken.Addr().String()}}
			}, []string{"boundary eu", "in use"},
		},
		"an etcd without its authority's file": {
			func(_ *testing.T, _ string, c *controlplane.Config) {
				c.Boundaries["eu"] = controlplane.Boundary{Etcd: controlplane.Etcd{Endpoints: []string{"https://127.0.0.1:1"}, CAFile: "none.pem"}}
			}, []string{"boundary eu", "etcd.caFile", "none.pem"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cfg := usable(dir)
			cfg.OnReady = func(controlplane.Addresses) { t.Error("it says that it is ready") }
			c.change(t, dir, &cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := controlplane.Run(ctx, cfg, zerolog.Nop())
			if err == nil {
				t.Fatal("it ran")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

// A start that fails late undoes what it did: the same folder and address serve
// the next one, and a token or key that was made stays.
func TestAStartThatFailsLeavesRoomForTheNext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := usable(dir)
	cfg.Boundaries["us"] = controlplane.Boundary{Etcd: controlplane.Etcd{Endpoints: []string{"https://127.0.0.1:1"}, CAFile: filepath.Join(dir, "none.pem")}}
	if err := controlplane.Run(t.Context(), cfg, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "boundary us") {
		t.Fatalf("error %v", err)
	}
	token, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, func(c *controlplane.Config) {
		c.TokenFile, c.SigningKeyFile, c.Embedded = cfg.TokenFile, cfg.SigningKeyFile, cfg.Embedded
		delete(c.Boundaries, "us")
	})
	if r.token != strings.TrimSpace(string(token)) {
		t.Error("the token that was made first is not the one in use")
	}
	publish(t, r, "a")
}

func TestAStartThatIsCancelledEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := usable(t.TempDir())
	cfg.OnReady = func(controlplane.Addresses) { t.Error("it says that it is ready") }
	if err := controlplane.Run(ctx, cfg, zerolog.Nop()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// What holds secrets is for its owner alone.
func TestFilesThatAreMadeAreForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, func(c *controlplane.Config) {
		c.TokenFile, c.SigningKeyFile, c.Embedded.Dir = filepath.Join(dir, "token"), filepath.Join(dir, "key"), filepath.Join(dir, "etcd")
	})
	for _, name := range []string{"token", "key", "etcd/eu", "etcd/us"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if strings.Contains(r.log.String(), r.token) {
		t.Error("the token is in the log")
	}
}

func TestEmbeddedEtcdsListenWhereTheyAreToldTo(t *testing.T) {
	t.Parallel()
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	first, named := free(), free()
	r := start(t, func(c *controlplane.Config) {
		c.Embedded.Listen = first
		c.Boundaries["us"] = controlplane.Boundary{Embedded: controlplane.BoundaryEmbedded{Listen: named}}
		c.Boundaries["zz"] = controlplane.Boundary{}
	})
	if r.Etcd["eu"][0] != "http://"+first || r.Etcd["us"][0] != "http://"+named {
		t.Errorf("etcds at %v, want eu at %s, us at %s", r.Etcd, first, named)
	}
	if zz := r.Etcd["zz"][0]; zz == r.Etcd["eu"][0] || zz == r.Etcd["us"][0] || !strings.HasPrefix(zz, "http://127.0.0.1:") {
		t.Errorf("zz at %s", zz)
	}
}

// A request that runs when the end comes is answered before it comes.
func TestARequestThatRunsIsAnsweredBeforeTheEnd(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(text string) {
		t.Helper()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("POST /api/v1/boundaries/eu/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + r.token +
		"\r\nExpect: 100-continue\r\nContent-Length: 31\r\n\r\n")
	answer := make([]byte, 1024)
	n, err := conn.Read(answer) // 100 Continue: the handler reads the body
	if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 100") {
		t.Fatalf("%q, %v", answer[:n], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	send(`{"kind":"backend","name":"slow"}`[:31])
	n, err = conn.Read(answer)
	if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 400") { // the last brace is missing
		t.Errorf("%q, %v", answer[:n], err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := r.client.Status(t.Context()); !isUnreachable(err) {
		t.Errorf("after the end: %v", err)
	}
}

// A renewed certificate is served without a restart, and one that cannot be read
// ends no connection but the one that asks.
func TestARenewedCertificateNeedsNoRestart(t *testing.T) {
	t.Parallel()
	old := newCA(t)
	cert, key := old.issue(t)
	r := start(t, func(c *controlplane.Config) { c.TLS = controlplane.TLS{CertFile: cert, KeyFile: key} })
	if !strings.HasPrefix(r.URL, "https://") {
		t.Errorf("URL %s", r.URL)
	}
	ask := func(ca *authority) error {
		t.Helper()
		_, err := r.trusting(t, ca.file).Status(t.Context())
		return err
	}
	if err := ask(old); err != nil {
		t.Fatal(err)
	}
	renewed := newCA(t)
	newCert, newKey := renewed.issue(t)
	if err := errors.Join(os.Rename(newKey, key), os.Rename(newCert, cert)); err != nil {
		t.Fatal(err)
	}
	if err := ask(renewed); err != nil {
		t.Errorf("the renewed one: %v", err)
	}
	if err := ask(old); !isUnreachable(err) {
		t.Errorf("the old one is still served: %v", err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := ask(renewed); err != nil {
		t.Errorf("a pair that cannot be read leaves the one before in use: %v", err)
	}
}

// Over TLS a client that speaks plain HTTP is told so, and none is taken that
// cannot speak TLS 1.2.
func TestPlainHTTPToATLSListenerIsRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert, key := ca.issue(t)
	r := start(t, func(c *controlplane.Config) { c.TLS = controlplane.TLS{CertFile: cert, KeyFile: key} })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(r.URL, "https")+"/health/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it is served")
		}
	}
}

func TestAConfigurationFileThatCannotBeReadNamesItself(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none.yaml")
	if _, err := controlplane.LoadConfig(missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v", err)
	}
	if _, err := controlplane.LoadConfig(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	bad := write(t, filepath.Join(dir, "bad.yaml"), "lisen: x\n", 0o600)
	if _, err := controlplane.LoadConfig(bad); err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "lisen") {
		t.Errorf("a fault: %v", err)
	}
	good := write(t, filepath.Join(dir, "good.yaml"), "tokenFile: t\nsigningKeyFile: k\nembedded: {dir: e, listen: 127.0.0.1:2379}\n"+
		"allowLoopbackBackends: true\nboundaries:\n  eu: {}\n  us: {etcd: {endpoints: [https://a:1, https://b:1], caFile: c, certFile: d, keyFile: e}}\n", 0o600)
	cfg, err := controlplane.LoadConfig(good)
	if err != nil || cfg.TokenFile != "t" || cfg.SigningKeyFile != "k" || !cfg.AllowLoopbackBackends || cfg.Embedded.Listen != "127.0.0.1:2379" ||
		len(cfg.Boundaries["us"].Etcd.Endpoints) != 2 || cfg.Boundaries["us"].Etcd.CAFile != "c" {
		t.Errorf("%+v, %v", cfg, err)
	}
	large := write(t, filepath.Join(dir, "large.yaml"), "tokenFile: t\nsigningKeyFile: k\nembedded: {dir: e}\nboundaries: {eu: {}}\n#"+
		strings.Repeat(" ", 1<<20)+"\nlisen: x\n", 0o600)
	if _, err := controlplane.LoadConfig(large); err == nil || !strings.Contains(err.Error(), large) {
		t.Errorf("more than can be read: %v", err)
	}
}
