package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/store"
)

func TestValidateJudgesAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := serve(t)
	good := string(apitest.Policy(b.name, "payroll"))
	var v client.Verdict
	b.post(t, "/policy/validate", good).Into(t, http.StatusOK, &v)
	if !v.Valid || v.Boundary != b.name || len(v.Digest) != 64 || len(v.Faults) != 0 {
		t.Errorf("verdict %+v", v)
	}
	if len(v.Warnings) == 0 || v.Warnings[0].Path == "" || v.Warnings[0].Text == "" {
		t.Errorf("a key without an end is not warned of: %+v", v.Warnings)
	}
	if body := b.post(t, "/policy/validate", good).Body; !strings.Contains(body, `"faults":[]`) {
		t.Errorf("no fault is not an empty list: %s", body)
	}
	b.get(t, "/policy").Refusal(t, http.StatusNotFound, client.CodeNotFound)
	if got := b.audited(t); got != "" {
		t.Errorf("audit %s", got)
	}
}

// Each of these is refused by validate and by publish with the same faults, and
// leaves what is in force as it was.
func TestARefusedPolicyIsToldEveryFaultWithItsPath(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	good := string(apitest.Policy(b.name, "payroll"))
	for name, c := range map[string]struct {
		source string
		paths  []string
	}{
		"an empty body":          {"", []string{""}},
		"no YAML":                {"{", []string{""}},
		"JSON of something else": {`{"serial":1}`, []string{"serial"}},
		"a misspelt field":       {strings.Replace(good, "residency:", "residancy:", 1), []string{"residancy"}},
		"a Global SKU":           {strings.Replace(good, "ProvisionedManaged", "GlobalProvisionedManaged", 1), []string{"backends[0].deployments[0].sku"}},
		"two faults at once": {
			strings.NewReplacer("fallback: [westeurope]", "fallback: [atlantis]", "countries: [SE, NL, IE]", "countries: [NL, IE]").Replace(good),
			[]string{"stamps[0]", "backends[0].region"},
		},
		"a backend on this machine": {strings.Replace(good, "https://swc-ptu.openai.azure.com", "http://127.0.0.1:80", 1), []string{"backends[0].endpoint"}},
		"another boundary":          {string(apitest.Policy("elsewhere", "payroll")), []string{"boundary"}},
		"no boundary":               {strings.Replace(good, "boundary: "+string(b.name), "", 1), []string{"boundary"}},
		"a second document":         {good + "---\nboundary: x\n", []string{""}},
		"bytes that are no text":    {"boundary: \xff\xfe\n", []string{""}},
	} {
		var verdicts [2]client.ErrorReply
		for i, rest := range []string{"/policy/validate", "/policy"} {
			reply := b.post(t, rest, c.source)
			e := reply.Refusal(t, http.StatusUnprocessableEntity, client.CodeRefused)
			reply.Into(t, http.StatusUnprocessableEntity, &verdicts[i])
			if want := fmt.Sprintf("%d faults", len(e.Faults)); len(e.Faults) == 0 || !strings.Contains(e.Message, want) {
				t.Errorf("%s: message %q of %d faults", name, e.Message, len(e.Faults))
			}
			for _, path := range c.paths {
				if !strings.Contains(fmt.Sprint(e.Faults), path) {
					t.Errorf("%s: no fault at %s in %v", name, path, e.Faults)
				}
			}
		}
		if a, z := verdicts[0].Verdict, verdicts[1].Verdict; a == nil || z == nil || a.Valid || fmt.Sprint(a.Faults) != fmt.Sprint(z.Faults) {
			t.Errorf("%s: validate says %+v, publish %+v", name, a, z)
		}
	}
	if serial, document := b.inForce(t); serial != 1 || !strings.Contains(document, "payroll") || b.audited(t) != "admin publish policy 1" {
		t.Errorf("policy %d, %s", serial, b.audited(t))
	}
}

func TestPublishAnswersWithThePublication(t *testing.T) {
	t.Parallel()
	b := serve(t)
	before := time.Now().Add(-time.Second)
	p := b.publishWith(t, "payroll", "?author=ann&message="+url.QueryEscape("why <not> & \"so\"\nå"))
	if p.Serial != 1 || p.Boundary != b.name || len(p.Digest) != 64 || p.Author != "ann" || p.Message != "why <not> & \"so\"\nå" ||
		!p.Genuine || p.Problem != "" || p.Unchanged || p.Note != "" || len(p.Warnings) == 0 {
		t.Errorf("publication %+v", p)
	}
	if p.Time.Before(before) || p.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("published at %v", p.Time)
	}
	if next := b.publish(t, "support"); next.Serial != 2 || next.Author != "admin" || next.Digest == p.Digest {
		t.Errorf("the next, by nobody in particular: %+v", next)
	}
	if got, want := b.audited(t), "admin publish policy 2\nann publish policy 1"; got != want {
		t.Errorf("audit %q, want %q", got, want)
	}
}

func TestPublishingTheSameAgainChangesNothingUnlessItIsMeant(t *testing.T) {
	t.Parallel()
	b := serve(t)
	first := b.publishWith(t, "payroll", "?author=ann")
	second := b.publishWith(t, "payroll", "?author=bob")
	if !second.Unchanged || second.Serial != 1 || second.Author != "ann" || second.Digest != first.Digest {
		t.Errorf("the same again: %+v", second)
	}
	if p := b.publishWith(t, "payroll", "?again=true"); p.Unchanged || p.Serial != 2 || p.Digest != first.Digest {
		t.Errorf("the same, meant: %+v", p)
	}
	for _, not := range []string{"?again=false", "?again=1", "?again="} {
		if p := b.publishWith(t, "payroll", not); !p.Unchanged || p.Serial != 2 {
			t.Errorf("%s: %+v", not, p)
		}
	}
}

func TestAnIdempotencyKeyMakesARepeatedCallTheSameCall(t *testing.T) {
	t.Parallel()
	b := serve(t)
	call := func(key, query string) (p client.Publication) {
		t.Helper()
		b.Call(t, apitest.Request{
			Method: "POST", Path: b.path("/policy" + query), Body: string(apitest.Policy(b.name, "payroll")),
			Header: http.Header{"Idempotency-Key": {key}},
		}).Into(t, http.StatusOK, &p)
		return p
	}
	if p := call("call-1", "?again=true"); p.Serial != 1 || p.Unchanged {
		t.Errorf("first: %+v", p)
	}
	// "again" would publish once more; the key says that it is the same call.
	if p := call("call-1", "?again=true"); p.Serial != 1 || p.Unchanged {
		t.Errorf("repeated: %+v", p)
	}
	if p := call("call-2", "?again=true"); p.Serial != 2 {
		t.Errorf("another call: %+v", p)
	}
	for _, key := range []string{"a/b", "a b", "..", strings.Repeat("k", 201)} {
		b.Call(t, apitest.Request{
			Method: "POST", Path: b.path("/policy"), Body: string(apitest.Policy(b.name, "support")),
			Header: http.Header{"Idempotency-Key": {key}},
		}).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	}
	if serial, _ := b.inForce(t); serial != 2 {
		t.Errorf("policy %d is in force", serial)
	}
}

func TestAnExpectationThatDoesNotHoldIsAConflictWithWhoWasFirst(t *testing.T) {
	t.Parallel()
	b := serve(t)
	source := func(client string) string { return string(apitest.Policy(b.name, client)) }
	b.post(t, "/policy?expectSerial=1", source("payroll")).Refusal(t, http.StatusConflict, client.CodeConflict)
	b.publishWith(t, "payroll", "?expectSerial=0&author=ann&message=first")
	b.publishWith(t, "support", "?expectSerial=1&author=bob&message=second")
	e := b.post(t, "/policy?expectSerial=1", source("third")).Refusal(t, http.StatusConflict, client.CodeConflict)
	c := e.Conflict
	if c == nil || c.Serial != 2 || c.Boundary != b.name || c.Author != "bob" || c.Message != "second" || c.Time.IsZero() || len(c.Digest) != 64 {
		t.Fatalf("conflict %+v", c)
	}
	for _, want := range []string{"policy 2", `"bob"`, "publish on top of it"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("message %q lacks %s", e.Message, want)
		}
	}
	// What one expects is looked at after what one publishes: nobody hunts a
	// conflict with a policy that would be refused anyway.
	b.post(t, "/policy?expectSerial=1", "x: y").Refusal(t, http.StatusUnprocessableEntity, client.CodeRefused)
	for _, serial := range []string{"x", "-1", "1.0", "0x1", "18446744073709551616", "1%20"} {
		refusal := b.post(t, "/policy?expectSerial="+serial, source("third")).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
		if !strings.Contains(refusal.Message, "expectSerial") {
			t.Errorf("%s: message %q", serial, refusal.Message)
		}
	}
}

func TestOfManyPublishersWithOneExpectationOneWins(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch reply := b.post(t, "/policy?expectSerial=1", string(apitest.Policy(b.name, fmt.Sprint("c", i)))); reply.Status {
			case http.StatusOK:
				won.Add(1)
			case http.StatusConflict:
				lost.Add(1)
			default:
				t.Errorf("%d %s", reply.Status, reply.Body)
			}
		})
	}
	wg.Wait()
	if serial, _ := b.inForce(t); won.Load() != 1 || lost.Load() != 7 || serial != 2 {
		t.Errorf("%d won, %d lost, policy %d is in force", won.Load(), lost.Load(), serial)
	}
}

func TestBodiesAndWordsAreBounded(t *testing.T) {
	t.Parallel()
	b := serve(t)
	good := string(apitest.Policy(b.name, "payroll"))
	pad := func(bytes int) string { return good + "#" + strings.Repeat(" ", bytes-len(good)-2) + "\n" }
	b.post(t, "/policy/validate", pad(policy.MaxRawBytes)).Into(t, http.StatusOK, &client.Verdict{})
	// One byte over, and the decoder says so; more, and it is not even read.
	b.post(t, "/policy", pad(policy.MaxRawBytes+1)).Refusal(t, http.StatusUnprocessableEntity, client.CodeRefused)
	e := b.post(t, "/policy", pad(policy.MaxRawBytes+2)).Refusal(t, http.StatusRequestEntityTooLarge, client.CodeTooLarge)
	if !strings.Contains(e.Message, fmt.Sprint(policy.MaxRawBytes)) {
		t.Errorf("message %q does not name the bound", e.Message)
	}
	for _, rest := range []string{"/orders", "/policy/rollback"} {
		b.post(t, rest, `{"author":"`+strings.Repeat("a", 64<<10)+`"}`).Refusal(t, http.StatusRequestEntityTooLarge, client.CodeTooLarge)
	}
	long := func(n int) string { return url.QueryEscape(strings.Repeat("å", n/2)) }
	b.post(t, "/policy?author="+long(202), good).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	b.post(t, "/policy?message="+long(2002), good).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	b.publishWith(t, "payroll", "?author="+long(200)+"&message="+long(2000))
}

func TestLoopbackBackendsNeedTheSwitch(t *testing.T) {
	t.Parallel()
	b := serveWith(t, apitest.Config{API: func(c *api.Config) { c.AllowLoopback = true }})
	loop := strings.Replace(string(apitest.Policy(b.name, "payroll")), "https://swc-ptu.openai.azure.com", "http://127.0.0.1:80", 1)
	loop = strings.Replace(loop, "{managedIdentity: {}}", "{apiKeyEnv: KEY}", 1)
	b.post(t, "/policy", loop).Into(t, http.StatusOK, &client.Publication{})
	// A control plane without the switch would not publish it, and does not roll
	// back to it either: what was valid then need not be now.
	strict := b.another(t, func(c *api.Config) { c.Key = b.Key })
	strict.publish(t, "payroll")
	e := strict.post(t, "/policy/rollback", `{"serial":1}`).Refusal(t, http.StatusUnprocessableEntity, client.CodeRefused)
	if !strings.Contains(fmt.Sprint(e.Faults), "backends[0].endpoint") {
		t.Errorf("faults %v", e.Faults)
	}
	if serial, _ := strict.inForce(t); serial != 2 {
		t.Errorf("policy %d is in force", serial)
	}
}

// After the restore of an older etcd a publication is in force in every gateway
// that follows a newer serial, and says why its own is so high.
func TestAPublicationAfterTheRestoreOfAnOlderEtcdIsFollowed(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	b.announce(t, store.Presence{Gateway: "gw-1", Region: "swedencentral", AppliedSerial: 7, AppliedDigest: "of-before"})
	p := b.publish(t, "payroll")
	if p.Serial != 8 || p.Unchanged || !strings.Contains(p.Note, "gw-1") || !strings.Contains(p.Note, "serials 2 to 7") {
		t.Errorf("publication %+v", p)
	}
	var reply client.AuditReply
	b.get(t, "/audit?limit=1").Into(t, http.StatusOK, &reply)
	if len(reply.Records) != 1 || reply.Records[0].Note != p.Note {
		t.Errorf("audit %+v", reply.Records)
	}
}
