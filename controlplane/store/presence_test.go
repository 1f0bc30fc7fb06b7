package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/store"
)

// Nothing that another machine sent is in what is logged when a gateway leaves.
func TestNothingOfAPeerIsLoggedWhenAPresenceEnds(t *testing.T) {
	t.Parallel()
	log := &lines{}
	put := make(chan struct{})
	var once sync.Once
	s, err := store.Open(store.Config{
		Endpoints: []string{"http://127.0.0.1:1"}, Timing: quick(),
		Intercept: func(_ context.Context, method string, _ func(context.Context) error) error {
			switch {
			case strings.HasSuffix(method, "/Put"):
				once.Do(func() { close(put) })
			case strings.HasSuffix(method, "/LeaseRevoke"):
				return errors.New(`unexpected HTTP status; data: "what a stranger sent"`)
			}
			return nil
		},
	}, zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- s.AnnouncePresence(ctx, "eu", func() store.Presence { return store.Presence{Gateway: "a", Region: "swedencentral"} }, nil)
	}()
	select {
	case <-put:
	case <-ctx.Done():
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "presence lease runs out by itself") || strings.Contains(got, "stranger") {
		t.Errorf("the log: %s", got)
	}
}
