package health_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

// fresh returns a machine that has just evaluated the inputs.
func fresh(in health.Inputs) *health.Machine {
	m := health.NewMachine()
	in.Now = time.Now()
	m.Evaluate(in)
	return m
}

func paths() []string {
	return []string{"/health/live", "/health/vm", "/health/ready", "/health/stamp", "/health/route/chat"}
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return serve(h, httptest.NewRequest(http.MethodGet, path, nil))
}

func TestEachPathAnswersWhatItsReaderNeeds(t *testing.T) {
	drained := fresh(well())
	drained.Drain()
	silent := health.NewMachine()
	for _, tc := range []struct {
		when  string
		m     *health.Machine
		codes [5]int // in the order of paths
	}{
		{"all is well", fresh(well()), [5]int{200, 200, 200, 200, 200}},
		// The platform must not replace a machine for any of the following.
		{"draining", drained, [5]int{200, 200, 503, 503, 200}},
		{"without a policy", fresh(health.Inputs{CredentialsUsable: true}), [5]int{200, 200, 503, 503, 503}},
		{"never evaluated", silent, [5]int{200, 200, 503, 503, 503}},
		{"only passive regions", fresh(left(targets.PassiveOnly)), [5]int{200, 200, 200, 200, 200}},
		{"nothing left", fresh(left(targets.None)), [5]int{200, 200, 200, 503, 503}},
	} {
		h := health.NewHandler(health.Config{Machine: tc.m})
		for i, path := range paths() {
			w := get(h, path)
			if w.Code != tc.codes[i] {
				t.Errorf("%s: %s is %d, want %d", tc.when, path, w.Code, tc.codes[i])
			}
			kind, want := w.Header().Get("Content-Type"), "application/health+json"
			if path == "/health/vm" {
				want = "application/json"
				if got := strings.TrimSpace(w.Body.String()); got != `{"ApplicationHealthState":"Healthy"}` {
					t.Errorf("%s: the platform reads %s", tc.when, got)
				}
			} else if s := decode(t, w.Body.Bytes()).Status; (s == "fail") != (w.Code == 503) {
				t.Errorf("%s: %s is %d and says %s", tc.when, path, w.Code, s)
			}
			if kind != want || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s: headers %v", tc.when, path, w.Header())
			}
		}
	}
}

type doc struct {
	Status    string
	Version   string
	ServiceID string
	Output    string
	Checks    map[string][]map[string]any
}

func decode(t *testing.T, body []byte) doc {
	t.Helper()
	var d doc
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return d
}

func TestWarnIsExactly200(t *testing.T) {
	w := get(health.NewHandler(health.Config{Machine: fresh(left(targets.AllThrottled))}), "/health/stamp")
	if d := decode(t, w.Body.Bytes()); w.Code != 200 || d.Status != "warn" {
		t.Errorf("%d, %s", w.Code, w.Body)
	}
}

// The probes of Front Door and Traffic Manager, over a real connection: what
// they send, and what they can stand.
func TestProbesOfFrontDoorAndTrafficManager(t *testing.T) {
	ts := httptest.NewServer(health.NewHandler(health.Config{
		Machine:    fresh(well()),
		Authorized: func(*http.Request) bool { t.Error("a probe was asked for a token"); return false },
		Detail:     func() health.Detail { return health.Detail{} },
	}))
	defer ts.Close()
	for name, head := range map[string]string{
		"Front Door, HEAD": "HEAD %s HTTP/1.1\r\nHost: contoso.azurefd.net\r\nUser-Agent: Edge Health Probe\r\nX-FD-HealthProbe: 1\r\nConnection: close\r\n\r\n",
		"Front Door, GET":  "GET %s HTTP/1.1\r\nHost: contoso.azurefd.net\r\nUser-Agent: Edge Health Probe\r\nX-FD-HealthProbe: 1\r\nConnection: close\r\n\r\n",
		"Traffic Manager":  "GET %s HTTP/1.1\r\nHost: eu.trafficmanager.net\r\nConnection: close\r\n\r\n",
		"no name at all":   "GET %s HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
		"HTTP/1.0":         "GET %s HTTP/1.0\r\n\r\n",
	} {
		for _, path := range paths() {
			raw := exchange(t, ts.Listener.Addr().String(), fmt.Sprintf(head, path))
			header, body, ok := strings.Cut(raw, "\r\n\r\n")
			if !ok || !strings.Contains(header, " 200 OK\r\n") {
				t.Errorf("%s: %s: %q", name, path, raw)
			}
			if len(header) > 1024 {
				t.Errorf("%s: %s: %d bytes of headers; the bound is 4,096 and we want far less", name, path, len(header))
			}
			if isHead := strings.HasPrefix(head, "HEAD"); isHead != (body == "") {
				t.Errorf("%s: %s: body %q", name, path, body)
			}
			if !strings.Contains(header, "\r\nContent-Length: ") || strings.Contains(header, "Location") {
				t.Errorf("%s: %s: %q", name, path, header)
			}
		}
	}
}

func exchange(t testing.TB, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestHeadSaysWhatGetWouldSend(t *testing.T) {
	h := health.NewHandler(health.Config{Machine: fresh(left(targets.None))})
	for _, path := range append(paths(), "/health/route/unknown", "/health/") {
		g := get(h, path)
		w := serve(h, httptest.NewRequest(http.MethodHead, path, nil))
		if w.Code != g.Code || w.Body.Len() != 0 || w.Header().Get("Content-Length") != fmt.Sprint(g.Body.Len()) {
			t.Errorf("%s: HEAD %d %v, GET %d with %d bytes", path, w.Code, w.Header(), g.Code, g.Body.Len())
		}
	}
}

func TestOtherMethodsAndPathsAreRefused(t *testing.T) {
	h := health.NewHandler(health.Config{Machine: fresh(well())})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"} {
		w := serve(h, httptest.NewRequest(method, "/health/stamp", strings.NewReader("x")))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	for _, path := range []string{
		"/health", "/health/", "/health/stamp/", "/health/Stamp", "/health/route", "/health/route/",
		"/health/route/unknown", "/health/route/chat/", "/health/route/chat%2f", "/health//stamp", "/",
	} {
		w := get(h, path)
		if w.Code != http.StatusNotFound || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		// What was asked for does not come back, nor what there is.
		if b := w.Body.String(); strings.Contains(b, "unknown") || strings.Contains(b, "chat") {
			t.Errorf("%s: %s", path, b)
		}
	}
}

// secretDetail has a canary in each text that only the operator may see.
func secretDetail() health.Detail {
	return health.Detail{
		Version: "canary-version", Gateway: "canary-gateway", Boundary: "canary-boundary", Region: "canary-region",
		PolicySerial: 424242, PolicyAge: 61 * time.Second,
		Targets: []targets.Status{
			{Backend: "canary-backend", Deployment: "a", Region: "x", Breaker: breaker.Open, InFlight: 1, PeerInFlight: 2},
			{Backend: "canary-backend", Deployment: "b", Region: "x", Gate: targets.Milliseconds(1500 * time.Microsecond)},
			{Backend: "canary-backend", Deployment: "c", FirstByte: targets.Milliseconds(250 * time.Millisecond)},
			{Backend: "canary-idle", Deployment: "d", Reach: "idle, probed 4 s ago"},
			{Backend: "canary-gone", Deployment: "e", Reach: "unreachable, canary", Unreachable: true},
		},
		Gossip: &health.Gossip{Members: []health.Member{{Name: "canary-peer", State: "alive", PolicySerial: 424242, Ready: health.Pass}}},
	}
}

func TestOnlyTheOperatorSeesDetails(t *testing.T) {
	for _, in := range []health.Inputs{well(), left(targets.None), left(targets.PassiveOnly)} {
		m := fresh(in)
		authorized := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer right" }
		public := health.NewHandler(health.Config{Machine: m, Authorized: authorized, Detail: secretDetail})
		admin := health.NewHandler(health.Config{Machine: m, Detail: secretDetail, Admin: true})
		for _, path := range []string{"/health/ready", "/health/stamp"} {
			anonymous := get(public, path)
			for _, header := range []string{"", "Bearer wrong", "Bearer ", "right"} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Header.Set("Authorization", header)
				w := serve(public, r)
				// A wrong token is no oracle: same code, same bytes.
				if w.Code != anonymous.Code || w.Body.String() != anonymous.Body.String() {
					t.Errorf("%s with %q: %d %s", path, header, w.Code, w.Body)
				}
			}
			for _, hidden := range []string{"canary", "424242", "breaker", "gossip", "passive", "serial", "required", "probe", "unreachable"} {
				if strings.Contains(anonymous.Body.String(), hidden) {
					t.Errorf("%s shows %q to anyone: %s", path, hidden, anonymous.Body)
				}
			}
			right := httptest.NewRequest(http.MethodGet, path, nil)
			right.Header.Set("Authorization", "Bearer right")
			for name, w := range map[string]*httptest.ResponseRecorder{
				"with the token": serve(public, right), "on the admin listener": get(admin, path),
			} {
				d := decode(t, w.Body.Bytes())
				if w.Code != anonymous.Code || d.Status != decode(t, anonymous.Body.Bytes()).Status {
					t.Errorf("%s: %s: %d %s, anyone gets %d", name, path, w.Code, d.Status, anonymous.Code)
				}
				checkDetails(t, d)
			}
		}
	}
}

func checkDetails(t *testing.T, d doc) {
	t.Helper()
	targets := d.Checks["canary-backend:targets"]
	if len(targets) != 3 {
		t.Fatalf("targets: %v", targets)
	}
	for i, want := range []string{"fail", "warn", "pass"} {
		if targets[i]["status"] != want {
			t.Errorf("target %d: %v, want %s", i, targets[i], want)
		}
	}
	// A gate of 1.5 ms is not over after 1 ms: rounded up.
	if targets[1]["gatedForMs"] != 2.0 || targets[2]["firstByteMs"] != 250.0 || targets[0]["breaker"] != "open" {
		t.Errorf("targets: %v", targets)
	}
	for backend, want := range map[string][2]any{"canary-idle": {"pass", "idle, probed 4 s ago"}, "canary-gone": {"fail", "unreachable, canary"}} {
		if c := d.Checks[backend+":targets"][0]; c["status"] != want[0] || c["output"] != want[1] {
			t.Errorf("%s: %v, want %v", backend, c, want)
		}
	}
	if s := d.Checks["policy:serial"][0]["observedValue"]; s != 424242.0 {
		t.Errorf("serial %v", s)
	}
	if a := d.Checks["policy:age"][0]["observedValue"]; a != 61.0 {
		t.Errorf("age %v", a)
	}
	if m := d.Checks["gossip:members"][0]; m["componentId"] != "canary-peer" || m["observedValue"] != "alive" {
		t.Errorf("member %v", m)
	}
	if r := d.Checks["chat:availability"][0]; r["required"] != true || r["output"] == nil {
		t.Errorf("route %v", r)
	}
	if d.Version != "canary-version" || d.ServiceID != "canary-gateway" {
		t.Errorf("document %v", d)
	}
}

func TestDetailsAreMadeOnlyForDetailedRequests(t *testing.T) {
	calls := 0
	h := health.NewHandler(health.Config{
		Machine:    fresh(well()),
		Authorized: func(*http.Request) bool { return false },
		Detail:     func() health.Detail { calls++; return health.Detail{} },
	})
	for _, path := range paths() {
		get(h, path)
	}
	if calls != 0 {
		t.Errorf("made %d times for nobody", calls)
	}
}

// A gateway whose evaluating loop is stuck must not go on saying that it is well.
func TestAnOldEvaluationIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health.NewHandler(health.Config{Machine: fresh(well())})
		time.Sleep(5 * time.Second)
		if c := get(h, "/health/stamp").Code; c != 200 {
			t.Errorf("%d after ten periods", c)
		}
		time.Sleep(time.Nanosecond)
		for i, want := range []int{200, 200, 503, 503, 503} {
			if c := get(h, paths()[i]).Code; c != want {
				t.Errorf("%s is %d after more, want %d", paths()[i], c, want)
			}
		}
	})
}

func TestAnswersWhileTheStateChanges(t *testing.T) {
	m := fresh(well())
	h := health.NewHandler(health.Config{Machine: m, Detail: secretDetail, Admin: true})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				for _, path := range paths() {
					get(h, path)
				}
			}
		})
	}
	for i := range 200 {
		in := left(targets.Availability(i % 4))
		in.Now = time.Now()
		m.Evaluate(in)
	}
	wg.Wait()
}

// discardWriter is a ResponseWriter that costs nothing, and keeps its header map
// as a connection does.
type discardWriter struct{ h http.Header }

func (w *discardWriter) Header() http.Header         { return w.h }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(int)             {}

func TestAnAnswerAllocatesNothing(t *testing.T) {
	h := health.NewHandler(health.Config{Machine: fresh(well()), Detail: secretDetail, Authorized: func(*http.Request) bool { return true }})
	w := &discardWriter{http.Header{}}
	for _, path := range paths() {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
