package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const frontDoorID = "f6a2b1d0-6a2f-4f5d-9a53-2a8d1f0c7b11"

// A probe is how somebody asks for health.
type probe struct {
	name, method, host string
	header             map[string]string
}

// probes are those that AZURE.md describes, and a plain one.
func probes() []probe {
	return []probe{
		{"GET", http.MethodGet, "", nil},
		{"HEAD", http.MethodHead, "", nil},
		{"Front Door HEAD", http.MethodHead, "stamp.example.com", map[string]string{"X-FD-HealthProbe": "1", "User-Agent": "Edge Health Probe"}},
		{"Front Door GET", http.MethodGet, "stamp.example.com", map[string]string{"X-FD-HealthProbe": "1", "User-Agent": "Edge Health Probe"}},
		{"Traffic Manager", http.MethodGet, "eu-swedencentral.trafficmanager.example", nil},
	}
}

// ask sends a probe by a connection of its own, as probers do.
func ask(t *testing.T, g *e2e.Gateway, p probe, path string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), p.method, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = p.host, true
	for name, value := range p.header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // a redirect would show as one
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, text
}

// wantHealth asks a path in all ways and wants the same answer each time.
func wantHealth(t *testing.T, g *e2e.Gateway, path string, code int, status string) {
	t.Helper()
	for _, p := range probes() {
		resp, text := ask(t, g, p, path)
		if resp.StatusCode != code {
			t.Errorf("%s %s: status %d, want %d: %s", p.name, path, resp.StatusCode, code, text)
			continue
		}
		size := 0
		for name, values := range resp.Header {
			for _, v := range values {
				size += len(name) + len(v) + 4
			}
		}
		if size > 1000 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d bytes of headers, Cache-Control %q", p.name, path, size, resp.Header.Get("Cache-Control"))
		}
		if p.method == http.MethodHead {
			if len(text) != 0 || resp.ContentLength <= 0 {
				t.Errorf("%s %s: a body of %d bytes, Content-Length %d", p.name, path, len(text), resp.ContentLength)
			}
			continue
		}
		var doc struct{ Status, ApplicationHealthState string }
		if err := json.Unmarshal(text, &doc); err != nil || doc.Status+doc.ApplicationHealthState != status {
			t.Errorf("%s %s: %s, want %s", p.name, path, text, status)
		}
	}
}

func awaitHealth(t *testing.T, s *e2e.Stack, g *e2e.Gateway, path string, code int) {
	t.Helper()
	s.Await(fmt.Sprintf("%s of %s answers %d", path, g.Name, code), func() bool { return health(t, g, path) == code })
}

// P8: every way of probing gets the same true answer. None needs a Front Door
// id, while every other request does.
func TestP8ProbesOfAllKinds(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Configure: func(c *gateway.Config) { c.FrontDoor.IDs = []string{frontDoorID} }})
	g := s.Gateways[0]
	for path, status := range map[string]string{
		"/health/live": "pass", "/health/ready": "pass", "/health/stamp": "pass", "/health/route/gpt-4o": "pass", "/health/vm": "Healthy",
	} {
		wantHealth(t, g, path, http.StatusOK, status)
	}
	for name, id := range map[string]string{"without a Front Door id": "", "with that of another profile": strings.Replace(frontDoorID, "f", "e", 1)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+chatPath, strings.NewReader(chatBody(false)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("api-key", s.Key)
		if id != "" {
			req.Header.Set("X-Azure-FDID", id)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if code := errorCode(t, resp); resp.StatusCode != http.StatusForbidden || code != "front_door_required" {
			t.Errorf("a call %s: status %d, code %s", name, resp.StatusCode, code)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+chatPath, strings.NewReader(chatBody(false)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api-key", s.Key)
	req.Header.Set("X-Azure-FDID", frontDoorID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a call with the Front Door id: status %d", resp.StatusCode)
	}
	// Anonymous callers learn the status and nothing of what is behind it.
	_, text := ask(t, g, probes()[0], "/health/stamp")
	for _, secret := range []string{"swedencentral-ptu", "127.0.", "serial", g.Name} {
		if strings.Contains(string(text), secret) {
			t.Errorf("an anonymous caller is told %q: %s", secret, text)
		}
	}
}

// P8: a route that is not required may fail and the stamp still stands; one that
// is takes the stamp down, within 2 s, and back.
func TestP8RequiredRoutes(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Clients: []string{"second"}, Edit: func(p string) string {
		return strings.Replace(p, "  - name: text-embedding-3-large\n", "  - name: text-embedding-3-large\n    required: false\n", 1)
	}})
	g := s.Gateways[0]
	gone := func(deployment string) {
		for _, backend := range []string{"swedencentral-ptu", "swedencentral-std"} {
			setFault(t, s, backend, azuresim.Fault{Kind: azuresim.FaultDeploymentGone, Deployment: deployment})
		}
	}
	gone("embed")
	post(t, g, s.Key, "/openai/v1/embeddings", `{"model":"text-embedding-3-large","input":"x"}`)
	awaitHealth(t, s, g, "/health/route/text-embedding-3-large", 503)
	wantHealth(t, g, "/health/route/text-embedding-3-large", 503, "fail")
	wantHealth(t, g, "/health/route/gpt-4o", 200, "pass")
	wantHealth(t, g, "/health/stamp", 200, "pass")

	gone("gpt-4o")
	post(t, g, s.Key, chatPath, chatBody(false))
	began := time.Now()
	awaitHealth(t, s, g, "/health/stamp", 503)
	t.Logf("/health/stamp said that a required route is down %v after the call that showed it", time.Since(began).Round(time.Millisecond))
	wantHealth(t, g, "/health/stamp", 503, "fail")
	wantHealth(t, g, "/health/route/gpt-4o", 503, "fail")
	wantHealth(t, g, "/health/ready", 200, "pass")
	wantHealth(t, g, "/health/live", 200, "pass")
	wantHealth(t, g, "/health/vm", 200, "Healthy")
}

// P8: whether a stamp that is throttled everywhere, or that has only passive
// regions left, is well is the policy's choice; the default is that it is.
func TestP8PolicyChoosesWhatIsWell(t *testing.T) {
	for _, tt := range []struct {
		name, choice, left string
		harm               func(*testing.T, *e2e.Stack)
	}{
		{"everything throttled", "allThrottled", "every target is throttled", func(t *testing.T, s *e2e.Stack) {
			for _, i := range s.Sim.Instances() {
				setFault(t, s, i.Name(), azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "60"})
			}
		}},
		{"only passive regions left", "onlyPassive", "only passive regions are left", func(t *testing.T, s *e2e.Stack) { regionDown(t, s, "swedencentral") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, sweden, _ := twoRegions(t, e2e.Options{Clients: []string{"second"}})
			tt.harm(t, s)
			// Of two clients: what one alone meets does not take every target away.
			s.Await("the gateway knows", func() bool {
				for _, key := range s.Keys {
					post(t, sweden, key, chatPath, chatBody(false))
				}
				_, text := ask(t, sweden, probes()[0], "/health/route/gpt-4o")
				return strings.Contains(string(text), `"warn"`) && strings.Contains(string(s.Admin(sweden, "/health/stamp")), tt.left)
			})
			wantHealth(t, sweden, "/health/route/gpt-4o", 200, "warn")
			wantHealth(t, sweden, "/health/stamp", 200, "warn")
			s.AwaitPolicy(s.Publish(strings.Replace(s.Policy, "  - region: swedencentral\n    fallback:",
				"  - region: swedencentral\n    health: {"+tt.choice+": fail}\n    fallback:", 1)))
			awaitHealth(t, s, sweden, "/health/stamp", 503)
			wantHealth(t, sweden, "/health/route/gpt-4o", 503, "fail")
			wantHealth(t, sweden, "/health/ready", 200, "pass")
		})
	}
}

// P8: neither etcd nor gossip is asked for health, so that their loss changes no
// answer, not for a moment.
func TestP8LossOfEtcdAndGossipIsNotHealth(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Gateways: 2, Gossip: true, Regions: []geo.RegionID{"swedencentral"}})
	g := s.Gateways[0]
	stop := make(chan struct{})
	wrong := make(chan string, 1)
	ended := make(chan int)
	go func() {
		asked := 0
		defer func() { ended <- asked }()
		for {
			for _, path := range []string{"/health/ready", "/health/stamp", "/health/route/gpt-4o"} {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := http.DefaultClient.Get(g.URL + path)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					select {
					case wrong <- fmt.Sprintf("%s: %v, %v", path, resp, err):
					default:
					}
				}
				asked++
				time.Sleep(2 * time.Millisecond)
			}
		}
	}()
	s.StopControl()
	s.Gateways[1].Stop()
	s.Await("the gateway is alone", func() bool { return len(s.Status(g).Gossip.Members) == 1 })
	since := time.Now()
	s.Await("twice the evaluations that it takes to fall", func() bool { return time.Since(since) > 3*time.Second })
	close(stop)
	asked := <-ended
	select {
	case text := <-wrong:
		t.Errorf("the answer changed: %s", text)
	default:
	}
	t.Logf("%d answers while etcd and the only peer went away, all 200", asked)
	wantHealth(t, g, "/health/stamp", 200, "pass")
}
