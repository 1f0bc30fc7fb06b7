package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// calls are the records of what clients caused: free probes are left out.
func calls(i *azuresim.Instance) (out []azuresim.Record) {
	for _, r := range i.Records() {
		if r.Operation != "Models_List" {
			out = append(out, r)
		}
	}
	return out
}

// P8 without traffic: nobody calls. Backends that die show in /health/stamp within
// 12 s, and their return within 15 s, on real sockets; how long it took is
// printed, because a busy machine may take longer. The reason is shown to
// operators, and to nobody else.
func TestP8HealthWithoutTraffic(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	g, ptu := s.Gateways[0], s.Sim.Instance("swedencentral-ptu")
	s.Await("an idle backend is probed", func() bool { return len(e2e.Probes(ptu.Records())) > 0 })
	wantHealth(t, g, "/health/stamp", 200, "pass")
	if reach := target(s, g, "swedencentral-ptu").Reach; !strings.HasPrefix(reach, "idle, probed ") {
		t.Errorf("status says %q of an idle backend", reach)
	}
	for _, r := range e2e.Probes(ptu.Records()) {
		if r.Status != http.StatusOK || r.BodyBytes != 0 {
			t.Errorf("a probe got %d and carried %d bytes", r.Status, r.BodyBytes)
		}
	}

	regionDown(t, s, "swedencentral")
	began := time.Now()
	awaitHealth(t, s, g, "/health/stamp", 503)
	t.Logf("503 after %v without a call (promised: 12 s)", time.Since(began).Round(time.Millisecond))
	wantHealth(t, g, "/health/ready", 200, "pass")
	detail := string(s.Admin(g, "/health/stamp"))
	if !strings.Contains(detail, "unreachable, last probe ") {
		t.Errorf("the detailed document does not say why: %s", detail)
	}
	if _, text := ask(t, g, probes()[0], "/health/stamp"); strings.Contains(string(text), "unreachable") {
		t.Errorf("an anonymous caller is told why: %s", text)
	}
	if text := string(s.Admin(g, "/explain?route=gpt-4o")); !strings.Contains(text, "unreachable, last probe ") {
		t.Errorf("explain does not say why: %s", text)
	}
	if text := string(s.Admin(g, "/metrics")); !strings.Contains(text, `stampgate_probes_total{outcome="connect"}`) {
		t.Error("the probes are not counted")
	}

	// An outage of under half a minute may be a flap, and is believed to be over
	// only after 40 s.
	s.Await("half a minute of outage", func() bool { return time.Since(began) > 45*time.Second })
	for _, i := range s.Sim.Instances() {
		i.ClearFaults()
	}
	back := time.Now()
	awaitHealth(t, s, g, "/health/stamp", 200)
	t.Logf("200 after %v without a call (promised: 15 s)", time.Since(back).Round(time.Millisecond))
	post(t, g, s.Key, chatPath, chatBody(false))
}
