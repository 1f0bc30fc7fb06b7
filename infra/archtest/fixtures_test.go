package archtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/archtest"
)

const us = archtest.Module + "/"

func pkg(path string, imports ...string) []archtest.Package {
	return []archtest.Package{{Path: path, Imports: imports}}
}

// bites fails unless the rule found exactly the wanted faults, each named by a
// part of its text.
func bites(t *testing.T, name string, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: found %q, want %d faults", name, got, len(want))
		return
	}
	for i, w := range want {
		if !strings.Contains(got[i], w) {
			t.Errorf("%s: found %q, want one about %q", name, got[i], w)
		}
	}
}

func TestDirectionBites(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to string
		wrong    bool
	}{
		"geo imports nothing of ours":                    {"geo", "stamp/secret", true},
		"policy imports geo":                             {"controlplane/policy", "geo", false},
		"policy imports only geo":                        {"controlplane/policy", "stamp/secret", true},
		"a part of policy imports only geo":              {"controlplane/policy/inner", "controlplane/store", true},
		"stamp imports geo":                              {"stamp/membership", "geo", false},
		"stamp imports stamp":                            {"stamp/membership", "stamp/telemetry", false},
		"stamp does not import the control plane":        {"stamp/membership", "controlplane/policy", true},
		"the control plane never imports the gateway":    {"controlplane/api", "gateway/health", true},
		"the control plane imports itself":               {"controlplane/api", "controlplane/store", false},
		"the gateway imports policy":                     {"gateway/pick", "controlplane/policy", false},
		"the gateway imports the store":                  {"gateway", "controlplane/store", false},
		"the gateway does not import a part of store":    {"gateway", "controlplane/store/storetest", true},
		"the gateway does not import the api":            {"gateway", "controlplane/api", true},
		"the gateway does not import the client":         {"gateway/follow", "controlplane/client", true},
		"messages know nothing of ours":                  {"gateway/message", "gateway/refusal", true},
		"refusals know nothing of ours":                  {"gateway/refusal", "stamp/lifecycle", true},
		"bodies know nothing of ours":                    {"gateway/body", "gateway/bytebudget", true},
		"relay asks upstream":                            {"gateway/relay", "gateway/upstream", false},
		"relay does not ask serve back":                  {"gateway/relay", "gateway/serve", true},
		"relay does not know where connections come in":  {"gateway/relay", "gateway/edge", true},
		"upstream does not ask relay back":               {"gateway/upstream", "gateway/relay", true},
		"upstream does not ask serve back":               {"gateway/upstream", "gateway/serve", true},
		"serve asks relay":                               {"gateway/serve", "gateway/relay", false},
		"the simulator shares nothing with the gateway":  {"loadtest/azuresim", "gateway/operation", true},
		"a command imports all":                          {"cmd/gateway", "gateway", false},
		"only commands import the development stack":     {"gateway", "infra/devstack", true},
		"the control plane does not import infra":        {"controlplane/api", "infra/devstack", true},
		"a command imports the development stack":        {"cmd/stampctl", "infra/devstack", false},
		"a name that only begins the same is no folder":  {"geography", "stamp/secret", false},
		"an import that only begins the same is no part": {"stamp/secret", "geography", true},
	} {
		got := archtest.CheckDirection(pkg(tc.from, us+tc.to, "fmt", "github.com/stampgate/stampgate2/x"))
		if (len(got) > 0) != tc.wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestLibrariesBite(t *testing.T) {
	for lib, tc := range map[string]struct{ good, bad []string }{
		"github.com/gin-gonic/gin":                      {[]string{"controlplane/api", "controlplane/dashboard"}, []string{"gateway", "gateway/serve", "loadtest/azuresim"}},
		"github.com/gin-gonic/gin/binding":              {[]string{"controlplane/api"}, []string{"gateway/serve"}},
		"go.etcd.io/etcd/client/v3":                     {[]string{"controlplane/store", "controlplane/store/storetest", "controlplane/embedded"}, []string{"gateway", "gateway/follow", "stamp/membership"}},
		"go.etcd.io/etcd/server/v3/embed":               {[]string{"controlplane/embedded"}, []string{"controlplane/store", "cmd/controlplane"}},
		"github.com/hashicorp/memberlist":               {[]string{"stamp/membership", "stamp/membership/membertest"}, []string{"gateway", "stamp/telemetry"}},
		"google.golang.org/protobuf/encoding/protowire": {[]string{"stamp/wire"}, []string{"stamp/membership", "gateway/stampview"}},
		"go.uber.org/zap/zapcore":                       {[]string{"stamp/telemetry"}, []string{"controlplane/store"}},
		"github.com/gin-gonic/gin-contrib-no-gin":       {[]string{"gateway/serve"}, nil},
	} {
		for _, p := range tc.good {
			bites(t, p+" with "+lib, archtest.CheckLibraries(pkg(p, lib)))
		}
		for _, p := range tc.bad {
			bites(t, p+" with "+lib, archtest.CheckLibraries(pkg(p, "fmt", lib)), lib)
		}
	}
}

func TestPureBites(t *testing.T) {
	bites(t, "os in geo", archtest.CheckPure(pkg("geo", "os", "strings")), "imports os")
	bites(t, "exec in pick", archtest.CheckPure(pkg("gateway/pick", "net", "os/exec")), "imports os/exec")
	bites(t, "relay is not pure", archtest.CheckPure(pkg("gateway/relay", "net", "os")))
}

func TestDependenciesBite(t *testing.T) {
	all := []string{"fmt", "go.etcd.io/etcd/server/v3/embed", "go.etcd.io/etcd/client/v3"}
	bites(t, "etcd", archtest.CheckDependencies("cmd/gateway", all, []string{"go.etcd.io/etcd/server"}), "server/v3/embed")
}

func TestCommentsBite(t *testing.T) {
	bites(t, "comments", archtest.CheckComments([]archtest.Package{
		{Path: "gateway/a"},
		{Path: "gateway/b", Doc: "This package does things."},
		{Path: "gateway/c", Doc: "Package cc does things."},
		{Path: "gateway/d", Doc: "Package d does things."},
		{Path: "cmd/e", Command: true},
		{Path: "cmd/f", Command: true, Doc: "Command f does things."},
	}), "gateway/a", "gateway/b", "gateway/c", "cmd/e")
}

func TestDialingBites(t *testing.T) {
	const dialer = "package upstream\nimport \"net\"\nvar d net.Dialer\n"
	for name, tc := range map[string]struct {
		file, source string
		want         []string
	}{
		"net.Dial":          {"gateway/x/x.go", "package x\nimport \"net\"\nfunc f() { net.Dial(\"tcp\", \"\") }", []string{"net.Dial opens"}},
		"net.Dialer":        {"gateway/x/x.go", "package x\nimport \"net\"\nvar d = &net.Dialer{}", []string{"net.Dialer"}},
		"under a name":      {"gateway/x/x.go", "package x\nimport n \"net\"\nvar d n.Dialer", []string{"net.Dialer"}},
		"with a dot":        {"gateway/x/x.go", "package x\nimport . \"net\"\nvar d Dialer", []string{"with a dot"}},
		"name resolution":   {"gateway/x/x.go", "package x\nimport \"net\"\nvar r net.Resolver", []string{"net.Resolver"}},
		"the http client":   {"gateway/x/x.go", "package x\nimport \"net/http\"\nvar c = http.DefaultClient", []string{"http.DefaultClient"}},
		"a transport":       {"gateway/x.go", "package x\nimport \"net/http\"\nvar c = &http.Transport{}", []string{"http.Transport"}},
		"http.Get":          {"gateway/x/x.go", "package x\nimport \"net/http\"\nfunc f() { http.Get(\"\") }", []string{"http.Get"}},
		"tls":               {"gateway/x/x.go", "package x\nimport \"crypto/tls\"\nvar d tls.Dialer", []string{"tls.Dialer"}},
		"a WebSocket":       {"gateway/x/x.go", "package x\nimport \"github.com/coder/websocket\"\nvar d = websocket.Dial", []string{"websocket.Dial"}},
		"as a value":        {"gateway/x/x.go", "package x\nimport \"net\"\nvar f = net.DialTimeout", []string{"net.DialTimeout"}},
		"listening is no":   {"gateway/x/x.go", "package x\nimport (\"net\"; \"net/http\")\nvar l net.Listener\nvar s http.Server", nil},
		"a field is no":     {"gateway/x/x.go", "package x\ntype t struct{ Dial int }\nvar v t\nvar d = v.Dial", nil},
		"in a test":         {"gateway/x/x_test.go", "package x\nimport \"net\"\nvar d net.Dialer", nil},
		"elsewhere":         {"stamp/x/x.go", "package x\nimport \"net\"\nvar d net.Dialer", nil},
		"in a pure package": {"geo/x.go", "package geo\nimport \"net\"\nvar d net.Dialer\nvar j = net.JoinHostPort", []string{"net.Dialer"}},
		"a broken file":     {"gateway/x/x.go", "package", []string{"parse gateway/x/x.go"}},
		"below the dialer":  {"gateway/upstream/inner/x.go", "package x\nimport \"net\"\nvar d net.Dialer", []string{"net.Dialer"}},
	} {
		bites(t, name, archtest.CheckDialing(map[string]string{"gateway/upstream/dial.go": dialer, tc.file: tc.source}), tc.want...)
	}
	bites(t, "an exception nobody needs",
		archtest.CheckDialing(map[string]string{"gateway/upstream/dial.go": "package upstream"}), "take it off the list")
}

func TestServingBites(t *testing.T) {
	const handler = "package x\nimport \"net/http\"\nfunc f(w http.ResponseWriter, r *http.Request) {}"
	const client = "package x\nimport \"net/http\"\nfunc f(h http.Header, r *http.Request) (*http.Response, error)"
	const accept = "package x\nimport \"github.com/coder/websocket\"\nvar f = websocket.Accept"
	for name, tc := range map[string]struct {
		file, source string
		want         []string
	}{
		"a writer":                 {"gateway/serve/x.go", handler, []string{"http.ResponseWriter belongs"}},
		"a handler, under a name":  {"gateway/relay/x.go", "package x\nimport h \"net/http\"\nvar s h.Handler", []string{"http.Handler"}},
		"a server":                 {"gateway/upstream/x.go", "package x\nimport \"net/http\"\nvar s http.Server", []string{"http.Server"}},
		"hijacking":                {"gateway/relay/x.go", "package x\nimport \"net/http\"\nvar s http.Hijacker", []string{"http.Hijacker"}},
		"with a dot":               {"gateway/serve/x.go", "package x\nimport . \"net/http\"\nvar s Server", []string{"with a dot"}},
		"a WebSocket, elsewhere":   {"gateway/relay/session.go", accept, []string{"websocket.Accept"}},
		"a WebSocket, in its file": {"gateway/relay/websocket.go", accept, nil},
		"an exception nobody uses": {"gateway/relay/websocket.go", client, []string{"take it off the list"}},
		"below the edge":           {"gateway/edge/inner/x.go", handler, []string{"http.ResponseWriter"}},
		"at the edge":              {"gateway/edge/x.go", handler, nil},
		"in the root":              {"gateway/x.go", handler, nil},
		"what clients use is no":   {"gateway/relay/x.go", client, nil},
		"in a test":                {"gateway/serve/x_test.go", handler, nil},
		"elsewhere":                {"controlplane/api/x.go", handler, nil},
		"a broken file":            {"gateway/serve/x.go", "package", []string{"parse gateway/serve/x.go"}},
	} {
		bites(t, name, archtest.CheckServing(map[string]string{tc.file: tc.source}), tc.want...)
	}
}

func TestTopLevelBites(t *testing.T) {
	bites(t, "top level", archtest.CheckTopLevel([]string{"geo", ".ci", "util", "Dockerfile"}), "util", "Dockerfile")
}

func TestLocalPathsBite(t *testing.T) {
	for text, want := range map[string]int{
		"see /wo" + "rk/main":           1,
		"(/wo" + "rk/x)":                1,
		"a\nb /wo" + "rk/c\n":           1,
		"home is /ho" + "me/alice/x":    1,
		"../sha" + "red/data/x.csv":     1,
		"net/wo" + "rk/x and ./wo" + "": 0,
		"patchwo" + "rk/x":              0,
	} {
		if got := archtest.CheckNoLocalPaths(map[string]string{"README.md": text}); len(got) != want {
			t.Errorf("%q: %q, want %d", text, got, want)
		}
	}
	beside := map[string]string{"geo/x_test.go": `const source = "../sha` + `red/data"`}
	bites(t, "a test that skips", archtest.CheckNoLocalPaths(beside))
}

func TestNotesBite(t *testing.T) {
	bites(t, "notes", archtest.CheckNoNotes(map[string]string{
		"a.go": "// TO" + "DO: later\n", "b.go": "x := 1 // FIX" + "ME\n", "c.go": "ctx := context.TO" + "DO()\n",
	}), "a.go:1", "b.go:1")
}

func TestLinksBite(t *testing.T) {
	files := map[string]string{
		"README.md": "# Title\n[good](docs/a.md#the-heading) [gone](docs/b.md) [no heading](docs/a.md#other)\n" +
			"[here](#title) [nowhere](#untitled) [web](https://example.com/x) [out](../../etc) [folder](docs)\n" +
			"`[code](gone.md)`\n```\n[code](gone.md)\n# no heading\n```\n[img](docs/x.png \"a title\")\n[root](/docs/a.md)\n",
		"docs/a.md": "# The heading!\n## Twice\n## Twice\n[up](../README.md#title) [second](#twice-1) [third](#twice-2)\n",
	}
	there := []string{"README.md", "docs", "docs/a.md"}
	exists := func(p string) bool { return slices.Contains(there, p) }
	bites(t, "links", archtest.CheckLinks(files, exists),
		"docs/b.md: there is no such file", "#other: there is no such heading", "#untitled", "leads out", "x.png", "#twice-2")
}
