package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

func TestThePolicyIsReadInForceOrBySerial(t *testing.T) {
	t.Parallel()
	b := serve(t)
	e := b.get(t, "/policy").Refusal(t, http.StatusNotFound, client.CodeNotFound)
	if !strings.Contains(e.Message, "no policy has been published") {
		t.Errorf("before the first: %q", e.Message)
	}
	first := b.publishWith(t, "payroll", "?author=ann&message=first")
	second := b.publish(t, "support")
	for query, want := range map[string]client.Publication{"": second, "?serial=": second, "?serial=1": first, "?serial=2": second} {
		reply := b.get(t, "/policy"+query)
		var p client.Policy
		reply.Into(t, http.StatusOK, &p)
		if p.Serial != want.Serial || p.Digest != want.Digest || p.Author != want.Author || p.Message != want.Message || !p.Genuine || !p.Time.Equal(want.Time) {
			t.Errorf("%q: %+v, want %+v", query, p.Publication, want)
		}
		name := map[uint64]string{1: "payroll", 2: "support"}[want.Serial]
		if !strings.Contains(p.Document, "boundary: "+string(b.name)) || !strings.Contains(p.Document, name) {
			t.Errorf("%q: document %s", query, p.Document)
		}
		if got := reply.Header.Get("X-Stampgate-Policy"); got != fmt.Sprint(want.Serial) {
			t.Errorf("%q: X-Stampgate-Policy %q", query, got)
		}
	}
	for _, query := range []string{"?serial=3", "?serial=0", "?serial=18446744073709551615"} {
		b.get(t, "/policy"+query).Refusal(t, http.StatusNotFound, client.CodeNotFound)
	}
	for _, query := range []string{"?serial=x", "?serial=-1", "?serial=1.5", "?serial=../current"} {
		b.get(t, "/policy"+query).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	}
}

func TestThePolicyComesAsYAMLToWhoAsksForIt(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	_, document := b.inForce(t)
	for accept, yaml := range map[string]bool{
		"application/yaml":                   true,
		"application/x-yaml":                 true,
		"text/yaml":                          true,
		"Text/YAML; charset=utf-8":           true,
		"text/html, application/yaml;q=0.9":  true,
		"application/json, application/yaml": true,
		"application/json":                   false,
		"*/*":                                false,
		"":                                   false,
		"application/yamlish":                false,
	} {
		reply := b.Call(t, apitest.Request{Path: b.path("/policy"), Header: http.Header{"Accept": {accept}}})
		if kind := reply.Header.Get("Content-Type"); (kind == "application/yaml") != yaml {
			t.Errorf("Accept %q: Content-Type %q", accept, kind)
		}
		if yaml && (reply.Status != http.StatusOK || reply.Body != document || reply.Header.Get("X-Stampgate-Policy") != "1") {
			t.Errorf("Accept %q: %d %v\n%s", accept, reply.Status, reply.Header, reply.Body)
		}
	}
}

// What a stranger signed is shown as what it is: never its text, neither as
// JSON nor as YAML, and never as something to go back to.
func TestAPolicyThatIsNotGenuineIsShownWithoutItsDocument(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	stranger := b.another(t, nil)
	stranger.publish(t, "evil")
	serial, document := stranger.inForce(t)
	if !strings.Contains(document, "evil") {
		t.Fatalf("the stranger published %s", document)
	}

	var p client.Policy
	b.get(t, "/policy").Into(t, http.StatusOK, &p)
	if p.Genuine || p.Problem == "" || p.Document != "" {
		t.Errorf("as JSON: %+v", p)
	}
	reply := b.Call(t, apitest.Request{Path: b.path("/policy"), Header: http.Header{"Accept": {"application/yaml"}}})
	reply.Refusal(t, http.StatusBadGateway, client.CodeNotGenuine)
	if strings.Contains(reply.Body, "evil") {
		t.Errorf("as YAML: %s", reply.Body)
	}
	var h client.HistoryReply
	b.get(t, "/policy/history").Into(t, http.StatusOK, &h)
	if len(h.History) == 0 || h.History[0].Genuine || h.History[0].Problem == "" {
		t.Errorf("history %+v", h.History)
	}
	var s client.BoundaryStatus
	b.get(t, "/status").Into(t, http.StatusOK, &s)
	if s.Policy == nil || s.Policy.Genuine || !s.Reachable {
		t.Errorf("status %+v", s)
	}
	b.post(t, "/policy/rollback", fmt.Sprintf(`{"serial":%d}`, serial)).Refusal(t, http.StatusBadGateway, client.CodeNotGenuine)

	// A publication of one's own replaces it, whatever serial it claimed.
	if mine := b.publish(t, "payroll"); !mine.Genuine || mine.Unchanged {
		t.Errorf("published over it: %+v", mine)
	}
	if _, document := b.inForce(t); strings.Contains(document, "evil") {
		t.Error("the stranger's is still in force")
	}
}

func TestAKeyThatIsTrustedBesideOnesOwnIsGenuine(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	next := b.another(t, func(c *api.Config) { c.Trusted = []signing.PublicKey{b.Key.Public()} })
	var p client.Policy
	next.get(t, "/policy").Into(t, http.StatusOK, &p)
	if !p.Genuine || p.Document == "" {
		t.Errorf("%+v", p)
	}
	if p := next.publish(t, "payroll"); !p.Unchanged || p.Serial != 1 {
		t.Errorf("the same, signed by the old key: %+v", p)
	}
	if p := next.publishWith(t, "payroll", "?again=true"); p.Serial != 2 {
		t.Errorf("signed anew: %+v", p)
	}
	if b.get(t, "/policy").Into(t, http.StatusOK, &p); p.Genuine {
		t.Error("the old one trusts a key that it was not told of")
	}
}

// What was damaged in etcd is said to be, and publishing mends it.
func TestADamagedPolicyIsSaidToBeAndCanBePublishedOver(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	for name, value := range map[string]string{"no JSON": "{rubbish", "an empty object": "{}", "an empty value": "", "another kind of JSON": "[1]"} {
		b.damage(t, "policy/current", value)
		e := b.get(t, "/policy").Refusal(t, http.StatusBadGateway, client.CodeNotGenuine)
		if !strings.Contains(e.Message, "publish again to mend it") {
			t.Errorf("%s: %q", name, e.Message)
		}
		var s client.BoundaryStatus
		b.get(t, "/status").Into(t, http.StatusOK, &s)
		if s.Policy != nil || !s.Reachable || !strings.Contains(s.Problem, "malformed") {
			t.Errorf("%s: status %+v", name, s)
		}
	}
	if p := b.publish(t, "payroll"); p.Serial != 2 || p.Unchanged || !p.Genuine {
		t.Errorf("published over it: %+v", p)
	}
	b.damage(t, "policy/history/1", "{rubbish")
	var h client.HistoryReply
	b.get(t, "/policy/history").Into(t, http.StatusOK, &h)
	if len(h.History) != 1 || h.History[0].Serial != 2 {
		t.Errorf("history with a damaged entry: %+v", h.History)
	}
	b.post(t, "/policy/rollback", `{"serial":1}`).Refusal(t, http.StatusBadGateway, client.CodeNotGenuine)
}

func TestHistoryIsBoundedAndTheLatestComesFirst(t *testing.T) {
	t.Parallel()
	b := serve(t)
	history := func(query string) (serials []uint64) {
		t.Helper()
		var h client.HistoryReply
		reply := b.get(t, "/policy/history"+query)
		reply.Into(t, http.StatusOK, &h)
		if h.History == nil {
			t.Errorf("%s: no list in %s", query, reply.Body)
		}
		for _, p := range h.History {
			if !p.Genuine || p.Boundary != b.name || p.Time.IsZero() || len(p.Digest) != 64 {
				t.Errorf("%s: entry %+v", query, p)
			}
			serials = append(serials, p.Serial)
		}
		return serials
	}
	if got := history(""); len(got) != 0 {
		t.Errorf("before the first: %v", got)
	}
	const published = 23 // more than are shown when nothing is said
	for i := range published {
		b.publish(t, fmt.Sprint("c", i))
	}
	for query, want := range map[string]int{"": 20, "?limit=1": 1, "?limit=21": 21, "?limit=100000": published, "?limit=" + fmt.Sprint(store.HistoryKept): published} {
		got := history(query)
		if len(got) != want || got[0] != published || got[len(got)-1] != uint64(published-want+1) {
			t.Errorf("%s: %v, want the latest %d", query, got, want)
		}
	}
	for _, limit := range []string{"0", "-1", "x", "1.5", "99999999999999999999"} {
		for _, rest := range []string{"/policy/history", "/audit"} {
			e := b.get(t, rest+"?limit="+limit).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
			if !strings.Contains(e.Message, "limit") {
				t.Errorf("%s: %q", limit, e.Message)
			}
		}
	}
}

func TestRollbackPublishesAnOldDocumentUnderANewSerial(t *testing.T) {
	t.Parallel()
	b := serve(t)
	first := b.publish(t, "payroll")
	b.publish(t, "support")
	var p client.Publication
	b.post(t, "/policy/rollback", `{"serial":1,"author":"bob","message":"support was wrong","expectSerial":2}`).Into(t, http.StatusOK, &p)
	if p.Serial != 3 || p.Digest != first.Digest || p.Author != "bob" || p.Message != "support was wrong" || !p.Genuine || len(p.Warnings) == 0 {
		t.Errorf("rolled back: %+v", p)
	}
	if serial, document := b.inForce(t); serial != 3 || !strings.Contains(document, "payroll") {
		t.Errorf("policy %d is in force", serial)
	}
	b.post(t, "/policy/rollback", `{"serial":2}`).Into(t, http.StatusOK, &p)
	if p.Serial != 4 || p.Author != "admin" || p.Message != "roll back to 2" {
		t.Errorf("by nobody in particular: %+v", p)
	}
	if got := b.audited(t); !strings.HasPrefix(got, "admin rollback policy 4\nbob rollback policy 3\n") {
		t.Errorf("audit %s", got)
	}
	// To what is in force already: nothing to do, and no new serial.
	b.post(t, "/policy/rollback", `{"serial":4}`).Into(t, http.StatusOK, &p)
	if p.Serial != 4 {
		t.Errorf("to itself: %+v", p)
	}
	e := b.post(t, "/policy/rollback", `{"serial":1,"expectSerial":3}`).Refusal(t, http.StatusConflict, client.CodeConflict)
	if e.Conflict == nil || e.Conflict.Serial != 4 {
		t.Errorf("conflict %+v", e.Conflict)
	}
	for _, body := range []string{`{"serial":99}`, `{"serial":0}`, `{}`} {
		b.post(t, "/policy/rollback", body).Refusal(t, http.StatusNotFound, client.CodeNotFound)
	}
	long := strings.Repeat("a", 201)
	b.post(t, "/policy/rollback", `{"serial":1,"author":"`+long+`"}`).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
}

// A JSON body has to be one object with the fields that belong there: a
// misspelt one must not become a default.
func TestAJSONBodyIsReadStrictly(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	for _, body := range []string{
		"", " ", "null x", "[]", `"serial"`, "1", `{"serial":"1"}`, `{"serial":1.5}`, `{"serial":-1}`, `{"serial":1}{}`, `{"serial":1} x`,
		`{"serial":1,"force":true}`, `{"serial":1`, `{"serial":18446744073709551616}`, `{'serial':1}`, "\xff", strings.Repeat("[", 5000),
	} {
		e := b.post(t, "/policy/rollback", body).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
		if !strings.Contains(e.Message, "JSON object") {
			t.Errorf("%.40q: %q", body, e.Message)
		}
	}
	for _, body := range []string{`{"kind":1}`, `{"kind":"backend","name":"x","until":"2h"}`, `{"kind":"backend","name":"x"}]`, `[{"kind":"backend","name":"x"}]`} {
		b.post(t, "/orders", body).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	}
	if serial, _ := b.inForce(t); serial != 1 || b.audited(t) != "admin publish policy 1" {
		t.Errorf("something took effect: policy %d, %s", serial, b.audited(t))
	}
}
