package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/store"
)

func TestItServesAndKeepsItsDataOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	log := zerolog.New(t.Output()).Level(zerolog.WarnLevel)
	for range 2 {
		began := time.Now()
		srv, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, NoSync: true}, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("ready after %v at %v", time.Since(began), srv.Endpoints())
		s, err := store.Open(store.Config{Endpoints: srv.Endpoints()}, log)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Current(t.Context(), "eu"); !errors.Is(err, store.ErrNoPolicy) {
			t.Error(err)
		}
		_ = s.Close()
		srv.Close()
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v, want mode 0700", info.Mode(), err)
	}
}

func TestItListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "10.0.0.1:2379", ":2379", "localhost:0", "nonsense"} {
		_, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Listen: listen}, zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), "listen address") {
			t.Errorf("listen %s: error %v", listen, err)
		}
	}
}
