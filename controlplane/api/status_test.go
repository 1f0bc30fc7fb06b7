package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// damage writes what no store would.
func (b boundary) damage(t *testing.T, suffix, value string) {
	t.Helper()
	raw, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Put(t.Context(), "/stampgate/"+string(b.name)+"/"+suffix, value); err != nil {
		t.Fatal(err)
	}
}

func TestStatusOfABoundaryWhereNothingIs(t *testing.T) {
	t.Parallel()
	b := serve(t)
	reply := b.get(t, "/status")
	var s client.BoundaryStatus
	reply.Into(t, http.StatusOK, &s)
	if s.Boundary != b.name || !s.Reachable || s.Problem != "" || s.Policy != nil || s.PublicKey != b.Key.Public().String() {
		t.Errorf("status %+v", s)
	}
	// Lists are lists also when nothing is in them: scripts loop over them.
	for _, want := range []string{`"policy":null`, `"gateways":[]`, `"orders":[]`, `"stamps":{}`} {
		if !strings.Contains(reply.Body, want) {
			t.Errorf("%s lacks %s", reply.Body, want)
		}
	}
}

func TestStatusTellsWhatEachGatewaySaysOfItself(t *testing.T) {
	t.Parallel()
	b := serve(t)
	p := b.publish(t, "payroll")
	started := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	b.announce(
		t,
		store.Presence{
			Gateway: "gw-1", Region: "swedencentral", Version: "v1.2.3", AppliedSerial: p.Serial, AppliedDigest: p.Digest, Health: "pass",
			Started: started, URL: "https://gw-1", AdminURL: "http://gw-1:9443",
		},
		store.Presence{Gateway: "gw-2", Region: "swedencentral", AppliedSerial: p.Serial, AppliedDigest: "of-another", Draining: true, Health: "fail"},
		store.Presence{Gateway: "gw-3", Region: "westeurope", RefusedSerial: p.Serial, RefusedReason: "bad signature", Unkept: "disk full"},
	)
	b.order(t, `{"kind":"region","name":"westeurope","author":"ann"}`)
	if err := b.Stores[b.name].PutDigest(t.Context(), b.name, "swedencentral", json.RawMessage(`{"inFlight":3}`)); err != nil {
		t.Fatal(err)
	}
	var s client.BoundaryStatus
	b.get(t, "/status").Into(t, http.StatusOK, &s)
	if s.Policy == nil || s.Policy.Serial != 1 || !s.Policy.Genuine || len(s.Orders) != 1 || s.Orders[0].Author != "ann" || string(s.Stamps["swedencentral"]) != `{"inFlight":3}` {
		t.Errorf("status %+v", s)
	}
	if len(s.Gateways) != 3 {
		t.Fatalf("gateways %+v", s.Gateways)
	}
	slices.SortFunc(s.Gateways, func(a, b client.Gateway) int { return strings.Compare(a.Name, b.Name) })
	one, two, three := s.Gateways[0], s.Gateways[1], s.Gateways[2]
	if one.Name != "gw-1" || one.Region != "swedencentral" || one.Version != "v1.2.3" || !one.Current || one.Health != "pass" || !one.Started.Equal(started) ||
		one.URL != "https://gw-1" || one.AdminURL != "http://gw-1:9443" || one.AppliedDigest != p.Digest {
		t.Errorf("gw-1: %+v", one)
	}
	if two.Current || !two.Draining || two.Health != "fail" {
		t.Errorf("gw-2 follows another document under the same serial: %+v", two)
	}
	if three.Current || three.AppliedSerial != 0 || three.RefusedSerial != 1 || three.RefusedReason != "bad signature" || three.Unkept != "disk full" {
		t.Errorf("gw-3: %+v", three)
	}
}

func TestStatusHasEveryBoundaryInOrderAlsoOneWhoseEtcdIsAway(t *testing.T) {
	t.Parallel()
	line := &apitest.Line{}
	away := geo.Boundary("a-" + string(apitest.Boundary(t, "away")))
	b := serveWith(t, apitest.Config{
		Boundaries: []geo.Boundary{away},
		Store: func(name geo.Boundary, c *store.Config) {
			if name == away {
				c.Intercept = line.Intercept
			}
		},
	})
	line.Cut(true)
	b.publish(t, "payroll")
	var s client.Status
	b.Call(t, apitest.Request{Path: "/api/v1/status"}).Into(t, http.StatusOK, &s)
	if s.Version != "v0-test" || s.PublicKey != b.Key.Public().String() || len(s.Boundaries) != 2 {
		t.Fatalf("status %+v", s)
	}
	if first := s.Boundaries[0]; first.Boundary != away || first.Reachable || first.Problem != "etcd is not available" || first.Policy != nil || first.Gateways == nil {
		t.Errorf("the one that is away: %+v", first)
	}
	if second := s.Boundaries[1]; second.Boundary != b.name || !second.Reachable || second.Policy == nil || second.Policy.Serial != 1 {
		t.Errorf("the other one: %+v", second)
	}
}

// An etcd that swallows what it is asked costs a status its own bound and no
// more, and the other boundaries are told all the same.
func TestAnEtcdThatNeverAnswersDoesNotHoldTheStatusUp(t *testing.T) {
	t.Parallel()
	silent := apitest.Boundary(t, "silent")
	b := serveWith(t, apitest.Config{
		Boundaries: []geo.Boundary{silent},
		Store: func(name geo.Boundary, c *store.Config) {
			if name != silent {
				return
			}
			c.Timing.Request = time.Hour
			c.Intercept = func(ctx context.Context, _ string, _ func(context.Context) error) error {
				<-ctx.Done()
				return ctx.Err()
			}
		},
	})
	var s client.Status
	b.Call(t, apitest.Request{Path: "/api/v1/status"}).Into(t, http.StatusOK, &s)
	for _, one := range s.Boundaries {
		if one.Reachable != (one.Boundary == b.name) {
			t.Errorf("boundary %+v", one)
		}
	}
}
