package store_test

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
)

func startEtcd(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.NoSync = true
	srv, err := embedded.Start(t.Context(), cfg, zerolog.New(t.Output()).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv
}

func TestContractOnEmbeddedEtcd(t *testing.T) {
	storetest.Run(t, startEtcd(t, embedded.Config{}))
}
