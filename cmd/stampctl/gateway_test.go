package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
)

const gatewayAnswer = `{"gateway":"gw-1","region":"swedencentral","policy":7,"newer":true,"targets":[
	{"backend":"swc-a","deployment":"gpt-5.4","region":"swedencentral","tier":0,"order":1},
	{"backend":"weu","deployment":"gpt-5.4","region":"westeurope","tier":1,"passive":true,"order":2},
	{"backend":"swc-b","deployment":"gpt-5.4","region":"swedencentral","tier":0,"order":0,"reason":"throttled","waitMs":1500}]}`

// admin is a gateway's admin listener that remembers what it was asked.
type admin struct {
	*httptest.Server
	query         url.Values
	path          string
	authorization []string
}

func newAdmin(t *testing.T, answer http.HandlerFunc) *admin {
	t.Helper()
	a := &admin{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.query, a.path, a.authorization = r.URL.Query(), r.URL.Path, r.Header.Values("Authorization")
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func answerOf(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// ask explains a policy from a file and asks a gateway too.
func ask(t *testing.T, gateway string, flags ...string) result {
	t.Helper()
	args := []string{
		"explain", "--file", file(t, "eu.yaml", string(apitest.Policy("eu", "payroll"))), "--region", "swedencentral", "--client", "payroll",
		"--route", "gpt-5.4", "--gateway-admin", gateway,
	}
	return stampctl(t, append(args, flags...)...)
}

func TestAGatewaysOwnAnswerIsShownBesideThePolicys(t *testing.T) {
	a := newAdmin(t, answerOf(http.StatusOK, gatewayAnswer))
	r := ask(t, a.URL+"/", "--gateway-token-file", file(t, "token", "secret\n"))
	want := `
as gw-1 sees it now, by policy 7
ORDER  TIER  BACKEND  DEPLOYMENT  REGION         WHY NOT, OR WHAT IS KNOWN
1      0     swc-a    gpt-5.4     swedencentral  -
2      1     weu      gpt-5.4     westeurope     -
-      0     swc-b    gpt-5.4     swedencentral  throttled for 1.5s
`
	if r.code != command.Done || !strings.HasSuffix(r.out, want) {
		t.Errorf("%+v\nwant at its end\n%s", r, want)
	}
	if a.path != "/explain" || a.query.Get("client") != "payroll" || a.query.Get("route") != "gpt-5.4" {
		t.Errorf("asked %s with %v", a.path, a.query)
	}
	if len(a.authorization) != 1 || a.authorization[0] != "Bearer secret" {
		t.Errorf("presented %q", a.authorization)
	}
	var e explanation
	ask(t, a.URL, "-o", "json").done(t, &e)
	if e.Gateway == nil || e.Gateway.Policy != 7 || len(e.Gateway.Targets) != 3 || time.Duration(e.Gateway.Targets[2].Wait) != 1500*time.Millisecond {
		t.Errorf("%+v", e.Gateway)
	}
	if len(e.Targets) != 2 || e.Targets[0].Backend != "swc-ptu" || !e.Targets[0].Provisioned || e.Targets[1].Backend != "weu" || !e.Targets[1].Passive || e.Serial != 0 {
		t.Errorf("the policy's own: %+v", e)
	}
	if a.authorization != nil {
		t.Errorf("without a token it presented %q", a.authorization)
	}
}

func TestAGatewayThatCannotBeAskedIsTold(t *testing.T) {
	elsewhere := newAdmin(t, answerOf(http.StatusOK, gatewayAnswer))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		words  []string
	}{
		"its refusal":        {answerOf(http.StatusUnauthorized, `{"error":"present the admin token"}`), []string{"answers 401 Unauthorized: present the admin token"}},
		"no words":           {answerOf(http.StatusNotFound, `404 page not found`), []string{"answers 404 Not Found: -"}},
		"words that command": {answerOf(http.StatusBadRequest, `{"error":"\u001b[2Jgone\nforged"}`), []string{"answers 400 Bad Request:  [2Jgone forged"}},
		"rubbish":            {answerOf(http.StatusOK, `<html>`), []string{"read the gateway's answer"}},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = w.Write([]byte("{"))
		}, []string{"ask the gateway"}},
		"a detour": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, []string{"answers 307"}},
	} {
		ask(t, newAdmin(t, c.answer).URL, "--gateway-token-file", file(t, "token", "secret")).fails(t, command.Failed, c.words...)
		if elsewhere.path != "" {
			t.Errorf("%s: the token went elsewhere", name)
		}
	}
	ask(t, "http://127.0.0.1:1").fails(t, command.Failed, "ask the gateway", "127.0.0.1:1")
	for _, bad := range []string{"127.0.0.1:9443", "gateway", "http://", "http://[::1", "ftp://127.0.0.1"} {
		ask(t, bad).fails(t, command.Usage, "--gateway-admin "+bad, "such as http://127.0.0.1:9443")
	}
	ask(t, elsewhere.URL, "--gateway-token-file", "none").fails(t, command.Failed, "read the token")
}

// Where no token file is given, a gateway of the development stack gets its own
// token from the stack file, and nobody else gets any.
func TestTheStacksTokenGoesToItsOwnGatewayAlone(t *testing.T) {
	own, other := newAdmin(t, answerOf(http.StatusOK, gatewayAnswer)), newAdmin(t, answerOf(http.StatusOK, gatewayAnswer))
	stack := fmt.Sprintf(`{"controlPlane":{"url":"http://127.0.0.1:1"},"boundaries":{"eu":{"gateways":[{"name":"g","adminUrl":%q,"adminToken":"of-the-stack"}]}}}`, own.URL)
	t.Setenv(envStack, file(t, "stack.json", stack))
	if r := ask(t, own.URL); r.code != command.Done || len(own.authorization) != 1 || own.authorization[0] != "Bearer of-the-stack" {
		t.Errorf("its own: %q, %+v", own.authorization, r)
	}
	if r := ask(t, other.URL); r.code != command.Done || other.authorization != nil {
		t.Errorf("another: %q, %+v", other.authorization, r)
	}
	if r := ask(t, own.URL, "--gateway-token-file", file(t, "token", "mine")); r.code != command.Done || own.authorization[0] != "Bearer mine" {
		t.Errorf("its own, with a token of mine: %q", own.authorization)
	}
	t.Setenv(envStack, file(t, "stack.json", "{"))
	ask(t, own.URL).fails(t, command.Failed, "stack file")
}
