package controlplane_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

func TestNobodyComesInWithoutTheToken(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, auth := range [][]string{
		nil,
		{""},
		{"Bearer"},
		{"Bearer "},
		{"Bearer wrong"},
		{"Basic " + r.token},
		{r.token},
		{"Bearer " + r.token + "x"},
		{"Bearer " + r.token[1:]},
		{"Bearer " + r.token, "Bearer wrong"},
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
	forged.Sign(stranger)
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
	if _, err := raw.Put(t.Context(), "/stampgate/eu/policy/history/1", string(text)); err != nil {
		t.Fatal(err)
	}
	if p, err := r.client.Rollback(t.Context(), "eu", client.RollbackRequest{Serial: 1}); err == nil {
		t.Errorf("rolled back to a forged entry: %+v", p)
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
