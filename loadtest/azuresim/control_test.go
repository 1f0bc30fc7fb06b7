package azuresim_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// decode reads a reply of the control API.
func decode[T any](t *testing.T, r reply, status int) T {
	t.Helper()
	var v T
	if r.StatusCode != status {
		t.Fatalf("%d %s, want %d", r.StatusCode, r.text, status)
	}
	if status == http.StatusNoContent {
		return v
	}
	if err := json.Unmarshal([]byte(r.text), &v); err != nil {
		t.Fatalf("%s: %v", r.text, err)
	}
	return v
}

func TestControlAPI(t *testing.T) {
	sim := start(t, azuresim.Config{
		ControlListen: "127.0.0.1:0", Instances: []azuresim.InstanceConfig{instance("a", nil), instance("b", nil)},
	})
	u := sim.ControlURL()
	a := sim.Instance("a")
	ask := func(method, path, body string) reply { return call{method: method, path: path, body: body}.must(t, u) }

	call{}.must(t, a.URL())
	all := decode[[]azuresim.InstanceStatus](t, ask("GET", "/instances", ""), 200)
	if len(all) != 2 || all[0].Name != "a" || all[0].URL != a.URL() || all[0].Requests != 1 || len(all[0].Deployments) != 3 || all[1].Connections != 0 {
		t.Errorf("instances %+v", all)
	}
	if st := decode[azuresim.InstanceStatus](t, ask("GET", "/instances/b", ""), 200); st.Region != "Sweden Central" {
		t.Errorf("instance %+v", st)
	}
	if r := decode[[]azuresim.Record](t, ask("GET", "/instances/a/records?since=0", ""), 200); len(r) != 1 || !r[0].Finished() {
		t.Errorf("records %+v", r)
	}
	if r := decode[[]azuresim.Record](t, ask("GET", "/records?since=1", ""), 200); len(r) != 0 {
		t.Errorf("records since the last %+v", r)
	}
	decode[any](t, ask("DELETE", "/instances/a/records", ""), 204)
	decode[any](t, ask("DELETE", "/records", ""), 204)

	decode[any](t, ask("PUT", "/instances/a/latency", `{"firstToken":"1ms","perToken":"2ms","tokens":3,"jitter":0.5}`), 200)
	if l := a.Latency(); l != (azuresim.Latency{FirstToken: time.Millisecond, PerToken: 2 * time.Millisecond, Tokens: 3, Jitter: 0.5}) {
		t.Errorf("latency %+v", l)
	}

	id := decode[map[string]string](t, ask("POST", "/instances/a/faults", `"status;503;retry-after=2;count=1"`), 201)["id"]
	decode[map[string]string](t, ask("POST", "/instances/a/faults", `{"kind":"status","status":500,"share":0.5,"deployment":"x"}`), 201)
	if r := (call{}).must(t, a.URL()); r.StatusCode != 503 {
		t.Errorf("fault: %d", r.StatusCode)
	}
	fs := decode[[]azuresim.FaultState](t, ask("GET", "/instances/a/faults", ""), 200)
	if len(fs) != 2 || fs[0].ID != id || fs[0].Fired != 1 || !fs[0].Ended || fs[1].Fault.Share != 0.5 || fs[1].Ended {
		t.Errorf("faults %+v", fs)
	}
	decode[any](t, ask("DELETE", "/instances/a/faults/"+id, ""), 204)
	decode[[]azuresim.FaultState](t, ask("PUT", "/instances/a/faults", `["hang",{"kind":"slow","delay":"1s"}]`), 200)
	decode[any](t, ask("DELETE", "/instances/a/faults", ""), 204)
	if n := decode[map[string]int](t, ask("POST", "/faults?region=Sweden+Central", `"status;500"`), 201)["instances"]; n != 2 {
		t.Errorf("region's fault on %d instances", n)
	}
	decode[any](t, ask("DELETE", "/faults", ""), 204)
	decode[any](t, ask("PUT", "/identity-setting", `{"lifetime":"1h","status":500}`), 204)

	for _, bad := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/instances/none", "", 404},
		{"GET", "/records?since=x", "", 400},
		{"PUT", "/instances/a/latency", `{"firstTokn":"1s"}`, 400},
		{"PUT", "/instances/a/latency", `{"firstToken":"-1s"}`, 400},
		{"PUT", "/instances/a/latency", `{} {}`, 400},
		{"POST", "/instances/a/faults", `"nothing"`, 400},
		{"POST", "/instances/a/faults", `{"kind":"hang","delya":"1s"}`, 400},
		{"PUT", "/instances/a/faults", `["hang","x"]`, 400},
		{"DELETE", "/instances/a/faults/f99", "", 404},
		{"POST", "/faults?region=Atlantis", `"hang"`, 404},
	} {
		if r := ask(bad.method, bad.path, bad.body); r.StatusCode != bad.status || !strings.Contains(r.text, `"error"`) {
			t.Errorf("%s %s %s: %d %s", bad.method, bad.path, bad.body, r.StatusCode, r.text)
		}
	}
	if len(a.Faults()) != 0 {
		t.Errorf("a refused fault is in force: %+v", a.Faults())
	}
}

func TestIdentityEndpointRefusesAndFails(t *testing.T) {
	sim := start(t, azuresim.Config{ControlListen: "127.0.0.1:0", Instances: []azuresim.InstanceConfig{instance("a", nil)}})
	u := sim.ControlURL()
	const query = "?api-version=2019-08-01&resource=https://cognitiveservices.azure.com"
	ask := func(path string, header map[string]string) reply {
		return call{method: "GET", path: path, header: header}.must(t, u)
	}
	good := map[string]string{"X-Identity-Header": sim.IdentityHeader()}
	if r := ask("/identity"+query, nil); r.StatusCode != 401 {
		t.Errorf("without the header: %d", r.StatusCode)
	}
	if r := ask("/identity", good); r.StatusCode != 400 {
		t.Errorf("without a resource: %d", r.StatusCode)
	}
	if r := ask("/metadata/identity/oauth2/token"+query, map[string]string{"Metadata": "true"}); r.StatusCode != 200 {
		t.Errorf("virtual machine's endpoint: %d", r.StatusCode)
	}
	sim.SetIdentity(azuresim.IdentitySetting{Status: 500})
	if r := ask("/identity"+query, good); r.StatusCode != 500 {
		t.Errorf("broken: %d", r.StatusCode)
	}
	sim.SetIdentity(azuresim.IdentitySetting{Lifetime: time.Second})
	var tok struct {
		ExpiresIn string `json:"expires_in"`
	}
	if r := ask("/identity"+query, good); json.Unmarshal([]byte(r.text), &tok) != nil || tok.ExpiresIn != "1" {
		t.Errorf("short-lived: %s", r.text)
	}
	if sim.TokensIssued() != 2 || sim.TokensAsked() != 5 {
		t.Errorf("%d issued of %d", sim.TokensIssued(), sim.TokensAsked())
	}
}

func TestConfigIsStrict(t *testing.T) {
	good := `
controlListen: 127.0.0.1:0
latency: {firstToken: 200ms, perToken: 10ms, tokens: 40, jitter: 0.2}
headerFaults: true
identity: {header: h, lifetime: 1h}
instances:
  - name: swc-ptu
    region: Sweden Central
    listen: 127.0.0.5:0
    apiKey: k
    tls: {names: [swc-ptu.openai.azure.com]}
    acceptTokens: {audiences: [https://cognitiveservices.azure.com]}
    faults: [{kind: status, status: 503, retryAfter: "2", count: 1}]
    deployments:
      - {name: gpt-4o-a, model: gpt-4o, version: "2024-11-20", sku: ProvisionedManaged, ptu: 100}
      - {name: gpt-4o-b, model: gpt-4o, tokensPerMinute: 450000, latency: {firstToken: 1s}}
`
	c, err := azuresim.ParseConfig([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if i := c.Instances[0]; i.Faults[0].RetryAfter != "2" || i.Deployments[0].PTU != 100 || i.Deployments[1].Latency.FirstToken != time.Second ||
		c.Latency.PerToken != 10*time.Millisecond {
		t.Errorf("%+v", c)
	}
	for name, c := range map[string]struct{ bad, want string }{
		"unknown field":      {strings.Replace(good, "apiKey", "apikey", 1), "line 10: instances[0].apikey: is an unknown field: did you mean apiKey?"},
		"unknown deep down":  {strings.Replace(good, "latency: {firstToken: 1s}", "latency: {firstTokn: 1s}", 1), "instances[0].deployments[1].latency.firstTokn: is an unknown field"},
		"bad wait":           {strings.Replace(good, "1s}", "1}", 1), "instances[0].deployments[1].latency.firstToken: is not a duration"},
		"second document":    {good + "\n---\n{}", "a second document begins here: a configuration is one document"},
		"nothing":            {"", "the document is empty: a configuration names at least instances"},
		"no instances":       {"controlListen: 127.0.0.1:0", "instances: none"},
		"same name twice":    {strings.Replace(good, "gpt-4o-b", "gpt-4o-a", 1), "instances[0].deployments[1].name"},
		"no port":            {strings.Replace(good, "127.0.0.5:0", "127.0.0.5", 1), "instances[0].listen"},
		"bad fault":          {strings.Replace(good, "status: 503", "status: 200", 1), "instances[0].faults[0]"},
		"bad jitter":         {strings.Replace(good, "0.2", "2", 1), "latency: jitter"},
		"name with a slash":  {strings.Replace(good, "swc-ptu\n", "swc/ptu\n", 1), "instances[0].name"},
		"certificate no key": {strings.Replace(good, "names:", "certFile: x, names:", 1), "instances[0].tls"},
	} {
		if _, err := azuresim.ParseConfig([]byte(c.bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestGeneratedAuthorityIsWrittenForOtherProcesses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	sim := start(t, azuresim.Config{CAFile: file, Instances: []azuresim.InstanceConfig{
		instance("a", func(c *azuresim.InstanceConfig) { c.TLS = &azuresim.TLSConfig{} }),
	}})
	if b, err := os.ReadFile(file); err != nil || string(b) != string(sim.CAPEM()) {
		t.Errorf("%v, %d bytes", err, len(b))
	}
}

func TestStartFailsCleanlyWhenAnAddressIsTaken(t *testing.T) {
	i := one(t, nil)
	_, err := azuresim.Start(t.Context(), azuresim.Config{Instances: []azuresim.InstanceConfig{
		instance("free", nil), instance("taken", func(c *azuresim.InstanceConfig) { c.Listen = i.Address() }),
	}}, zerologNop())
	if err == nil || !strings.Contains(err.Error(), "start instance taken: listen: ") {
		t.Errorf("%v", err)
	}
}
