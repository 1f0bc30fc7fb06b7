package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/embedded"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
	"github.com/stampgate/stampgate/geo"
)

func quick() store.Timing {
	return store.Timing{Progress: 100 * time.Millisecond, Silence: 700 * time.Millisecond, Request: 2 * time.Second, BackoffMax: 200 * time.Millisecond}
}

func open(t *testing.T, log zerolog.Logger, endpoints ...string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Endpoints: endpoints, Timing: quick()}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func follow(t *testing.T, s *store.Store) *storetest.Recorder {
	t.Helper()
	r := &storetest.Recorder{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Watch(ctx, "eu", r) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

func publish(t *testing.T, s *store.Store, document string) {
	t.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Publish(t.Context(), "eu", store.PublishRequest{Document: []byte(document)}, key)
	if err != nil {
		t.Fatal(err)
	}
}

// A process starts while etcd is down, and nothing that it was told is taken
// back when etcd goes.
func TestAStoreOutlivesItsEtcd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	proxy := storetest.NewProxy(t, "127.0.0.1:1") // nothing listens there
	log := zerolog.New(t.Output()).Level(zerolog.InfoLevel)
	s := open(t, log, proxy.Endpoint())
	r := follow(t, s)
	_, err := s.Current(t.Context(), "eu")
	if _, ok := errors.AsType[*store.UnavailableError](err); !ok {
		t.Errorf("with etcd down: %v", err)
	}
	up := func() (*embedded.Server, *store.Store) {
		srv := startEtcd(t, embedded.Config{Dir: dir})
		proxy.Retarget(strings.TrimPrefix(srv.Endpoints()[0], "http://"))
		return srv, open(t, log, srv.Endpoints()...)
	}
	srv, direct := up()
	publish(t, direct, "one")
	storetest.Eventually(t, "told of policy 1 once etcd is up", func() bool { return r.Last() == 1 })
	_ = direct.Close()
	proxy.Cut()
	srv.Close()
	storetest.Eventually(t, "told that etcd is gone", func() bool { online, _ := r.Online(); return !online })
	if r.Last() != 1 || r.Invalid() != "" {
		t.Errorf("with etcd gone: last %d, invalid %q", r.Last(), r.Invalid())
	}
	_, direct = up()
	storetest.Eventually(t, "connected again", func() bool { online, _ := r.Online(); return online })
	if got := r.Serials(); len(got) != 1 {
		t.Errorf("told of %v: the same policy again", got)
	}
	publish(t, direct, "two")
	storetest.Eventually(t, "told of policy 2", func() bool { return r.Last() == 2 })
}

// An etcd that was restored from a backup has a lower revision than the watch
// waits for: a plain watch would wait for ever.
func TestAnEtcdThatWasSetBackIsNoticed(t *testing.T) {
	t.Parallel()
	var log lines
	proxy := storetest.NewProxy(t, "127.0.0.1:1")
	old := startEtcd(t, embedded.Config{})
	proxy.Retarget(strings.TrimPrefix(old.Endpoints()[0], "http://"))
	s := open(t, zerolog.New(&log), proxy.Endpoint())
	direct := open(t, zerolog.Nop(), old.Endpoints()...)
	for i := range 20 {
		publish(t, direct, fmt.Sprint("old ", i))
	}
	r := follow(t, s)
	storetest.Eventually(t, "told of policy 20", func() bool { return r.Last() == 20 })
	restored := startEtcd(t, embedded.Config{})
	publish(t, open(t, zerolog.Nop(), restored.Endpoints()...), "restored")
	proxy.Retarget(strings.TrimPrefix(restored.Endpoints()[0], "http://"))
	proxy.Cut()
	// It is handed on: whether a lower serial counts is the follower's question.
	storetest.Eventually(t, "told of what the restored etcd holds", func() bool { return r.Last() == 1 })
	if !strings.Contains(log.String(), "restored or replaced") {
		t.Errorf("nobody was told that etcd was set back:\n%s", log.String())
	}
}

// Where nobody writes anything, the server still gives signs of life. Before
// watches began at the listed revision it gave none, and each watch was taken
// for dead once in every Timing.Silence.
func TestAWatchOfAQuietEtcdStaysConnected(t *testing.T) {
	t.Parallel()
	srv := startEtcd(t, embedded.Config{})
	timing := quick()
	timing.Progress, timing.Silence = 50*time.Millisecond, 600*time.Millisecond
	s, err := store.Open(store.Config{Endpoints: srv.Endpoints(), Timing: timing}, zerolog.New(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := follow(t, s)
	storetest.Eventually(t, "connected", func() bool { online, _ := r.Online(); return online })
	// Eight times the silence that ends a watch pass. Without signs of life it
	// would be interrupted some seven times; three are left to a machine that
	// stands still for a while.
	quiet := time.Now().Add(5 * time.Second)
	storetest.Eventually(t, "eight silences long", func() bool { return time.Now().After(quiet) })
	if _, n := r.Online(); n > 2+2*3 {
		t.Errorf("Connected was called %d times", n)
	}
}

type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestABombIsNotOpened(t *testing.T) {
	env, err := store.NewEnvelope("eu", 1, bytes.Repeat([]byte("a"), policy.MaxRawBytes))
	if err != nil {
		t.Fatal(err)
	}
	if len(env.Document) > 64<<10 {
		t.Fatalf("%d bytes compressed: no bomb", len(env.Document))
	}
	for _, limit := range []int{0, 1, 1 << 10, 1 << 20, policy.MaxRawBytes - 1} {
		if _, err := env.Open(limit); err == nil {
			t.Errorf("opened with a limit of %d", limit)
		}
	}
	if _, err := env.Open(policy.MaxRawBytes); err != nil {
		t.Error(err)
	}
	// One that does not say how large it is, so that only unpacking tells.
	var stream bytes.Buffer
	w, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		_, _ = w.Write(bytes.Repeat([]byte("a"), 1<<20))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	env.Document = stream.Bytes()
	if _, err := env.Open(policy.MaxRawBytes); err == nil {
		t.Error("64 MiB without a stated size were opened")
	}
}

func TestADocumentThatIsTooLargeIsRefused(t *testing.T) {
	for _, size := range []int{policy.MaxRawBytes + 1, policy.MaxCompressedBytes + 100<<10} {
		document := make([]byte, size)
		if size < policy.MaxRawBytes { // not to be compressed
			state := uint64(1)
			for i := range document {
				state = state*6364136223846793005 + 1442695040888963407
				document[i] = byte(state >> 56)
			}
		}
		_, err := store.NewEnvelope("eu", 1, document)
		if _, ok := errors.AsType[*store.InvalidError](err); !ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestNamesThatWouldBeOtherKeysAreRefused(t *testing.T) {
	s := open(t, zerolog.Nop(), "http://127.0.0.1:1")
	for _, b := range []string{"", "eu/policy", "../us", "..", "e u", "e\x00u", "é", strings.Repeat("a", 300)} {
		boundary := geo.Boundary(b)
		if _, err := s.Current(t.Context(), boundary); !invalid(err) {
			t.Errorf("Current(%q): %v", b, err)
		}
		if err := s.Watch(t.Context(), boundary, nil); !invalid(err) {
			t.Errorf("Watch(%q): %v", b, err)
		}
		if err := s.PutDigest(t.Context(), "eu", geo.RegionID(b), json.RawMessage("{}")); !invalid(err) {
			t.Errorf("PutDigest(%q): %v", b, err)
		}
		if err := s.DeleteOrder(t.Context(), "eu", b, ""); !invalid(err) {
			t.Errorf("DeleteOrder(%q): %v", b, err)
		}
	}
}

func invalid(err error) bool {
	_, ok := errors.AsType[*store.InvalidError](err)
	return ok
}

func TestCertificatesAreReadAtTheStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, cfg := range map[string]store.Config{
		"no endpoints": {}, "no scheme": {Endpoints: []string{"h:1"}}, "a user": {Endpoints: []string{"https://u@h:1"}},
		"a CA file that is missing":  {Endpoints: []string{"https://h:1"}, CAFile: missing},
		"a CA file that is empty":    {Endpoints: []string{"https://h:1"}, CAFile: empty},
		"a certificate that is none": {Endpoints: []string{"https://h:1"}, CertFile: empty, KeyFile: empty},
		"half a certificate":         {Endpoints: []string{"https://h:1"}, CertFile: empty},
	} {
		if _, err := store.Open(cfg, zerolog.Nop()); err == nil {
			t.Errorf("opened with %s", what)
		}
	}
}

func FuzzEnvelopeOpens(f *testing.F) {
	env, err := store.NewEnvelope("eu", 1, []byte("boundary: eu\n"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(env.Document, env.Digest)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd}, "")
	f.Fuzz(func(t *testing.T, document []byte, digest string) {
		const limit = 1 << 16
		e := store.Envelope{Serial: 1, Boundary: "eu", Digest: digest, Document: document}
		opened, err := e.Open(limit)
		if err != nil {
			return
		}
		again, err := store.NewEnvelope("eu", 1, opened)
		if len(opened) > limit || err != nil || again.Digest != digest {
			t.Errorf("%d bytes of another digest came out: %v", len(opened), err)
		}
	})
}
