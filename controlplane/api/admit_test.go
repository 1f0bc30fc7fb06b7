package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// routes are all calls of the API about a boundary, with a body that would do.
var routes = []struct{ method, rest, body string }{
	{"GET", "/status", ""},
	{"POST", "/policy/validate", "boundary: eu"},
	{"POST", "/policy", "boundary: eu"},
	{"GET", "/policy", ""},
	{"GET", "/policy/history", ""},
	{"POST", "/policy/rollback", `{"serial":1}`},
	{"GET", "/orders", ""},
	{"POST", "/orders", `{"kind":"backend","name":"x"}`},
	{"DELETE", "/orders/drain-backend-x", ""},
	{"GET", "/audit", ""},
}

func TestEveryRouteNeedsTheToken(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	for _, r := range routes {
		for _, path := range []string{b.path(r.rest), "/api/v1/boundaries/mars" + r.rest} {
			reply := b.Call(t, apitest.Request{Method: r.method, Path: path, Body: r.body, Bare: true})
			e := reply.Refusal(t, http.StatusUnauthorized, client.CodeUnauthorized)
			if !strings.Contains(e.Message, "Authorization: Bearer") {
				t.Errorf("%s %s: %q names no remedy", r.method, path, e.Message)
			}
			if got := reply.Header.Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("%s %s: WWW-Authenticate %q", r.method, path, got)
			}
			if strings.Contains(reply.Body, string(b.name)) {
				t.Errorf("%s %s tells a stranger which boundaries there are: %s", r.method, path, reply.Body)
			}
		}
	}
	b.Call(t, apitest.Request{Path: "/api/v1/status", Bare: true}).Refusal(t, http.StatusUnauthorized, client.CodeUnauthorized)
	if serial, _ := b.inForce(t); serial != 1 || b.audited(t) != "admin publish policy 1" {
		t.Errorf("a stranger changed something: policy %d, %s", serial, b.audited(t))
	}
}

func TestTheTokenIsTakenInOneFormAlone(t *testing.T) {
	t.Parallel()
	b := serve(t)
	for name, c := range map[string]struct {
		header []string
		admit  bool
	}{
		"as it should be":               {[]string{"Bearer " + apitest.Token}, true},
		"the scheme in small letters":   {[]string{"bearer " + apitest.Token}, true},
		"the scheme in capitals":        {[]string{"BEARER " + apitest.Token}, true},
		"another token":                 {[]string{"Bearer wrong"}, false},
		"the beginning of the token":    {[]string{"Bearer " + apitest.Token[:10]}, false},
		"more than the token":           {[]string{"Bearer " + apitest.Token + "x"}, false},
		"the token in capitals":         {[]string{"Bearer " + strings.ToUpper(apitest.Token)}, false},
		"two spaces":                    {[]string{"Bearer  " + apitest.Token}, false},
		"no scheme":                     {[]string{apitest.Token}, false},
		"another scheme":                {[]string{"Basic " + apitest.Token}, false},
		"an empty token":                {[]string{"Bearer "}, false},
		"the scheme alone":              {[]string{"Bearer"}, false},
		"an empty header":               {[]string{""}, false},
		"twice, the right one first":    {[]string{"Bearer " + apitest.Token, "Bearer wrong"}, false},
		"twice, the right one at last":  {[]string{"Bearer wrong", "Bearer " + apitest.Token}, false},
		"twice the same":                {[]string{"Bearer " + apitest.Token, "Bearer " + apitest.Token}, false},
		"the token of a proxy's header": {nil, false},
	} {
		header := http.Header{"Authorization": c.header, "X-Forwarded-Authorization": {"Bearer " + apitest.Token}}
		reply := b.Call(t, apitest.Request{Path: "/api/v1/status", Header: header, Bare: true})
		if got := reply.Status == http.StatusOK; got != c.admit {
			t.Errorf("%s: %d, admitted should be %v", name, reply.Status, c.admit)
		}
	}
	if strings.Contains(b.Log.String(), apitest.Token) || strings.Contains(b.Log.String(), "wrong") {
		t.Errorf("a token is in the log:\n%s", b.Log)
	}
}

func TestAnAPIWithoutATokenIsNotMade(t *testing.T) {
	if _, err := apitest.Start(apitest.Config{API: func(c *api.Config) { c.Token = secret.Secret{} }}); err == nil ||
		!strings.Contains(err.Error(), "no admin token") {
		t.Errorf("error %v", err)
	}
}

func TestHealthIsOpenAndStaysGoodWithoutEtcd(t *testing.T) {
	t.Parallel()
	b, line := behind(t)
	line.Cut(true)
	for _, path := range []string{"/health/live", "/health/ready"} {
		var got map[string]string
		b.Call(t, apitest.Request{Path: path, Bare: true}).Into(t, http.StatusOK, &got)
		if got["status"] != "pass" {
			t.Errorf("%s: %v", path, got)
		}
	}
	if strings.Contains(b.Log.String(), "/health") {
		t.Errorf("probes fill the log:\n%s", b.Log)
	}
}

func TestAnUnknownBoundaryIsRefusedWithTheKnownOnes(t *testing.T) {
	t.Parallel()
	first := apitest.Boundary(t, "first")
	b := serveWith(t, apitest.Config{Boundaries: []geo.Boundary{first}})
	for _, r := range routes {
		for _, name := range []string{"mars", "B-0", ".", "%2e%2e", strings.Repeat("x", 300), "a%2Fb", "%00"} {
			e := b.Call(t, apitest.Request{Method: r.method, Path: "/api/v1/boundaries/" + name + r.rest, Body: r.body}).
				Refusal(t, http.StatusNotFound, client.CodeNotFound)
			if strings.Contains(e.Message, "served here") && (!strings.Contains(e.Message, string(first)) || !strings.Contains(e.Message, string(b.name))) {
				t.Errorf("%s of %q: %q does not name what there is", r.rest, name, e.Message)
			}
		}
	}
}

func TestWhatIsNoRouteIsRefusedInTheSameForm(t *testing.T) {
	t.Parallel()
	b := serve(t)
	for path, want := range map[string]int{
		"/":                                404,
		"/api/v1":                          404,
		"/api/v1/boundaries":               404,
		b.path(""):                         404,
		b.path("/policy/"):                 404,
		b.path("/policy/validate/again"):   404,
		b.path("/orders/"):                 404,
		b.path("/orders/a%2Fb"):            404,
		"/api/v2/status":                   404,
		"/metrics":                         404,
		"/health":                          404,
		b.path("/policy/validate"):         405,
		b.path("/policy/rollback"):         405,
		b.path("/orders/drain-backend-x"):  405,
		b.path("/orders/..;/policy"):       404,
		"//api/v1/status":                  404,
		"/api/v1/../v1/status":             404,
		b.path("/policy/history/../audit"): 404,
	} {
		code := client.CodeNotFound
		if want == http.StatusMethodNotAllowed {
			code = client.CodeNotAllowed
		}
		b.Call(t, apitest.Request{Path: path}).Refusal(t, want, code)
	}
	for _, method := range []string{"PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"} {
		reply := b.Call(t, apitest.Request{Method: method, Path: b.path("/policy")})
		if reply.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d, want 405", method, reply.Status)
		}
	}
}

func TestNoAnswerIsCachedOrSniffed(t *testing.T) {
	t.Parallel()
	b := serve(t)
	for name, r := range map[string]apitest.Request{
		"a success":       {Path: "/api/v1/status"},
		"a refusal":       {Path: "/api/v1/status", Bare: true},
		"no route":        {Path: "/nothing"},
		"no method":       {Method: "PUT", Path: b.path("/policy")},
		"a refused body":  {Method: "POST", Path: b.path("/policy"), Body: "x"},
		"a health answer": {Path: "/health/live", Bare: true},
	} {
		h := b.Call(t, r).Header
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", name, h)
		}
	}
}

// The log says which route, boundary and status, and nothing that a caller
// wrote: no path, no query, no message, no name of a boundary that is none.
func TestTheLogHasARequestsRouteAndNothingThatTheCallerWrote(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publishWith(t, "payroll", "?author=mallory&message=innermost")
	b.Call(t, apitest.Request{Path: "/api/v1/boundaries/atlantis/policy?serial=innermost"})
	b.Call(t, apitest.Request{Path: "/innermost?innermost=1"})
	b.Call(t, apitest.Request{Method: "INNERMOST", Path: "/api/v1/status"})
	b.post(t, "/orders", `{"innermost":1}`)
	text := b.Log.String()
	for _, written := range []string{"innermost", "INNERMOST", "atlantis", "mallory"} {
		if strings.Contains(text, written) {
			t.Errorf("%q is in the log:\n%s", written, text)
		}
	}
	type line struct {
		Message, Method, Route, Boundary string
		Status                           int
		Took                             *float64 `json:"took_ms"`
	}
	var lines []line
	for text := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if l.Message == "operator request" {
			if l.Took == nil {
				t.Errorf("%s lacks took_ms", text)
			}
			l.Took = nil
			lines = append(lines, l)
		}
	}
	const about = "/api/v1/boundaries/:boundary"
	want := []line{
		{"operator request", "POST", about + "/policy", string(b.name), 200, nil},
		{"operator request", "GET", about + "/policy", "", 404, nil},
		{"operator request", "GET", "", "", 404, nil},
		{"operator request", "other", "", "", 405, nil},
		{"operator request", "POST", about + "/orders", string(b.name), 400, nil},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), text)
	}
	for i, w := range want {
		if lines[i] != w {
			t.Errorf("line %d: %+v, want %+v", i, lines[i], w)
		}
	}
}
