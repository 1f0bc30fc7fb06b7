package azuresim_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// isReset tells a TCP reset, which is not an orderly end.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// Every fault is looked at from the other end of a real socket.
func TestFaultsWithinAnAnswer(t *testing.T) {
	whole := call{}.must(t, one(t, nil).URL())
	events := strings.Count(call{body: helloEvent}.must(t, one(t, nil).URL()).text, "\n\n")

	type seen struct {
		reply
		sent error // of the request itself
	}
	count := func(s seen) int { return strings.Count(s.text, "\n\n") }
	unexpectedEnd := func(s seen) bool { return errors.Is(s.err, io.ErrUnexpectedEOF) }
	for _, c := range []struct {
		fault         string
		plain, stream func(seen) bool // nil: the fault must not strike
		outcome       azuresim.Outcome
	}{
		{
			"reset-before-header",
			func(s seen) bool { return isReset(s.sent) }, func(s seen) bool { return isReset(s.sent) }, azuresim.OutcomeCut,
		},
		{
			"reset-after-header",
			func(s seen) bool { return s.StatusCode == 200 && s.text == "" && isReset(s.err) },
			func(s seen) bool { return s.StatusCode == 200 && s.text == "" && isReset(s.err) }, azuresim.OutcomeCut,
		},
		{
			"reset-after-bytes;0",
			func(s seen) bool { return s.StatusCode == 200 && s.text == "" && isReset(s.err) },
			func(s seen) bool { return s.StatusCode == 200 && s.text == "" && isReset(s.err) }, azuresim.OutcomeCut,
		},
		{
			"reset-after-bytes;100",
			func(s seen) bool { return len(s.text) == 100 && isReset(s.err) },
			func(s seen) bool { return len(s.text) == 100 && isReset(s.err) }, azuresim.OutcomeCut,
		},
		{
			"error-event", nil,
			func(s seen) bool {
				return s.err == nil && strings.HasPrefix(s.text, `data: {"error":{"message":"That model is currently overloaded`) && count(s) == 1
			}, azuresim.OutcomeFinished,
		},
		{
			"error-event;3", nil,
			func(s seen) bool {
				return s.err == nil && count(s) == 4 && strings.Contains(s.text, `"type":"server_error"`) && !strings.Contains(s.text, "[DONE]")
			}, azuresim.OutcomeFinished,
		},
		{
			"malformed-chunk;2",
			func(s seen) bool { return s.err != nil && !isReset(s.err) && !unexpectedEnd(s) },
			func(s seen) bool { return s.err != nil && !isReset(s.err) && !unexpectedEnd(s) && count(s) == 2 }, azuresim.OutcomeCut,
		},
		{
			"malformed-json;1",
			func(s seen) bool {
				return s.err == nil && !json.Valid([]byte(s.text)) && len(s.text) == len(whole.text)
			},
			func(s seen) bool {
				return s.err == nil && strings.Contains(s.text, `{"delta":]}`) && count(s) == events
			},
			azuresim.OutcomeFinished,
		},
		{
			"malformed-sse;1", nil,
			func(s seen) bool { return s.err == nil && strings.Contains(s.text, "\n\n\x00") }, azuresim.OutcomeFinished,
		},
		{
			"truncated",
			func(s seen) bool { return s.err == nil && len(s.text) == len(whole.text)/2 },
			func(s seen) bool { return s.err == nil && len(s.text) > 0 && !strings.HasSuffix(s.text, "\n\n") }, azuresim.OutcomeFinished,
		},
		{
			"truncated;wrong",
			func(s seen) bool { return unexpectedEnd(s) && len(s.text) == len(whole.text)/2 },
			func(s seen) bool { return unexpectedEnd(s) && len(s.text) > 0 }, azuresim.OutcomeCut,
		},
		{
			"slow-drip;10us",
			func(s seen) bool { return s.err == nil && len(s.text) == len(whole.text) },
			func(s seen) bool { return s.err == nil && count(s) == events }, azuresim.OutcomeFinished,
		},
		{
			"slow;1ms",
			func(s seen) bool { return s.err == nil && len(s.text) == len(whole.text) },
			func(s seen) bool { return s.err == nil && count(s) == events }, azuresim.OutcomeFinished,
		},
		{
			"stall-first-byte;1ms",
			func(s seen) bool { return s.err == nil && len(s.text) == len(whole.text) },
			func(s seen) bool { return s.err == nil && count(s) == events }, azuresim.OutcomeFinished,
		},
		{
			"stall-mid-stream;2;delay=1ms",
			func(s seen) bool { return s.err == nil && len(s.text) == len(whole.text) },
			func(s seen) bool { return s.err == nil && count(s) == events }, azuresim.OutcomeFinished,
		},
	} {
		for kind, body := range map[string]string{"plain": hello, "stream": helloEvent} {
			t.Run(c.fault+"/"+kind, func(t *testing.T) {
				want := c.plain
				if kind == "stream" {
					want = c.stream
				}
				i := one(t, nil)
				f, err := azuresim.ParseFault(c.fault + ";count=1")
				if err != nil {
					t.Fatal(err)
				}
				if err := i.SetFault(f); err != nil {
					t.Fatal(err)
				}
				var s seen
				s.reply, s.sent = call{body: body}.do(t, client(t), i.URL())
				state := i.Faults()[0]
				if want == nil {
					if s.sent != nil || s.err != nil || state.Fired != 0 {
						t.Errorf("struck: %v %v, fired %d", s.sent, s.err, state.Fired)
					}
					return
				}
				if !want(s) {
					t.Errorf("sent %v, read %v, body %q", s.sent, s.err, s.text)
				}
				if state.Fired != 1 || !state.Ended {
					t.Errorf("fault is %+v", state)
				}
				if r := i.Records()[0]; r.Outcome != c.outcome || !slices.Equal(r.Faults, []string{string(f.Kind)}) {
					t.Errorf("record %+v, want outcome %s", r, c.outcome)
				}
				call{body: body}.must(t, i.URL()) // the count is used up
			})
		}
	}
}

// A silent answer ends only when the client gives up, and the record says so.
func TestSilencesLastUntilTheClientGivesUp(t *testing.T) {
	for _, c := range []struct {
		fault  string
		header bool // a header arrives
		bytes  bool // some of the body does
	}{
		{"hang", false, false},
		{"stall-first-byte", true, false},
		{"stall-mid-stream;2", true, true},
	} {
		for kind, body := range map[string]string{"plain": hello, "stream": helloEvent} {
			t.Run(c.fault+"/"+kind, func(t *testing.T) {
				i := one(t, nil)
				f, err := azuresim.ParseFault(c.fault)
				if err != nil {
					t.Fatal(err)
				}
				if err := i.SetFault(f); err != nil {
					t.Fatal(err)
				}
				conn, err := net.Dial("tcp", i.Address())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := (call{body: body}).request(t, i.URL()).Write(conn); err != nil {
					t.Fatal(err)
				}
				await(t, "the fault strikes", func() bool { return i.Faults()[0].Fired == 1 })
				got := make([]byte, 64<<10)
				n := 0
				for c.header && (n == 0 || (c.bytes && !strings.Contains(string(got[:n]), `"choices"`))) {
					m, err := conn.Read(got[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
				if r := i.Records()[0]; r.Outcome != azuresim.OutcomeRunning || r.HeadersSent != c.header {
					t.Errorf("record while silent %+v", r)
				}
				_ = conn.Close()
				await(t, "the client is gone", func() bool { return i.Records()[0].Aborted() })
			})
		}
	}
}

func TestFaultsInPlaceOfAnAnswer(t *testing.T) {
	const busy = `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 22 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."}}`
	for _, c := range []struct {
		fault   string
		status  int
		text    string // of the body's beginning
		headers map[string]string
	}{
		{"status;400", 400, `{"error":{"message":`, nil},
		{"status;401", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key`, nil},
		{"status;403", 403, `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`, nil},
		{"status;404", 404, `{"error":{"code":"404","message":"Resource not found"}}`, nil},
		{"status;408", 408, `{"error":{"code":"Timeout","message":"The operation was timeout."}}`, nil},
		{"status;413", 413, `{"error":{"message":"Maximum content size limit (26214400) exceeded (`, nil},
		{"status;422", 422, `{"error":{"message":`, nil},
		{"status;500", 500, `{"error":{"message":"That model is currently overloaded with other requests.`, nil},
		{"status;502", 502, `{"error":{`, nil},
		{"status;503", 503, `{"error":{"code":"ServiceUnavailable","message":"The service is temporarily unable to process your request.`, nil},
		{"status;503;retry-after=7", 503, `{"error":{`, map[string]string{"Retry-After": "7"}},
		{"status;504", 504, `{"error":{`, nil},
		{"throttle", 429, `{"error":{"code":"429"`, map[string]string{}},
		{"throttle;22", 429, busy, map[string]string{"Retry-After": "22"}},
		{"throttle;retry-after-ms=22000", 429, busy, map[string]string{"Retry-After-Ms": "22000"}},
		{"throttle;86400", 429, `{"error":{"code":"429"`, map[string]string{"Retry-After": "86400"}},
		{"throttle;reset-requests=1s", 429, `{"error":{`, map[string]string{"X-Ratelimit-Reset-Requests": "1s"}},
		{"throttle;reset-tokens=6m0s", 429, `{"error":{`, map[string]string{"X-Ratelimit-Reset-Tokens": "6m0s"}},
		{"throttle;reset-tokens=10", 429, `{"error":{`, map[string]string{"X-Ratelimit-Reset-Tokens": "10"}},
		{"throttle;limit=capacity", 429, `{"error":{"code":"429","message":"The system is currently experiencing high demand`, nil},
		{"deployment-gone", 404, `{"error":{"code":"DeploymentNotFound"`, nil},
		{"identity-revoked", 401, `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`, nil},
		{"identity-revoked;403", 403, `{"error":{"code":"PermissionDenied"`, nil},
	} {
		t.Run(c.fault, func(t *testing.T) {
			i := one(t, nil)
			f, err := azuresim.ParseFault(c.fault)
			if err != nil {
				t.Fatal(err)
			}
			if err := i.SetFault(f); err != nil {
				t.Fatal(err)
			}
			r := call{}.must(t, i.URL())
			if r.StatusCode != c.status || !strings.HasPrefix(r.text, c.text) || !json.Valid([]byte(r.text)) {
				t.Errorf("%d %s", r.StatusCode, r.text)
			}
			for _, name := range []string{"Retry-After", "Retry-After-Ms", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"} {
				if got := r.Header.Get(name); got != c.headers[name] {
					t.Errorf("%s = %q, want %q", name, got, c.headers[name])
				}
			}
		})
	}
}

func TestThrottleWithADate(t *testing.T) {
	i := one(t, nil)
	if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "date:90s"}); err != nil {
		t.Fatal(err)
	}
	r := call{}.must(t, i.URL())
	at, err := http.ParseTime(r.Header.Get("Retry-After"))
	if err != nil {
		t.Fatal(err)
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	if d := at.Sub(date); d < 89*time.Second || d > 91*time.Second {
		t.Errorf("%v ahead of the answer's date, want 90s", d)
	}
}

func TestRefusedConnectionsAndReopening(t *testing.T) {
	i := one(t, nil)
	hc := client(t)
	get := func() error { _, err := call{}.do(t, hc, i.URL()); return err }
	if err := get(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []azuresim.FaultKind{azuresim.FaultRefuse, azuresim.FaultDown} {
		if err := i.SetFault(azuresim.Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		// The pooled connection is ended too; whether the client has noticed is
		// a race that it wins in the end.
		await(t, "connecting is refused", func() bool { return errors.Is(get(), syscall.ECONNREFUSED) })
		i.ClearFaults()
		if err := get(); err != nil {
			t.Fatalf("after %s: %v", kind, err)
		}
	}
}

func TestRefusalForATimeEndsByItself(t *testing.T) {
	i := one(t, nil)
	if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultDown, For: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	await(t, "it answers again", func() bool {
		r, err := call{}.do(t, client(t), i.URL())
		return err == nil && r.StatusCode == 200
	})
	if !i.Faults()[0].Ended {
		t.Error("the fault is still in force")
	}
}

// Pooled connections end with either protocol, so that the next request dials.
func TestRefuseEndsIdleConnectionsOverTLS(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
			c.TLS = &azuresim.TLSConfig{}
		})}})
		i := sim.Instance("swc")
		hc := tlsClient(t, sim, h2)
		if _, err := (call{}).do(t, hc, i.URL()); err != nil {
			t.Fatal(err)
		}
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultRefuse}); err != nil {
			t.Fatal(err)
		}
		await(t, "connecting is refused", func() bool {
			_, err := call{}.do(t, hc, i.URL())
			return errors.Is(err, syscall.ECONNREFUSED)
		})
		if i.Requests() != 1 {
			t.Errorf("HTTP/2 %v: %d requests came through", h2, i.Requests()-1)
		}
	}
}

// Refusing lets running requests finish; being down cuts them.
func TestRefuseSparesAndDownCutsRunningRequests(t *testing.T) {
	for kind, ends := range map[azuresim.FaultKind]azuresim.Outcome{
		azuresim.FaultRefuse: azuresim.OutcomeFinished,
		azuresim.FaultDown:   azuresim.OutcomeCut,
	} {
		i := one(t, nil)
		if _, err := i.AddFault(azuresim.Fault{Kind: azuresim.FaultStallMidStream, After: 3, Delay: 100 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		got := make(chan reply)
		go func() {
			r, _ := call{body: helloEvent}.do(t, client(t), i.URL())
			got <- r
		}()
		await(t, "the request stalls", func() bool { return i.Faults()[0].Fired == 1 })
		if _, err := i.AddFault(azuresim.Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		r := <-got
		await(t, "it ends", func() bool { return i.InFlight() == 0 })
		if o := i.Records()[0].Outcome; o != ends || (r.err == nil) != (ends == azuresim.OutcomeFinished) {
			t.Errorf("%s: %s, reading gave %v", kind, o, r.err)
		}
	}
}

func TestConnectionFaults(t *testing.T) {
	i := one(t, nil)
	if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultResetConnect, Count: 1}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", i.Address())
	if err == nil { // else the reset was faster than the dial
		_, err = conn.Read(make([]byte, 1))
	}
	if !isReset(err) {
		t.Errorf("reset-connect: %v", err)
	}
	if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultHangConnect, Count: 1}); err != nil {
		t.Fatal(err)
	}
	if conn, err = net.Dial("tcp", i.Address()); err != nil {
		t.Fatal(err)
	}
	if err := (call{}).request(t, i.URL()).Write(conn); err != nil {
		t.Fatal(err)
	}
	call{}.must(t, i.URL()) // another connection is served
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ETIMEDOUT) && !isTimeout(err) {
		t.Errorf("hang-connect: %d bytes, %v", n, err)
	}
	if i.Requests() != 1 {
		t.Errorf("%d requests, want the one on the other connection", i.Requests())
	}
	_ = conn.Close()
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func TestWrongCertificates(t *testing.T) {
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
		c.TLS = &azuresim.TLSConfig{}
	})}})
	i := sim.Instance("swc")
	for _, c := range []struct {
		certificate string
		wrong       func(error) bool
	}{
		{azuresim.CertificateOtherName, func(err error) bool { _, ok := errors.AsType[x509.HostnameError](err); return ok }},
		{azuresim.CertificateExpired, func(err error) bool {
			e, ok := errors.AsType[x509.CertificateInvalidError](err)
			return ok && e.Reason == x509.Expired
		}},
		{azuresim.CertificateUnknownCA, func(err error) bool { _, ok := errors.AsType[x509.UnknownAuthorityError](err); return ok }},
	} {
		if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultWrongCertificate, Certificate: c.certificate, Count: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := (call{}).do(t, tlsClient(t, sim, false), i.URL()); err == nil || !c.wrong(err) {
			t.Errorf("%s: %v", c.certificate, err)
		}
		if r, err := (call{}).do(t, tlsClient(t, sim, false), i.URL()); err != nil || r.StatusCode != 200 {
			t.Errorf("afterwards: %v", err)
		}
	}
	if i.Requests() != 3 {
		t.Errorf("%d requests, want only those with the right certificate", i.Requests())
	}
}

// Over TLS and HTTP/2 the same faults break the answer, if in other words.
func TestFaultsOverTLS(t *testing.T) {
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
		c.TLS = &azuresim.TLSConfig{}
	})}})
	i := sim.Instance("swc")
	for _, h2 := range []bool{false, true} {
		for _, text := range []string{
			"reset-before-header", "reset-after-header", "reset-after-bytes;50", "malformed-chunk;2", "truncated;wrong",
		} {
			f, err := azuresim.ParseFault(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := i.SetFault(f); err != nil {
				t.Fatal(err)
			}
			r, err := call{body: helloEvent}.do(t, tlsClient(t, sim, h2), i.URL())
			if err == nil && r.err == nil {
				t.Errorf("%s, HTTP/2 %v: whole answer %q", text, h2, r.text)
			}
			if last := i.Records()[len(i.Records())-1]; last.Outcome != azuresim.OutcomeCut || (last.Protocol == "HTTP/2.0") != h2 {
				t.Errorf("%s, HTTP/2 %v: %+v", text, h2, last)
			}
		}
	}
	i.ClearFaults()
	if r, err := (call{}).do(t, tlsClient(t, sim, true), i.URL()); err != nil || r.TLS.Version < tls.VersionTLS12 {
		t.Errorf("afterwards: %v", err)
	}
}

func TestFaultsAreLimitedToWhatTheyName(t *testing.T) {
	i := one(t, func(c *azuresim.InstanceConfig) {
		c.Deployments = append(c.Deployments, azuresim.DeploymentConfig{Name: "other", Model: "gpt-4o"})
	})
	if err := i.SetFault(
		azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500, Deployment: "other"},
		azuresim.Fault{Kind: azuresim.FaultStatus, Status: 503, Operation: "Embeddings_Create"},
		azuresim.Fault{Kind: azuresim.FaultStatus, Status: 504, Only: azuresim.OnlyStream},
	); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[int]call{
		200: {},
		500: {path: "/openai/v1/chat/completions", body: `{"model":"other","messages":[]}`},
		503: {path: "/openai/deployments/vectors/embeddings?api-version=" + apiVersion, body: `{"input":"x"}`},
		504: {body: helloEvent},
	} {
		if r := c.must(t, i.URL()); r.StatusCode != want {
			t.Errorf("%d, want %d", r.StatusCode, want)
		}
	}
}

func TestShareOfRequestsIsMet(t *testing.T) {
	i := one(t, nil)
	if err := i.SetFault(azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500, Share: 0.3}); err != nil {
		t.Fatal(err)
	}
	hc := client(t)
	for range 400 {
		if _, err := (call{}).do(t, hc, i.URL()); err != nil {
			t.Fatal(err)
		}
	}
	// 120 ± 5 standard deviations of 9.2; the source is seeded, so it never varies.
	if n := i.Faults()[0].Fired; n < 74 || n > 166 {
		t.Errorf("%d of 400, want about 120", n)
	}
}

func TestFaultsByHeaderOnlyWhereEnabled(t *testing.T) {
	header := map[string]string{"x-sim-fault": "status;503;retry-after=2"}
	if r := (call{header: header}).must(t, one(t, nil).URL()); r.StatusCode != 200 {
		t.Errorf("not enabled: %d", r.StatusCode)
	}
	sim := start(t, azuresim.Config{HeaderFaults: true, Instances: []azuresim.InstanceConfig{instance("swc", nil)}})
	url := sim.Instance("swc").URL()
	if r := (call{header: header}).must(t, url); r.StatusCode != 503 || r.Header.Get("Retry-After") != "2" {
		t.Errorf("enabled: %d %v", r.StatusCode, r.Header)
	}
	// A misspelt fault must not look like a healthy instance.
	for _, bad := range []string{"statsu;503", "refuse", "status", "status;503;x=1"} {
		if r := (call{header: map[string]string{"x-sim-fault": bad}}).must(t, url); r.StatusCode != 400 {
			t.Errorf("%q: %d", bad, r.StatusCode)
		}
	}
	if r, err := (call{header: map[string]string{"x-sim-fault": "reset-after-bytes;5"}}).do(t, client(t), url); err != nil || len(r.text) != 5 {
		t.Errorf("within the answer: %v %q", err, r.text)
	}
}

func TestRegionDown(t *testing.T) {
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{
		instance("a", nil), instance("b", nil), instance("c", func(c *azuresim.InstanceConfig) { c.Region = "France Central" }),
	}})
	if n, err := sim.SetRegionFault("Sweden Central", azuresim.Fault{Kind: azuresim.FaultDown}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for name, up := range map[string]bool{"a": false, "b": false, "c": true} {
		if _, err := (call{}).do(t, client(t), sim.Instance(name).URL()); (err == nil) != up {
			t.Errorf("%s: %v", name, err)
		}
	}
	sim.ClearFaults()
	call{}.must(t, sim.Instance("a").URL())
}

func TestImpossibleFaultsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "nothing", "status;200", "status;304", "status;700", "status;200;error=nonsense", "served-as", "comments", "odd-end;early", "close-frame;1006", "status;x", "status", "slow", "slow-drip", "refuse;deployment=x", "down;count=1",
		"hang;share=2", "hang;share=NaN", "hang;count=-1", "throttle;retry-after=a\nb", "throttle;date:x", "hang;only=x",
		"truncated;left", "wrong-certificate;x", "status;503;7", "hang;x", "stall-mid-stream;after=x",
	} {
		if f, err := azuresim.ParseFault(text); err == nil {
			t.Errorf("%q is taken for %+v", text, f)
		}
	}
}

// FuzzParseFault: what is accepted is valid and means the same when written
// out and read again, as text and as JSON.
func FuzzParseFault(f *testing.F) {
	for _, k := range azuresim.FaultKinds() {
		f.Add(string(k))
	}
	for _, s := range []string{
		"status;503;retry-after=2;count=3;share=0.5", "throttle;retry-after=date:30s", "throttle;reset-tokens=6m0s;limit=requests",
		"slow-drip;1ms;only=stream", "truncated;length=wrong;for=1h", "wrong-certificate;expired", "stall-mid-stream;3;delay=2s",
		"status;402;error=insufficient_quota", "comments;1s;after=2;delay=5s", "odd-end;one-newline", "served-as;gpt-4o-2024-08-06",
		"close-frame;1011;after=1", "throttle;wait=45s",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := azuresim.ParseFault(text)
		if err != nil {
			return
		}
		if err := a.Validate(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if b, err := azuresim.ParseFault(a.String()); err != nil || a != b {
			t.Fatalf("%+v\nwritten %q\nread %+v, %v", a, a.String(), b, err)
		}
		j, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var c azuresim.Fault
		if err := json.Unmarshal(j, &c); err != nil || a != c {
			t.Fatalf("%+v\nwritten %s\nread %+v, %v", a, j, c, err)
		}
	})
}
