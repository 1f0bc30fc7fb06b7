package controlplane_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// A running control plane, with what a test needs to reach it.
type running struct {
	controlplane.Addresses
	token  string
	client *client.Client
	log    *syncBuffer
	stop   func() error
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a control plane for boundaries eu and us on embedded etcds.
func start(t *testing.T, change func(*controlplane.Config)) *running {
	t.Helper()
	dir := t.TempDir()
	ready := make(chan controlplane.Addresses, 1)
	cfg := controlplane.Config{
		Listen: "127.0.0.1:0", TokenFile: filepath.Join(dir, "token"), SigningKeyFile: filepath.Join(dir, "key"),
		Boundaries: map[geo.Boundary]controlplane.Boundary{"eu": {}, "us": {}},
		Embedded:   controlplane.Embedded{Dir: filepath.Join(dir, "etcd")}, NoSync: true,
		OnReady: func(a controlplane.Addresses) { ready <- a },
	}
	if change != nil {
		change(&cfg)
	}
	r := &running{log: &syncBuffer{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- controlplane.Run(ctx, cfg, zerolog.New(r.log)) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case r.Addresses = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("run: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	text, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	r.token = strings.TrimSpace(string(text))
	r.client = r.as(t, r.token)
	return r
}

func (r *running) as(t *testing.T, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: r.URL, Token: secret.New(token)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// call makes a bare request and returns status, content type and body.
func (r *running) call(t *testing.T, method, path string, header http.Header, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
}

func (r *running) bearer() http.Header { return http.Header{"Authorization": {"Bearer " + r.token}} }

func (r *running) etcd(t *testing.T, b geo.Boundary) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: r.Etcd[b]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// document is a valid policy of eu; n makes it differ from others.
func document(t *testing.T, n string) []byte {
	t.Helper()
	text, err := os.ReadFile("policy/testdata/valid/eu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(text, []byte("payroll"), []byte("payroll-"+n))
}

func publish(t *testing.T, r *running, n string) client.Publication {
	t.Helper()
	p, err := r.client.Publish(t.Context(), "eu", document(t, n), client.PublishOptions{Author: "ann", Message: "try " + n})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
