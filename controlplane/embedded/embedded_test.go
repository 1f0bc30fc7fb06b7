package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/embedded"
)

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	cfg.NoSync = true
	s, err := embedded.Start(t.Context(), cfg, zerolog.New(t.Output()).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func clientOf(t *testing.T, s *embedded.Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestItKeepsItsDataAndItsAddressOverARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there")
	first := start(t, embedded.Config{Dir: dir})
	if _, err := clientOf(t, first).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	at := first.Endpoints()
	first.Close()
	first.Close() // does no harm
	second := start(t, embedded.Config{Dir: dir})
	if got := second.Endpoints(); len(got) != 1 || got[0] != at[0] {
		t.Errorf("at %v, before the restart at %v", got, at)
	}
	got, err := clientOf(t, second).Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("%v, %v", got, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v, want mode 0700", info, err)
	}
}

// Where its old port is taken, or what it wrote down of it is rubbish, it takes
// another port: an address is no reason not to start.
func TestAnAddressThatCannotBeHadAgainIsNoFault(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for name, remembered := range map[string]string{
		"a port in use":    "http://" + taken.Addr().String(),
		"rubbish":          "\x00nonsense",
		"not this machine": "http://10.0.0.1:2379",
		"a host name":      "http://localhost:2379",
	} {
		if err := os.WriteFile(filepath.Join(dir, "endpoint"), []byte(remembered), 0o600); err != nil {
			t.Fatal(err)
		}
		s := start(t, embedded.Config{Dir: dir})
		at := s.Endpoints()[0]
		if at == remembered || !strings.HasPrefix(at, "http://127.0.0.1:") {
			t.Errorf("%s: at %s", name, at)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "endpoint")); err != nil || string(text) != at {
			t.Errorf("%s: remembered %q, %v; it is at %s", name, text, err, at)
		}
		s.Close()
	}
}

func TestItListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "10.0.0.1:2379", ":2379", "localhost:0", "nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "[::]:0", "http://127.0.0.1:0"} {
		_, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Listen: listen}, zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), "listen address") {
			t.Errorf("listen %s: error %v", listen, err)
		}
	}
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Listen: "10.0.0.1:2379"}, zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), "give the boundary an etcd cluster with TLS instead") {
		t.Errorf("it names no remedy: %v", err)
	}
}

func TestWhatKeepsItFromStartingIsSaidAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  embedded.Config
		want string
	}{
		"a folder below a file": {embedded.Config{Dir: filepath.Join(file, "etcd")}, "not a directory"},
		"an address in use":     {embedded.Config{Dir: filepath.Join(dir, "etcd"), Listen: taken.Addr().String()}, "address already in use"},
	} {
		_, err := embedded.Start(t.Context(), c.cfg, zerolog.Nop())
		if err == nil || !strings.HasPrefix(err.Error(), "start embedded etcd") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	start(t, embedded.Config{Dir: filepath.Join(dir, "etcd")}) // the folder of the failed one serves
}

func TestAStartThatIsCancelledIsNoServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	for range 2 { // also where it remembers an address
		s, err := embedded.Start(ctx, embedded.Config{Dir: dir, NoSync: true}, zerolog.Nop())
		if s != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", s, err)
		}
		start(t, embedded.Config{Dir: dir}).Close()
	}
}

func TestCompactForgetsWhatWasBefore(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{Dir: t.TempDir()})
	c := clientOf(t, s)
	put, err := c.Put(t.Context(), "k", "old")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), "k", "new"); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "k", clientv3.WithRev(put.Header.Revision)); err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("the old revision: %v", err)
	}
	if got, err := c.Get(t.Context(), "k"); err != nil || string(got.Kvs[0].Value) != "new" {
		t.Errorf("the newest: %v, %v", got, err)
	}
	if err := s.Compact(t.Context()); err == nil || !strings.Contains(err.Error(), "compact at") {
		t.Errorf("twice at one revision: %v", err)
	}
}

// Its own coming and going is nothing to warn of, and it does not speak of
// itself in between.
func TestItStartsAndEndsWithoutAWord(t *testing.T) {
	t.Parallel()
	var log apitest.Log
	s, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), NoSync: true}, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientOf(t, s).Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	s.Close()
	if log.String() != "" {
		t.Errorf("it says\n%s", log.String())
	}
	select {
	case err, ok := <-s.Err():
		if ok {
			t.Errorf("an end that was asked for is told as a failure: %v", err)
		}
	default:
	}
}

// A publication holds an envelope of at most 1.4 MB twice, which etcd's own
// limit would not take.
func TestAValueOfAFullPublicationFits(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{Dir: t.TempDir()})
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), MaxCallSendMsgSize: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value := strings.Repeat("x", 1_400_000)
	if _, err := c.Txn(t.Context()).Then(clientv3.OpPut("a", value), clientv3.OpPut("b", value)).Commit(); err != nil {
		t.Error(err)
	}
	if _, err := c.Put(t.Context(), "c", strings.Repeat("x", 5<<20)); err == nil {
		t.Error("more than is allowed is taken")
	}
}
