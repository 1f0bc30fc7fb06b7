package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// policyFile writes the boundary's policy with this client.
func (p plane) policyFile(t *testing.T, name string) string {
	t.Helper()
	return file(t, name+".yaml", string(apitest.Policy(p.boundary, name)))
}

func (p plane) apply(t *testing.T, name string, flags ...string) (out client.Publication) {
	t.Helper()
	p.stampctl(t, append([]string{"policy", "apply", p.policyFile(t, name)}, flags...)...).done(t, &out)
	return out
}

func TestApplyTellsWhatWasPublished(t *testing.T) {
	p := newPlane(t)
	first := p.apply(t, "payroll", "--author", "ann", "--message", "add payroll")
	if first.Serial != 1 || first.Boundary != p.boundary || first.Author != "ann" || first.Message != "add payroll" || !first.Genuine || first.Unchanged ||
		len(first.Digest) != 64 || len(first.Warnings) == 0 {
		t.Errorf("%+v", first)
	}
	if again := p.apply(t, "payroll"); !again.Unchanged || again.Serial != 1 {
		t.Errorf("the same: %+v", again)
	}
	if again := p.apply(t, "payroll", "--again"); again.Unchanged || again.Serial != 2 {
		t.Errorf("the same, meant: %+v", again)
	}
	t.Setenv(envAuthor, "carol")
	if by := p.apply(t, "support"); by.Author != "carol" || by.Message != "" {
		t.Errorf("by the variable: %+v", by)
	}
	if by := p.apply(t, "support", "--again", "--author", "dave"); by.Author != "dave" {
		t.Errorf("the flag counts before the variable: %+v", by)
	}
	r := p.text(t, "policy", "apply", p.policyFile(t, "fourth"))
	if r.code != command.Done || !strings.HasPrefix(r.out, "published policy 5 of "+string(p.boundary)+", digest ") || strings.Count(r.out, "\n") != 1 {
		t.Errorf("as text: %+v", r)
	}
	if !strings.HasPrefix(r.err, "warning: clients[0].keys[0]") {
		t.Errorf("warnings stand beside the result: %q", r.err)
	}
}

func TestApplyKeepsWhatSomeoneElsePublishedMeanwhile(t *testing.T) {
	p := newPlane(t)
	p.apply(t, "payroll", "--expect", "0")
	p.apply(t, "support", "--expect", "1", "--author", "bob")
	r := p.stampctl(t, "policy", "apply", p.policyFile(t, "third"), "--expect", "1")
	r.fails(t, command.Failed, `conflict: policy 2 was published by "bob" at 20`, "nothing was changed", "stampctl policy diff")
	r = p.stampctl(t, "policy", "rollback", string(p.boundary), "1", "--expect", "1")
	r.fails(t, command.Failed, `conflict: policy 2 was published by "bob"`, "nothing was changed")
	var h client.HistoryReply
	p.stampctl(t, "policy", "history", string(p.boundary)).done(t, &h)
	if len(h.History) != 2 {
		t.Errorf("history %+v", h.History)
	}
}

func TestARefusedPolicyIsAResultWithEveryFault(t *testing.T) {
	p := newPlane(t)
	good := string(apitest.Policy(p.boundary, "payroll"))
	bad := file(t, "bad.yaml", strings.NewReplacer("ProvisionedManaged", "GlobalProvisionedManaged", "routes: [gpt-5.4]", "routes: [gpt-6]").Replace(good))
	unknown := file(t, "unknown.yaml", strings.Replace(good, "residency", "residancy", 1))
	nameless := file(t, "nameless.yaml", strings.Replace(good, "boundary: "+string(p.boundary), "", 1))
	for name, c := range map[string]struct {
		args  []string
		paths []string
	}{
		"validate":                     {[]string{"policy", "validate", bad}, []string{"backends[0].deployments[0].sku", "clients[0].routes[0]"}},
		"validate what it cannot read": {[]string{"policy", "validate", unknown}, []string{"residancy"}},
		"validate without a boundary":  {[]string{"policy", "validate", nameless}, []string{"boundary"}},
		"apply":                        {[]string{"policy", "apply", bad}, []string{"backends[0].deployments[0].sku", "clients[0].routes[0]"}},
		"apply what it cannot read":    {[]string{"policy", "apply", unknown}, []string{"residancy"}},
		"apply without a boundary":     {[]string{"policy", "apply", nameless}, []string{"boundary"}},
		"apply, dry":                   {[]string{"policy", "apply", bad, "--dry-run"}, []string{"backends[0].deployments[0].sku"}},
		"diff what it cannot read":     {[]string{"policy", "diff", unknown}, []string{"residancy"}},
		"explain":                      {[]string{"explain", "--file", bad, "--region", "swedencentral", "--client", "payroll", "--route", "gpt-5.4"}, []string{"backends[0].deployments[0].sku"}},
	} {
		var v policy.Verdict
		p.stampctl(t, c.args...).says(t, exitRefused, &v)
		if v.Valid || v.Digest != "" || len(v.Faults) < len(c.paths) {
			t.Errorf("%s: %+v", name, v)
		}
		r := p.text(t, c.args...)
		if lines := strings.Count(r.out, "\n"); r.code != exitRefused || lines != len(v.Faults) || !strings.Contains(r.err, "is refused: ") {
			t.Errorf("%s as text: %d faults and %+v", name, len(v.Faults), r)
		}
		for _, path := range c.paths {
			if !strings.Contains(r.out, path+": ") {
				t.Errorf("%s: no fault at %s in\n%s", name, path, r.out)
			}
		}
	}
	p.stampctl(t, "policy", "get", string(p.boundary)).fails(t, command.Failed, "no policy has been published")
}

func TestValidateNeedsNoServer(t *testing.T) {
	good := string(apitest.Policy("eu", "payroll"))
	var v policy.Verdict
	stampctlWith(t, good, "policy", "validate", "-", "-o", "json").done(t, &v)
	if !v.Valid || v.Boundary != "eu" || len(v.Digest) != 64 || len(v.Faults) != 0 || len(v.Warnings) == 0 {
		t.Errorf("%+v", v)
	}
	loop := strings.Replace(good, "https://swc-ptu.openai.azure.com\n    credential: {managedIdentity: {}}", "http://127.0.0.1:80\n    credential: {apiKeyEnv: KEY}", 1)
	stampctlWith(t, loop, "policy", "validate", "-", "-o", "json").says(t, exitRefused, &v)
	stampctlWith(t, loop, "policy", "validate", "-", "-o", "json", "--allow-loopback-backends").done(t, &v)
	stampctl(t, "policy", "validate", filepath.Join(t.TempDir(), "none.yaml")).fails(t, command.Failed, "read the policy", "none.yaml")
	stampctl(t, "policy", "validate", t.TempDir()).fails(t, command.Failed, "read the policy")
	large := stampctlWith(t, "#"+strings.Repeat("x", 9<<20), "policy", "validate", "-")
	if large.code != exitRefused || !strings.Contains(large.out, "more than 8388608") {
		t.Errorf("9 MiB: %d %.200s", large.code, large.out)
	}
}

func TestADryRunShowsTheDifferenceAndPublishesNothing(t *testing.T) {
	p := newPlane(t)
	var d policyDiff
	p.stampctl(t, "policy", "apply", p.policyFile(t, "payroll"), "--dry-run").done(t, &d)
	if !d.Changed || d.Serial != 0 || d.Boundary != p.boundary || !strings.Contains(d.Diff, "+boundary: "+string(p.boundary)) {
		t.Errorf("before the first: %+v", d)
	}
	p.stampctl(t, "policy", "get", string(p.boundary)).fails(t, command.Failed, "no policy has been published")
	p.apply(t, "payroll")
	p.apply(t, "support")
	p.stampctl(t, "policy", "apply", p.policyFile(t, "third"), "--dry-run").done(t, &d)
	if !d.Changed || d.Serial != 2 || !strings.Contains(d.Diff, "-") || !strings.Contains(d.Diff, "support") || !strings.Contains(d.Diff, "third") {
		t.Errorf("the third: %+v", d)
	}
}

func TestDiffComparesWithAnyPublication(t *testing.T) {
	p := newPlane(t)
	p.apply(t, "payroll")
	p.apply(t, "support")
	diff := func(name string, flags ...string) (d policyDiff) {
		t.Helper()
		p.stampctl(t, append([]string{"policy", "diff", p.policyFile(t, name)}, flags...)...).done(t, &d)
		return d
	}
	if d := diff("support"); d.Changed || d.Serial != 2 || d.Diff != "" {
		t.Errorf("with what is in force: %+v", d)
	}
	if d := diff("support", "--serial", "1"); !d.Changed || d.Serial != 1 || !strings.Contains(d.Diff, "payroll") {
		t.Errorf("with the first: %+v", d)
	}
	r := p.text(t, "policy", "diff", p.policyFile(t, "support"))
	if want := "no difference to policy 2 of " + string(p.boundary) + "\n"; r.out != want {
		t.Errorf("as text: %q, want %q", r.out, want)
	}
	p.stampctl(t, "policy", "diff", p.policyFile(t, "support"), "--serial", "9").fails(t, command.Failed, "no such serial")
	elsewhere := file(t, "mars.yaml", string(apitest.Policy("mars", "x")))
	p.stampctl(t, "policy", "diff", elsewhere).fails(t, command.Failed, "no boundary of this name is served here", string(p.boundary))
}

func TestPoliciesAreReadListedAndRolledBack(t *testing.T) {
	p := newPlane(t)
	b := string(p.boundary)
	for _, n := range []string{"payroll", "support", "third"} {
		p.apply(t, n, "--author", "ann", "--message", "add "+n)
	}
	var got client.Policy
	p.stampctl(t, "policy", "get", b).done(t, &got)
	if got.Serial != 3 || got.Author != "ann" || !got.Genuine || !strings.Contains(got.Document, "third") {
		t.Errorf("get: %+v", got)
	}
	if r := p.text(t, "policy", "get", b, "--serial", "1"); r.code != command.Done || !strings.Contains(r.out, "payroll") || strings.Contains(r.out, "third") {
		t.Errorf("get 1: %+v", r)
	}
	p.text(t, "policy", "get", b, "--serial", "9").fails(t, command.Failed, "policy 9 of "+b, "no such serial", "stampctl policy history "+b)

	var h client.HistoryReply
	p.stampctl(t, "policy", "history", b, "--limit", "2").done(t, &h)
	if len(h.History) != 2 || h.History[0].Serial != 3 || h.History[1].Message != "add support" {
		t.Errorf("history: %+v", h.History)
	}

	var back client.Publication
	p.stampctl(t, "policy", "rollback", b, "1", "--author", "bob", "-m", "wrong", "--expect", "3").done(t, &back)
	if back.Serial != 4 || back.Author != "bob" || back.Message != "wrong" {
		t.Errorf("rollback: %+v", back)
	}
	p.stampctl(t, "policy", "rollback", b, "77").fails(t, command.Failed, "policy 77 of "+b, "stampctl policy history "+b)
	p.stampctl(t, "policy", "rollback", "mars", "1").fails(t, command.Failed, "no boundary of this name")
}

// What a stranger put into etcd is never printed, and everyone is told.
func TestAPolicyThatIsNotGenuineIsNotPrinted(t *testing.T) {
	p := newPlane(t)
	b := string(p.boundary)
	p.apply(t, "payroll")
	stranger := plane{apitest.New(t, apitest.Config{Etcd: endpoints, Boundaries: []geo.Boundary{p.boundary}}), p.boundary, p.tokenFile}
	stranger.apply(t, "evil")
	for _, args := range [][]string{{"policy", "get", b}, {"explain", "-b", b, "--region", "swedencentral", "--client", "evil", "--route", "gpt-5.4"}} {
		p.text(t, args...).fails(t, command.Failed, "is not genuine", "no gateway follows it")
	}
	r := p.text(t, "policy", "history", b)
	if !strings.Contains(r.out, "NOT GENUINE: ") {
		t.Errorf("history:\n%s", r.out)
	}
	if r := p.text(t, "status", b); !strings.Contains(r.out, "is not genuine") || r.code != command.Done {
		t.Errorf("status: %+v", r)
	}
}

// scripted is a control plane that answers everything with one status and body.
func scripted(t *testing.T, status int, body string) plane {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return plane{&apitest.Server{URL: s.URL}, "eu", file(t, "token", "x\n")}
}

// Every refusal of a control plane ends every command with the same code, words
// and remedy.
func TestARefusalOfTheControlPlaneIsToldWithItsRemedy(t *testing.T) {
	eu := file(t, "eu.yaml", string(apitest.Policy("eu", "payroll")))
	calls := [][]string{
		{"policy", "diff", eu},
		{"policy", "apply", eu},
		{"policy", "apply", eu, "--dry-run"},
		{"policy", "get", "eu"},
		{"policy", "history", "eu"},
		{"policy", "rollback", "eu", "1"},
		{"status"},
		{"status", "eu"},
		{"audit", "eu"},
		{"drain", "backend", "x", "-b", "eu", "--reason", "y"},
		{"undrain", "backend", "x", "-b", "eu"},
		{"explain", "-b", "eu", "--region", "swedencentral", "--client", "payroll", "--route", "gpt-5.4"},
	}
	for name, c := range map[string]struct {
		status int
		body   string
		words  []string
	}{
		"the token":     {401, `{"error":{"code":"unauthorized","message":"m"}}`, []string{"does not accept the token", "--token-file or STAMPGATE_TOKEN_FILE"}},
		"etcd is away":  {503, `{"error":{"code":"etcd_unavailable","message":"the etcd of the boundary is not available; nothing was changed"}}`, []string{"nothing was changed (etcd_unavailable)"}},
		"a fault of it": {500, `{"error":{"code":"internal","message":"internal error; the control plane's log says more"}}`, []string{"log says more (internal)"}},
		"no API at all": {404, `404 page not found`, []string{"the control plane answered 404 Not Found"}},
		"a page":        {200, `<html>`, []string{"read the control plane's answer"}},
		"a detour":      {302, ``, []string{"the control plane answered 302 Found"}},
	} {
		p := scripted(t, c.status, c.body)
		for _, args := range calls {
			r := p.text(t, args...)
			r.fails(t, command.Failed, c.words...)
			if strings.Contains(r.err, "\nsee '") {
				t.Errorf("%s, %v: taken for a usage error: %s", name, args, r.err)
			}
		}
	}
	gone := plane{&apitest.Server{URL: "http://127.0.0.1:1"}, "eu", file(t, "token", "x\n")}
	for _, args := range calls {
		r := gone.text(t, args...)
		r.fails(t, command.Failed, "no answer from the control plane at http://127.0.0.1:1", "check --server", "gateways go on without it")
		changes := args[0] == "drain" || args[0] == "undrain" || len(args) > 1 && (args[1] == "apply" || args[1] == "rollback")
		if got := strings.Contains(r.err, "may have taken effect: asking again does no harm"); got != changes {
			t.Errorf("%v: %s", args, r.err)
		}
	}
}
