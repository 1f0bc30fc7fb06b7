package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/admin/adminapi"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// drain gives an order and waits until it is in force on every gateway.
func drain(t *testing.T, s *e2e.Stack, kind, name, lasting string) client.Order {
	t.Helper()
	began := time.Now()
	o, err := s.Control.PutOrder(t.Context(), "eu", client.OrderRequest{Kind: kind, Name: name, Reason: "test", Author: "e2e", For: lasting})
	if err != nil {
		t.Fatal(err)
	}
	s.Await("the order is in force everywhere", func() bool { return inForceEverywhere(s, o.ID) })
	t.Logf("drain %s %s: in force on %d gateways %v after it was asked for", kind, name, len(s.Gateways), time.Since(began).Round(time.Millisecond))
	return o
}

func undrain(t *testing.T, s *e2e.Stack, o client.Order) {
	t.Helper()
	if err := s.Control.DeleteOrder(t.Context(), "eu", o.ID, "e2e"); err != nil {
		t.Fatal(err)
	}
	s.Await("the order has ended everywhere", func() bool { return inForceNowhere(s, o.ID) })
}

func hasOrder(s *e2e.Stack, g *e2e.Gateway, id string) bool {
	for _, o := range s.Status(g).Orders {
		if o.ID == id {
			return true
		}
	}
	return false
}

func inForceEverywhere(s *e2e.Stack, id string) bool {
	for _, g := range s.Gateways {
		if !hasOrder(s, g, id) {
			return false
		}
	}
	return true
}

func inForceNowhere(s *e2e.Stack, id string) bool {
	for _, g := range s.Gateways {
		if hasOrder(s, g, id) {
			return false
		}
	}
	return true
}

// explained returns what /explain says of a backend.
func explained(t *testing.T, s *e2e.Stack, g *e2e.Gateway, backend string) targets.Explanation {
	t.Helper()
	var out adminapi.Explained
	s.AdminJSON(g, adminapi.ExplainPath+"?route=gpt-4o", &out)
	for _, e := range out.Targets {
		if e.Backend == backend {
			return e
		}
	}
	t.Fatalf("%s does not explain %s", g.Name, backend)
	return targets.Explanation{}
}

// health asks a health path of the public listener.
func health(t testing.TB, g *e2e.Gateway, path string) int {
	t.Helper()
	resp, err := http.DefaultClient.Get(g.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A drained backend gets no new request, and what runs on it ends as it would
// have. Status and explain say so.
func TestDrainBackend(t *testing.T) {
	const tokens = 50
	s := e2e.Start(t, e2e.Options{Gateways: 3, Latency: azuresim.Latency{PerToken: 20 * time.Millisecond, Tokens: tokens}})
	ptu := s.Sim.Instance("swedencentral-ptu")
	type end struct {
		events int
		err    error
	}
	ends := make(chan end, len(s.Gateways))
	for _, g := range s.Gateways {
		resp := post(t, g, s.Key, chatPath, chatBody(true))
		go func() {
			events, err := countEvents(resp.Body)
			ends <- end{events, err}
		}()
	}
	s.Await("the streams run", func() bool { return ptu.InFlight() == len(s.Gateways) })
	o := drain(t, s, "backend", "swedencentral-ptu", "1h")
	if ptu.InFlight() != len(s.Gateways) {
		t.Errorf("%d of %d streams run when the order is in force: the test is too slow to tell", ptu.InFlight(), len(s.Gateways))
	}
	ptu.ClearRecords()
	for _, g := range s.Gateways {
		served(t, s, g, 1, "swedencentral")
		if ts := target(s, g, "swedencentral-ptu"); !ts.Drained || ts.Available {
			t.Errorf("%s: the status of the drained target is %+v", g.Name, ts)
		}
		if e := explained(t, s, g, "swedencentral-ptu"); e.Order != 0 || !strings.Contains(e.Reason, "drain") {
			t.Errorf("%s explains the drained target with order %d, reason %q", g.Name, e.Order, e.Reason)
		}
		if code := health(t, g, "/health/stamp"); code != http.StatusOK {
			t.Errorf("%s: /health/stamp answers %d though another backend serves", g.Name, code)
		}
	}
	if n := len(calls(ptu)); n != 0 {
		t.Errorf("the drained backend got %d new requests", n)
	}
	for range s.Gateways {
		if e := <-ends; e.err != nil || e.events < tokens {
			t.Errorf("a stream on the drained backend: %d events, %v", e.events, e.err)
		}
	}
	undrain(t, s, o)
	for _, g := range s.Gateways {
		served(t, s, g, 1, "swedencentral")
	}
	if n := len(calls(ptu)); n != len(s.Gateways) {
		t.Errorf("after undrain the backend got %d requests, want %d", n, len(s.Gateways))
	}
}

// A drained region's stamp asks the global router to move on, and serves what
// still arrives; no other stamp uses its backends.
func TestDrainRegion(t *testing.T) {
	s, sweden, west := twoRegions(t, e2e.Options{})
	o := drain(t, s, "region", "swedencentral", "1h")
	for path, want := range map[string]int{"/health/stamp": 503, "/health/ready": 200, "/health/live": 200, "/health/vm": 200} {
		if code := health(t, sweden, path); code != want {
			t.Errorf("%s of the drained region answers %d, want %d", path, code, want)
		}
		if code := health(t, west, path); code != 200 {
			t.Errorf("%s of the other region answers %d, want 200", path, code)
		}
	}
	served(t, s, sweden, 3, "swedencentral")
	if e := explained(t, s, west, "swedencentral-std"); e.Order != 0 || !strings.Contains(e.Reason, "drain") {
		t.Errorf("westeurope explains the drained region's target with order %d, reason %q", e.Order, e.Reason)
	}
	if e := explained(t, s, sweden, "swedencentral-ptu"); e.Order != 1 {
		t.Errorf("the drained region's own stamp explains its target with order %d, reason %q; want it first", e.Order, e.Reason)
	}
	before := s.Arrived()
	regionDown(t, s, "westeurope")
	resp := post(t, west, s.Key, chatPath, chatBody(false))
	if code := errorCode(t, resp); resp.StatusCode == http.StatusOK {
		t.Errorf("westeurope was served by the drained region: %s", code)
	}
	if n := s.Arrived() - before; n != 0 {
		t.Errorf("the drained region got %d requests of the other stamp", n)
	}
	undrain(t, s, o)
	s.Await("the region's health rises", func() bool { return health(t, sweden, "/health/stamp") == 200 })
	served(t, s, west, 1, "swedencentral")
}

// A drained gateway tells its balancers at once, serves what still arrives and
// asks for new connections, and can be taken back.
func TestDrainGateway(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Gateways: 2})
	g, other := s.Gateways[0], s.Gateways[1]
	o := drain(t, s, "gateway", g.Name, "1h")
	for path, want := range map[string]int{"/health/ready": 503, "/health/stamp": 503, "/health/live": 200, "/health/vm": 200} {
		if code := health(t, g, path); code != want {
			t.Errorf("%s of the drained gateway answers %d, want %d", path, code, want)
		}
		if code := health(t, other, path); code != 200 {
			t.Errorf("%s of the other gateway answers %d, want 200", path, code)
		}
	}
	if !s.Status(g).Draining || s.Status(other).Draining {
		t.Error("the status does not say which gateway drains")
	}
	resp := post(t, g, s.Key, chatPath, chatBody(false))
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("the drained gateway answers %d, and asks for a new connection: %t", resp.StatusCode, resp.Close)
	}
	s.Await("the control plane shows it", func() bool {
		b, err := s.Control.BoundaryStatus(t.Context(), "eu")
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range b.Gateways {
			if shown.Name == g.Name {
				return shown.Draining
			}
		}
		return false
	})
	undrain(t, s, o)
	s.Await("the gateway is ready again", func() bool { return health(t, g, "/health/ready") == 200 })
}

// P3: orders hold without etcd, over a restart of the gateway, and no longer
// than they say.
func TestOrdersWithoutEtcd(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Gateways: 1})
	g := s.Gateways[0]
	long := drain(t, s, "backend", "swedencentral-ptu", "1h")
	short := drain(t, s, "backend", "swedencentral-std", "4s")
	s.StopControl()
	g.Stop()
	s.StartGateway(g)
	if !target(s, g, "swedencentral-ptu").Drained || !hasOrder(s, g, long.ID) {
		t.Error("a restart without etcd has lost an order")
	}
	ptu := len(calls(s.Sim.Instance("swedencentral-ptu")))
	s.Await("the short order ends", func() bool { return !target(s, g, "swedencentral-std").Drained })
	if late := time.Since(short.Expires); late < 0 {
		t.Errorf("the short order ended %v before its time", -late)
	} else {
		t.Logf("an order ended %v after its time", late.Round(time.Millisecond))
	}
	if hasOrder(s, g, short.ID) || !hasOrder(s, g, long.ID) {
		t.Errorf("the orders in force are %+v, want the long one alone", s.Status(g).Orders)
	}
	served(t, s, g, 3, "swedencentral")
	if len(calls(s.Sim.Instance("swedencentral-ptu"))) != ptu {
		t.Error("the backend that is drained for an hour was used")
	}
}

// P2: an order that no trusted key signed does nothing, even written into etcd
// itself; nor does a signed one whose text was changed, or that is of another
// boundary.
func TestP2ForgedOrder(t *testing.T) {
	var log lockedBuffer
	s := e2e.Start(t, e2e.Options{Gateways: 1, Log: &log, LogLevel: zerolog.InfoLevel})
	g := s.Gateways[0]
	direct, err := store.Open(store.Config{Endpoints: s.Etcd()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	forged := store.NewDrain("eu", store.GatewayOrder, g.Name, time.Hour)
	forged.Sign(key)
	if err := direct.PutOrder(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	// A genuine order whose text is changed after it was signed.
	genuine := drain(t, s, "backend", "swedencentral-ptu", "1h")
	changed := changeOrder(t, direct, genuine.ID)
	s.Await("the gateway refuses both", func() bool { return bytes.Count(log.Bytes(), []byte(`"order refused"`)) >= 3 })
	// What follows in etcd is heard after them.
	drain(t, s, "backend", "swedencentral-std", "1h")
	if hasOrder(s, g, forged.ID) || hasOrder(s, g, changed) {
		t.Errorf("the orders in force are %+v", s.Status(g).Orders)
	}
	if code := health(t, g, "/health/ready"); code != http.StatusOK {
		t.Errorf("/health/ready answers %d after a forged order", code)
	}
	if target(s, g, "swedencentral-ptu").Drained {
		t.Error("an order whose text was changed is still in force")
	}
	orders, err := s.Control.Orders(t.Context(), "eu")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orders {
		if want := o.Name == "swedencentral-std"; o.Genuine != want {
			t.Errorf("the control plane shows the order on %s as genuine: %t", o.Name, o.Genuine)
		}
	}
}

// changeOrder makes an order in etcd last longer than was signed.
func changeOrder(t *testing.T, direct *store.Store, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2e.Limit)
	defer cancel()
	all, err := direct.Orders(ctx, "eu")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.ID == id {
			o.Expires = o.Expires.Add(time.Hour)
			if err := direct.PutOrder(ctx, o); err != nil {
				t.Fatal(err)
			}
			return o.ID
		}
	}
	text, _ := json.Marshal(all)
	t.Fatalf("etcd has no order %s: %s", id, text)
	return ""
}
