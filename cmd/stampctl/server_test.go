package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// TestServerScripts runs every testdata/server/*.txtar against a real control
// plane of its own: the API in this process, on an etcd in this process.
func TestServerScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/server",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			url, err := startControlPlane(env, filepath.Join(env.WorkDir, ".etcd"))
			if err != nil {
				return err
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv(envServer, url)
			env.Setenv(envToken, apitest.Token)
			env.Setenv(envAuthor, "alice")
			return os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(apitest.Token+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// startControlPlane serves until the script ends. A gateway that is behind
// announces itself, so that status has something to show.
func startControlPlane(env *testscript.Env, dir string) (url string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	env.Defer(cancel)
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, NoSync: true}, zerolog.Nop())
	if err != nil {
		return "", err
	}
	env.Defer(etcd.Close)
	server, err := apitest.Start(apitest.Config{Etcd: etcd.Endpoints(), Boundaries: []geo.Boundary{"eu", "us"}})
	if err != nil {
		return "", err
	}
	env.Defer(server.Close)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = server.Stores["eu"].AnnouncePresence(ctx, "eu", func() store.Presence {
			return store.Presence{Gateway: "eu-swc-1", Region: "swedencentral", Health: "pass"}
		}, nil)
	}()
	env.Defer(func() {
		cancel()
		<-gone
	})
	return server.URL, nil
}
