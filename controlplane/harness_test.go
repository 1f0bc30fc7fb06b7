package controlplane_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// A running control plane, with what a test needs to reach it.
type running struct {
	controlplane.Addresses
	token  string
	client *client.Client
	log    *apitest.Log
	stop   func() error
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
	r := &running{log: &apitest.Log{}}
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
	r.client = r.trusting(t, "")
	return r
}

// trusting is a client that believes an authority's certificates, "" the system's.
func (r *running) trusting(t *testing.T, caFile string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: r.URL, Token: secret.New(r.token), CAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func publish(t *testing.T, r *running, n string) client.Publication {
	t.Helper()
	p, err := r.client.Publish(t.Context(), "eu", apitest.Policy("eu", "payroll-"+n), client.PublishOptions{Author: "ann", Message: "try " + n})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
