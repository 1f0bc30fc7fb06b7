package controlplane_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
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
	for k, v := range header {
		req.Header[k] = v
	}
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

func TestAPolicyGoesInAndComesOut(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := t.Context()
	if _, err := r.client.Policy(ctx, "eu", 0); !isNotFound(err) {
		t.Errorf("before any publication: %v", err)
	}
	v, err := r.client.Validate(ctx, "eu", document(t, "a"))
	if err != nil || !v.Valid || v.Digest == "" {
		t.Fatalf("validate: %+v, %v", v, err)
	}
	p := publish(t, r, "a")
	if p.Serial != 1 || p.Digest != v.Digest || !p.Genuine || p.Unchanged || p.Author != "ann" {
		t.Errorf("publication %+v", p)
	}
	if p := publish(t, r, "a"); p.Serial != 1 || !p.Unchanged {
		t.Errorf("the same again: %+v", p)
	}
	publish(t, r, "b")
	got, err := r.client.Policy(ctx, "eu", 0)
	if err != nil || got.Serial != 2 || !got.Genuine || !strings.Contains(got.Document, "payroll-b") {
		t.Fatalf("policy %+v, %v", got, err)
	}
	if policy.Digest([]byte(got.Document)) != got.Digest {
		t.Error("the digest is not that of the document")
	}
	if old, err := r.client.Policy(ctx, "eu", 1); err != nil || !strings.Contains(old.Document, "payroll-a") {
		t.Errorf("policy 1: %+v, %v", old, err)
	}
	header := r.bearer()
	header.Set("Accept", "application/yaml")
	if status, kind, text := r.call(t, "GET", "/api/v1/boundaries/eu/policy", header, ""); status != 200 || kind != "application/yaml" || text != got.Document {
		t.Errorf("as YAML: %d %s", status, kind)
	}
	back, err := r.client.Rollback(ctx, "eu", client.RollbackRequest{Serial: 1, Author: "bob"})
	if err != nil || back.Serial != 3 || back.Digest != p.Digest {
		t.Errorf("rollback: %+v, %v", back, err)
	}
	h, err := r.client.History(ctx, "eu", 2)
	if err != nil || len(h) != 2 || h[0].Serial != 3 || h[0].Message != "roll back to 1" || h[1].Message != "try b" {
		t.Errorf("history %+v, %v", h, err)
	}
	if _, err := r.client.Rollback(ctx, "eu", client.RollbackRequest{Serial: 99}); !isNotFound(err) {
		t.Errorf("rollback to nothing: %v", err)
	}
	records, err := r.client.Audit(ctx, "eu", 0)
	if err != nil || len(records) != 3 || records[0].Action != "rollback" || records[0].Author != "bob" {
		t.Errorf("audit %+v, %v", records, err)
	}
	if p, err := r.client.Policy(ctx, "us", 0); !isNotFound(err) {
		t.Errorf("eu's policy shows in us: %+v, %v", p, err)
	}
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*client.NotFoundError](err)
	return ok
}

func TestWhatIsNotAllowedIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := t.Context()
	publish(t, r, "a")
	publish(t, r, "b")
	t.Run("an invalid policy, with every fault", func(t *testing.T) {
		bad := bytes.ReplaceAll(document(t, "c"), []byte("ProvisionedManaged"), []byte("GlobalStandard"))
		bad = bytes.ReplaceAll(bad, []byte("fallback: [westeurope]"), []byte("fallback: [atlantis]"))
		_, err := r.client.Publish(ctx, "eu", bad, client.PublishOptions{})
		refused, ok := errors.AsType[*client.RefusedError](err)
		if !ok || len(refused.Faults) < 2 {
			t.Fatalf("error %v", err)
		}
		var paths []string
		for _, f := range refused.Faults {
			paths = append(paths, f.Path)
		}
		if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, "backends[0].deployments[0]") }) {
			t.Errorf("paths %v", paths)
		}
		if v, err := r.client.Validate(ctx, "eu", bad); err != nil || v.Valid || len(v.Faults) != len(refused.Faults) {
			t.Errorf("validate: %+v, %v", v, err)
		}
		if p, err := r.client.Policy(ctx, "eu", 0); err != nil || p.Serial != 2 {
			t.Errorf("in force is %d, %v", p.Serial, err)
		}
	})
	t.Run("a policy of another boundary", func(t *testing.T) {
		_, err := r.client.Publish(ctx, "us", document(t, "c"), client.PublishOptions{})
		if e, ok := errors.AsType[*client.RefusedError](err); !ok || e.Faults[0].Path != "boundary" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a loopback backend, without the switch for it", func(t *testing.T) {
		loop := bytes.ReplaceAll(document(t, "c"), []byte("https://swc-ptu.openai.azure.com"), []byte("http://127.0.0.1:80"))
		if _, err := r.client.Publish(ctx, "eu", loop, client.PublishOptions{}); err == nil {
			t.Error("published")
		}
	})
	t.Run("a stale expectation, with who was first", func(t *testing.T) {
		_, err := r.client.Publish(ctx, "eu", document(t, "c"), client.PublishOptions{ExpectSerial: new(uint64(1))})
		if e, ok := errors.AsType[*client.ConflictError](err); !ok || e.Current.Serial != 2 || e.Current.Author != "ann" || e.Current.Time.IsZero() {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an unknown boundary", func(t *testing.T) {
		if _, err := r.client.BoundaryStatus(ctx, "mars"); !isNotFound(err) || !strings.Contains(err.Error(), "eu, us") {
			t.Errorf("error %v", err)
		}
	})
	for what, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"a body over 8 MiB":        {"POST", "/api/v1/boundaries/eu/policy", strings.Repeat("#", policy.MaxRawBytes+2), 413},
		"an empty policy":          {"POST", "/api/v1/boundaries/eu/policy", "", 422},
		"a serial that is none":    {"GET", "/api/v1/boundaries/eu/policy?serial=x", "", 400},
		"a negative limit":         {"GET", "/api/v1/boundaries/eu/policy/history?limit=-1", "", 400},
		"an unknown field":         {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","force":true}`, 400},
		"something after the JSON": {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x"} {}`, 400},
		"an order without a name":  {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend"}`, 400},
		"an order for a planet":    {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"planet","name":"x"}`, 400},
		"an order for ever":        {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","for":"99999h"}`, 400},
		"an order for no time":     {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","for":"-1h"}`, 400},
		"no order":                 {"DELETE", "/api/v1/boundaries/eu/orders/drain-backend-x", "", 404},
		"an order that climbs":     {"DELETE", "/api/v1/boundaries/eu/orders/..%2fpolicy%2fcurrent", "", 404},
		"a boundary that climbs":   {"GET", "/api/v1/boundaries/eu%2f..%2fus/policy", "", 404},
		"a path that is none":      {"GET", "/api/v1/boundaries/eu/policy/", "", 404},
		"a method that is none":    {"PUT", "/api/v1/boundaries/eu/policy", "", 405},
	} {
		t.Run(what, func(t *testing.T) {
			status, kind, text := r.call(t, c.method, c.path, r.bearer(), c.body)
			var reply client.ErrorReply
			if err := json.Unmarshal([]byte(text), &reply); err != nil || !strings.HasPrefix(kind, "application/json") {
				t.Fatalf("%d %s %q: %v", status, kind, text, err)
			}
			if status != c.status || reply.Error.Code == "" || reply.Error.Message == "" {
				t.Errorf("%d %s, want %d", status, text, c.status)
			}
		})
	}
}

func TestNobodyComesInWithoutTheToken(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, auth := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {"Bearer wrong"}, {"Basic " + r.token}, {r.token},
		{"Bearer " + r.token + "x"}, {"Bearer " + r.token[1:]}, {"Bearer " + r.token, "Bearer wrong"},
	} {
		for _, path := range []string{"/api/v1/status", "/api/v1/boundaries/eu/policy", "/api/v1/boundaries/mars/status"} {
			status, _, text := r.call(t, "GET", path, http.Header{"Authorization": auth}, "")
			if status != 401 || strings.Contains(text, "eu") {
				t.Errorf("%q at %s: %d %s", auth, path, status, text)
			}
		}
	}
	for _, path := range []string{"/health/live", "/health/ready"} {
		if status, _, _ := r.call(t, "GET", path, nil, ""); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	_, err := r.as(t, "wrong").Status(t.Context())
	if _, ok := errors.AsType[*client.UnauthorizedError](err); !ok {
		t.Errorf("client: %v", err)
	}
	if strings.Contains(r.log.String(), r.token) {
		t.Error("the token is in the log")
	}
}

func TestStatusTellsWhatGatewaysFollow(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	p := publish(t, r, "a")
	log := zerolog.Nop()
	st, err := store.Open(store.Config{Endpoints: r.Etcd["eu"]}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for name, serial := range map[string]uint64{"gw-1": 1, "gw-2": 0} {
		wg.Go(func() {
			_ = st.AnnouncePresence(ctx, "eu", func() store.Presence {
				pr := store.Presence{Gateway: name, Region: "swedencentral", AppliedSerial: serial, Health: "pass"}
				if serial == 1 {
					pr.AppliedDigest = p.Digest
				} else {
					pr.RefusedSerial, pr.RefusedReason = 1, "bad signature"
				}
				return pr
			}, nil)
		})
	}
	defer wg.Wait()
	defer cancel()
	if err := st.PutDigest(t.Context(), "eu", "swedencentral", json.RawMessage(`{"rps":1}`)); err != nil {
		t.Fatal(err)
	}
	o, err := r.client.PutOrder(t.Context(), "eu", client.OrderRequest{Kind: "backend", Name: "swc-ptu", Reason: "repair", For: "2h", Author: "ann"})
	if err != nil || !o.Genuine || o.Warning != "" || o.Expires.Sub(o.Created) != 2*time.Hour {
		t.Errorf("order %+v, %v", o, err)
	}
	if o, err := r.client.PutOrder(t.Context(), "eu", client.OrderRequest{Kind: "region", Name: "atlantis"}); err != nil || o.Warning == "" {
		t.Errorf("an order for nothing that is there: %+v, %v", o, err)
	}
	deadline := time.Now().Add(30 * time.Second)
	var b client.BoundaryStatus
	for len(b.Gateways) != 2 {
		if time.Now().After(deadline) {
			t.Fatalf("gateways %+v", b.Gateways)
		}
		if b, err = r.client.BoundaryStatus(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
	}
	if g := b.Gateways[0]; g.Name != "gw-1" || !g.Current || g.Region != "swedencentral" {
		t.Errorf("gateway %+v", g)
	}
	if g := b.Gateways[1]; g.Current || g.RefusedSerial != 1 || g.RefusedReason != "bad signature" {
		t.Errorf("gateway %+v", g)
	}
	if len(b.Orders) != 2 || !b.Reachable || b.Policy == nil || b.Policy.Serial != 1 || string(b.Stamps["swedencentral"]) != `{"rps":1}` {
		t.Errorf("status %+v", b)
	}
	all, err := r.client.Status(t.Context())
	if err != nil || len(all.Boundaries) != 2 || all.PublicKey != r.PublicKey.String() || len(all.Boundaries[1].Gateways) != 0 {
		t.Errorf("status %+v, %v", all, err)
	}
	if err := r.client.DeleteOrder(t.Context(), "eu", client.DrainID("backend", "swc-ptu"), "bob"); err != nil {
		t.Error(err)
	}
	if orders, err := r.client.Orders(t.Context(), "eu"); err != nil || len(orders) != 1 {
		t.Errorf("orders %+v, %v", orders, err)
	}
}

func TestAForgedPolicyIsShownAsSuchAndReplaced(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	publish(t, r, "a")
	raw := r.etcd(t, "eu")
	const key = "/stampgate/eu/policy/current"
	stored, err := raw.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var env store.Envelope
	if err := json.Unmarshal(stored.Kvs[0].Value, &env); err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := store.NewEnvelope("eu", 9, document(t, "evil"))
	if err != nil {
		t.Fatal(err)
	}
	forged.Signature = signing.Sign(stranger, "eu", 9, forged.Digest)
	text, _ := json.Marshal(forged)
	if _, err := raw.Put(t.Context(), key, string(text)); err != nil {
		t.Fatal(err)
	}
	got, err := r.client.Policy(t.Context(), "eu", 0)
	if err != nil || got.Genuine || got.Problem == "" || got.Document != "" {
		t.Errorf("forged: %+v, %v", got, err)
	}
	header := r.bearer()
	header.Set("Accept", "application/yaml")
	if status, _, text := r.call(t, "GET", "/api/v1/boundaries/eu/policy", header, ""); status != 502 || strings.Contains(text, "evil") {
		t.Errorf("forged as YAML: %d %s", status, text)
	}
	if s, err := r.client.BoundaryStatus(t.Context(), "eu"); err != nil || s.Policy == nil || s.Policy.Genuine {
		t.Errorf("status %+v, %v", s, err)
	}
	if p := publish(t, r, "a"); p.Serial != 2 || !p.Genuine || p.Unchanged {
		t.Errorf("published over it: %+v", p)
	}
	if _, err := raw.Put(t.Context(), key, "{rubbish"); err != nil {
		t.Fatal(err)
	}
	if s, err := r.client.BoundaryStatus(t.Context(), "eu"); err != nil || s.Policy != nil || !strings.Contains(s.Problem, "malformed") {
		t.Errorf("status %+v, %v", s, err)
	}
	if p := publish(t, r, "b"); p.Serial != 3 {
		t.Errorf("published over rubbish: %+v", p)
	}
}

func TestAnEtcdThatIsAwayIsSaidToBe(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *controlplane.Config) {
		c.Boundaries["us"] = controlplane.Boundary{Etcd: controlplane.Etcd{Endpoints: []string{"http://127.0.0.1:1"}}}
	})
	s, err := r.client.Status(t.Context())
	if err != nil || !s.Boundaries[0].Reachable || s.Boundaries[1].Reachable || s.Boundaries[1].Problem == "" {
		t.Errorf("status %+v, %v", s, err)
	}
	_, err = r.client.Policy(t.Context(), "us", 0)
	if e, ok := errors.AsType[*client.APIError](err); !ok || e.Status != 503 || e.Code != client.CodeUnavailable {
		t.Errorf("policy: %v", err)
	}
	publish(t, r, "a") // the other boundary is none the worse
}

func TestARestartKeepsKeyTokenPolicyAndEtcdAddress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	same := func(c *controlplane.Config) {
		c.TokenFile, c.SigningKeyFile, c.Embedded.Dir = filepath.Join(dir, "t"), filepath.Join(dir, "k"), filepath.Join(dir, "e")
	}
	first := start(t, same)
	publish(t, first, "a")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.client.Status(t.Context()); !isUnreachable(err) {
		t.Errorf("stopped, it answers %v", err)
	}
	second := start(t, same)
	if second.PublicKey != first.PublicKey || second.token != first.token {
		t.Error("key or token changed")
	}
	if second.Etcd["eu"][0] != first.Etcd["eu"][0] {
		t.Logf("the port of the first run was taken meanwhile: %v, %v", first.Etcd, second.Etcd)
	}
	if p, err := second.client.Policy(t.Context(), "eu", 0); err != nil || p.Serial != 1 || !p.Genuine {
		t.Errorf("policy %+v, %v", p, err)
	}
}

func isUnreachable(err error) bool {
	_, ok := errors.AsType[*client.UnreachableError](err)
	return ok
}

func TestANewKeyTrustsTheOldOneWhileItTakesOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	etcd := func(c *controlplane.Config) { c.Embedded.Dir = filepath.Join(dir, "e") }
	first := start(t, etcd)
	publish(t, first, "a")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, func(c *controlplane.Config) {
		etcd(c)
		c.TrustedKeys = []signing.PublicKey{first.PublicKey}
	})
	if p, err := second.client.Policy(t.Context(), "eu", 0); err != nil || !p.Genuine {
		t.Errorf("policy %+v, %v", p, err)
	}
	p, err := second.client.Publish(t.Context(), "eu", document(t, "a"), client.PublishOptions{Again: true})
	if err != nil || p.Serial != 2 || p.Unchanged {
		t.Errorf("signed anew: %+v, %v", p, err)
	}
}

func TestTheReadyLineTellsWhereEverythingIs(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for line := range strings.Lines(r.log.String()) {
		var l struct {
			Message   string              `json:"message"`
			URL       string              `json:"url"`
			PublicKey string              `json:"public_key"`
			Etcd      map[string][]string `json:"etcd"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%q is no JSON: %v", line, err)
		}
		if l.Message == "ready" {
			if l.URL != r.URL || l.PublicKey != r.PublicKey.String() || len(l.Etcd["eu"]) != 1 || len(l.Etcd["us"]) != 1 {
				t.Errorf("ready line %s", line)
			}
			return
		}
	}
	t.Errorf("no ready line in\n%s", r.log)
}
