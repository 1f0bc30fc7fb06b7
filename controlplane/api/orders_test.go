package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
	"github.com/stampgate/stampgate/geo"
)

// announce has gateways say that they are there, until the test ends.
func (b boundary) announce(t *testing.T, gateways ...store.Presence) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	for _, p := range gateways {
		wg.Go(func() { _ = b.Stores[b.name].AnnouncePresence(ctx, b.name, func() store.Presence { return p }, nil) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	storetest.Eventually(t, "all gateways are there", func() bool {
		all, err := b.Stores[b.name].ListPresence(t.Context(), b.name)
		return err == nil && len(all) == len(gateways)
	})
}

// orders are the IDs of those in force.
func (b boundary) orders(t *testing.T) (ids []string) {
	t.Helper()
	var reply client.OrdersReply
	b.get(t, "/orders").Into(t, http.StatusOK, &reply)
	for _, o := range reply.Orders {
		ids = append(ids, o.ID)
	}
	return ids
}

func (b boundary) order(t *testing.T, body string) (o client.Order) {
	t.Helper()
	b.post(t, "/orders", body).Into(t, http.StatusCreated, &o)
	return o
}

func TestAnOrderIsAnsweredWithWhatIsInForce(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.publish(t, "payroll")
	if body := b.get(t, "/orders").Body; body != `{"orders":[]}` {
		t.Errorf("before any: %s", body)
	}
	o := b.order(t, `{"kind":"backend","name":"swc-ptu","reason":"new key","author":"ann","for":"2h"}`)
	if o.ID != client.DrainID("backend", "swc-ptu") || o.Kind != "backend" || o.Name != "swc-ptu" || o.Action != "drain" || o.Reason != "new key" ||
		o.Author != "ann" || !o.Genuine || o.Warning != "" || o.Expires.Sub(o.Created) != 2*time.Hour {
		t.Errorf("order %+v", o)
	}
	if since := time.Since(o.Created); since < -time.Second || since > time.Minute {
		t.Errorf("created %v ago", since)
	}
	if o := b.order(t, `{"kind":"region","name":"westeurope"}`); o.Author != "admin" || o.Reason != "" || o.Expires.Sub(o.Created) != 24*time.Hour {
		t.Errorf("when nothing is said: %+v", o)
	}
	var listed client.OrdersReply
	b.get(t, "/orders").Into(t, http.StatusOK, &listed)
	if len(listed.Orders) != 2 || listed.Orders[0].Reason != "new key" || !listed.Orders[0].Expires.Equal(o.Expires) {
		t.Errorf("listed %+v", listed.Orders)
	}
	if got, want := b.audited(t), "admin order drain region westeurope\nann order drain backend swc-ptu\nadmin publish policy 1"; got != want {
		t.Errorf("audit %q, want %q", got, want)
	}
}

func TestAnOrderGivenAgainReplacesTheFirst(t *testing.T) {
	t.Parallel()
	b := serve(t)
	first := b.order(t, `{"kind":"gateway","name":"gw-1","reason":"disk","for":"1h"}`)
	second := b.order(t, `{"kind":"gateway","name":"gw-1","reason":"fan","for":"3h"}`)
	if second.ID != first.ID || second.Reason != "fan" || !second.Expires.After(first.Expires) {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if got := b.orders(t); !slices.Equal(got, []string{first.ID}) {
		t.Errorf("orders %v", got)
	}
}

func TestAnOrderForWhatIsNotThereIsTakenWithAWarning(t *testing.T) {
	t.Parallel()
	b := serve(t)
	warning := func(kind, name string) string {
		t.Helper()
		return b.order(t, fmt.Sprintf(`{"kind":%q,"name":%q}`, kind, name)).Warning
	}
	// Nothing was published and nobody is there: who would know better?
	if w := warning("backend", "swc-ptu"); w != "" {
		t.Errorf("before the first policy: %q", w)
	}
	b.publish(t, "payroll")
	b.announce(t, store.Presence{Gateway: "gw-1", Region: "swedencentral"})
	for _, there := range [][2]string{{"backend", "swc-ptu"}, {"backend", "weu"}, {"region", "swedencentral"}, {"region", "westeurope"}, {"gateway", "gw-1"}} {
		if w := warning(there[0], there[1]); w != "" {
			t.Errorf("%v is there: %q", there, w)
		}
	}
	for _, not := range [][2]string{{"backend", "swc"}, {"backend", "swedencentral"}, {"region", "atlantis"}, {"region", "swc-ptu"}, {"gateway", "gw-2"}, {"gateway", "swc-ptu"}} {
		w := warning(not[0], not[1])
		for _, want := range []string{string(b.name), not[0], not[1], "counts if one comes"} {
			if !strings.Contains(w, want) {
				t.Errorf("%v is not there: %q lacks %s", not, w, want)
			}
		}
	}
}

func TestAnOrderThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	b := serve(t)
	for name, c := range map[string]struct{ body, want string }{
		"no kind":               {`{"name":"x"}`, "want backend, region or gateway"},
		"an unknown kind":       {`{"kind":"planet","name":"x"}`, "want backend, region or gateway"},
		"no name":               {`{"kind":"backend"}`, "order name"},
		"a name that climbs":    {`{"kind":"backend","name":"../../policy"}`, "order name"},
		"a name of dots":        {`{"kind":"backend","name":".."}`, "order name"},
		"a name with a space":   {`{"kind":"backend","name":"a b"}`, "order name"},
		"a name without an end": {`{"kind":"backend","name":"` + strings.Repeat("x", 201) + `"}`, "order name"},
		"no duration":           {`{"kind":"backend","name":"x","for":"soon"}`, "such as 2h"},
		"a number":              {`{"kind":"backend","name":"x","for":"3600"}`, "such as 2h"},
		"the past":              {`{"kind":"backend","name":"x","for":"-1h"}`, "such as 2h"},
		"no time":               {`{"kind":"backend","name":"x","for":"0s"}`, "such as 2h"},
		"less than a second":    {`{"kind":"backend","name":"x","for":"999ms"}`, "such as 2h"},
		"for ever":              {`{"kind":"backend","name":"x","for":"2161h"}`, "within"},
		"a long reason":         {`{"kind":"backend","name":"x","reason":"` + strings.Repeat("x", 2001) + `"}`, "too long"},
		"a long author":         {`{"kind":"backend","name":"x","author":"` + strings.Repeat("x", 201) + `"}`, "too long"},
	} {
		e := b.post(t, "/orders", c.body).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
		if !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: %q, want %q", name, e.Message, c.want)
		}
	}
	if ids := b.orders(t); len(ids) != 0 || b.audited(t) != "" {
		t.Errorf("orders %v, audit %s", ids, b.audited(t))
	}
	b.order(t, `{"kind":"backend","name":"x","for":"2160h"}`) // 90 days
}

func TestAnOrderEndsWhenItIsWithdrawnOrExpires(t *testing.T) {
	t.Parallel()
	b := serve(t)
	o := b.order(t, `{"kind":"backend","name":"swc-ptu"}`)
	withdraw := func(query string) apitest.Reply {
		return b.Call(t, apitest.Request{Method: http.MethodDelete, Path: b.path("/orders/" + o.ID + query)})
	}
	var got map[string]string
	withdraw("?author=bob").Into(t, http.StatusOK, &got)
	if got["id"] != o.ID {
		t.Errorf("withdrawn: %v", got)
	}
	e := withdraw("").Refusal(t, http.StatusNotFound, client.CodeNotFound)
	if !strings.Contains(e.Message, "no such order") {
		t.Errorf("withdrawn twice: %q", e.Message)
	}
	withdraw("?author="+strings.Repeat("x", 201)).Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	b.Call(t, apitest.Request{Method: http.MethodDelete, Path: b.path("/orders/" + url.PathEscape("a b"))}).
		Refusal(t, http.StatusBadRequest, client.CodeInvalidRequest)
	if got := b.audited(t); !strings.HasPrefix(got, "bob withdraw drain backend swc-ptu\n") {
		t.Errorf("audit %s", got)
	}
	b.order(t, `{"kind":"backend","name":"swc-ptu","for":"1s"}`)
	storetest.Eventually(t, "the order has expired", func() bool { return len(b.orders(t)) == 0 })
	var s client.BoundaryStatus
	b.get(t, "/status").Into(t, http.StatusOK, &s)
	if len(s.Orders) != 0 {
		t.Errorf("status shows an order that has expired: %+v", s.Orders)
	}
}

func TestAnOrderThatAStrangerSignedIsShownAsNotGenuine(t *testing.T) {
	t.Parallel()
	b := serve(t)
	b.another(t, nil).order(t, `{"kind":"backend","name":"swc-ptu","author":"mallory"}`)
	var reply client.OrdersReply
	b.get(t, "/orders").Into(t, http.StatusOK, &reply)
	if len(reply.Orders) != 1 || reply.Orders[0].Genuine || reply.Orders[0].Author != "mallory" {
		t.Errorf("orders %+v", reply.Orders)
	}
	b.damage(t, "orders/drain-backend-x", "{rubbish")
	if got := b.orders(t); len(got) != 1 {
		t.Errorf("with a damaged one beside it: %v", got)
	}
}

func TestTheAuditTrailIsBoundedAndTheLatestComesFirst(t *testing.T) {
	t.Parallel()
	b := serve(t)
	if body := b.get(t, "/audit").Body; body != `{"records":[]}` {
		t.Errorf("before any deed: %s", body)
	}
	p := b.publishWith(t, "payroll", "?author=ann&message=why")
	const orders = 103 // more than are shown when nothing is said
	for i := range orders {
		b.order(t, fmt.Sprintf(`{"kind":"backend","name":"b%d","reason":"try %d"}`, i, i))
	}
	for query, want := range map[string]int{"": 100, "?limit=2": 2, "?limit=104": 104, "?limit=1000000": 104} {
		var reply client.AuditReply
		b.get(t, "/audit"+query).Into(t, http.StatusOK, &reply)
		if len(reply.Records) != want || reply.Records[0].Message != fmt.Sprint("try ", orders-1) {
			t.Errorf("%q: %d records, want the latest %d", query, len(reply.Records), want)
		}
		if last := reply.Records[len(reply.Records)-1]; want == 104 &&
			(last.Action != "publish" || last.Author != "ann" || last.Message != "why" || last.Subject != "policy 1" || last.Digest != p.Digest || last.Time.IsZero()) {
			t.Errorf("the first deed: %+v", last)
		}
	}
}

func TestBoundariesOfOneControlPlaneAreStrangersToEachOther(t *testing.T) {
	t.Parallel()
	other := apitest.Boundary(t, "other")
	b := serveWith(t, apitest.Config{Boundaries: []geo.Boundary{other}})
	b.publish(t, "payroll")
	b.order(t, `{"kind":"backend","name":"swc-ptu"}`)
	b.announce(t, store.Presence{Gateway: "gw-1", Region: "swedencentral"})
	o := boundary{b.Server, other}
	o.get(t, "/policy").Refusal(t, http.StatusNotFound, client.CodeNotFound)
	o.post(t, "/policy/rollback", `{"serial":1}`).Refusal(t, http.StatusNotFound, client.CodeNotFound)
	for _, rest := range []string{"/policy/history", "/orders", "/audit", "/status"} {
		body := o.get(t, rest).Body
		for _, foreign := range []string{"payroll", "swc-ptu", "gw-1", string(b.name)} {
			if strings.Contains(body, foreign) {
				t.Errorf("%s of the other boundary knows %q: %s", rest, foreign, body)
			}
		}
	}
	o.Call(t, apitest.Request{Method: http.MethodDelete, Path: o.path("/orders/drain-backend-swc-ptu")}).
		Refusal(t, http.StatusNotFound, client.CodeNotFound)
	if got := b.orders(t); len(got) != 1 {
		t.Errorf("the other boundary withdrew it: %v", got)
	}
}
