package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

// told is a handler that passes serials on.
type told chan uint64

func (c told) Policy(e store.Envelope)   { c <- e.Serial }
func (told) PolicyInvalid(uint64, error) {}
func (told) Orders([]store.Order)        {}
func (told) Connected(bool)              {}
func (c told) wait(serial uint64) {
	for <-c != serial {
	}
}

// BenchmarkPublishUntilAllAreTold publishes 100 kB documents and waits until
// eleven followers, those of a development stack, have been told, each over a
// connection of its own. The embedded etcd flushes to disk.
func BenchmarkPublishUntilAllAreTold(b *testing.B) {
	srv, err := embedded.Start(b.Context(), embedded.Config{Dir: b.TempDir()}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.Close)
	s, err := store.Open(store.Config{Endpoints: srv.Endpoints()}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	const followers = 11
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	all := make([]told, followers)
	for i := range all {
		all[i] = make(told, 16)
		wg.Go(func() { _ = s.Watch(ctx, "eu", all[i]) })
	}
	b.Cleanup(func() { cancel(); wg.Wait() })
	key, err := signing.GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	document := make([]byte, 100<<10)
	publish := func(serial uint64) {
		copy(document, fmt.Sprint(serial))
		env, err := s.Publish(b.Context(), "eu", store.PublishRequest{Document: document}, key)
		if err != nil || env.Serial != serial {
			b.Fatal(env.Serial, err)
		}
		for _, f := range all {
			f.wait(serial)
		}
	}
	serial := uint64(1)
	publish(serial) // until all watches are open
	var worst time.Duration
	for b.Loop() {
		serial++
		began := time.Now()
		publish(serial)
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}
