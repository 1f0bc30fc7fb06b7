package admin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/admin/adminapi"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

const document = `
boundary: eu
residency: {countries: [SE, NL, IE]}
stamps: [{region: swedencentral, fallback: [westeurope]}]
backends:
  - {name: swc, region: swedencentral, endpoint: "https://swc.openai.azure.com", credential: {apiKeyEnv: ADMIN_TEST_KEY},
     deployments: [{name: d, model: m, version: "1", sku: Standard}]}
  - {name: weu, region: westeurope, endpoint: "https://weu.openai.azure.com", credential: {apiKeyEnv: ADMIN_TEST_KEY},
     deployments: [{name: d, model: m, version: "1", sku: Standard}]}
routes: [{name: r, model: m, version: "1"}, {name: other, model: m, version: "1"}]
clients: [{name: payroll, keys: [{sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}], routes: [r]}]
`

// A gateway is what an admin listener shows, without the rest.
type gateway struct {
	registry *targets.Registry
	follower *follow.Follower
	handler  http.Handler
}

func start(t *testing.T) *gateway {
	t.Helper()
	t.Setenv("ADMIN_TEST_KEY", "0123456789abcdef0123456789abcdef")
	g := &gateway{registry: targets.New("swedencentral")}
	credentials := credential.New(credential.Config{Log: zerolog.Nop()})
	g.follower = follow.New(follow.Config{
		Local: geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE", "NL", "IE"}}, Log: zerolog.Nop(),
		Prepare: func(s *policy.Snapshot) (retire func()) {
			g.registry.Advance(s)
			return credentials.Prepare(s)
		},
	})
	g.handler = admin.New(admin.Config{
		Boundary: "eu", Region: "swedencentral", Name: "g1", Started: time.Now(), Token: secret.New("token"),
		Registry: g.registry, Follower: g.follower, Credentials: credentials, Machine: health.NewMachine(),
		Metrics:  prometheus.NewRegistry(),
		InFlight: func() int { return 3 }, Draining: func() bool { return true },
	}).Handler()
	return g
}

func (g *gateway) follow(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.follower.ReadFile(file); err != nil {
		t.Fatal(err)
	}
}

// get asks as an operator, and reads what comes into out.
func (g *gateway) get(t *testing.T, path string, out any) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	r.Header.Set("Authorization", "Bearer token")
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	return w.Code
}

func TestNothingIsShownWithoutTheToken(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/metrics", "/status", "/explain?route=r", "/health/ready", "/health/live", "/nothing"} {
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestStatusShowsWhatIsKnown(t *testing.T) {
	g := start(t)
	var before admin.Status
	if code := g.get(t, "/status", &before); code != http.StatusOK || before.Policy.Serial != 0 || before.Targets == nil {
		t.Errorf("without a policy: %d %+v", code, before)
	}
	g.follow(t)
	g.registry.SetDrained(map[string]bool{"weu": true}, nil)
	var s admin.Status
	if code := g.get(t, "/status", &s); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	if s.Gateway != "g1" || !s.Draining || s.InFlight != 3 || s.Policy.Serial != 1 || s.Gossip != nil || len(s.Targets) != 2 {
		t.Errorf("%+v", s)
	}
	for _, target := range s.Targets {
		if weu := target.Backend == "weu"; target.Deployment != "d" || target.Available == weu || target.Drained != weu {
			t.Errorf("%+v", target)
		}
	}
}

func TestExplainSaysWhereARequestWouldGo(t *testing.T) {
	g := start(t)
	var refused adminapi.Refused
	if code := g.get(t, "/explain?route=r", &refused); code != http.StatusServiceUnavailable {
		t.Errorf("without a policy: %d %+v", code, refused)
	}
	g.follow(t)
	for query, want := range map[string]int{
		"":                            http.StatusNotFound,
		"?route=none":                 http.StatusNotFound,
		"?route=r&client=nobody":      http.StatusNotFound,
		"?route=other&client=payroll": http.StatusForbidden,
	} {
		if code := g.get(t, adminapi.ExplainPath+query, &refused); code != want || refused.Error == "" {
			t.Errorf("%q: %d %+v, want %d", query, code, refused, want)
		}
	}
	var e adminapi.Explained
	if code := g.get(t, adminapi.ExplainPath+"?route=r&client=payroll", &e); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	var order []string
	for _, target := range e.Targets {
		order = append(order, target.Backend)
	}
	if e.Gateway != "g1" || e.Policy != 1 || e.Route != "r" || strings.Join(order, " ") != "swc weu" || !e.Targets[1].Passive {
		t.Errorf("%+v", e)
	}
}
