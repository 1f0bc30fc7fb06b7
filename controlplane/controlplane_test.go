package controlplane_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
)

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
	p, err := second.client.Publish(t.Context(), "eu", apitest.Policy("eu", "payroll-a"), client.PublishOptions{Again: true})
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
