package serve_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// What a client sends beside its request stops at the gateway: its credential,
// what could lead the backend to another deployment, and all that is unknown.
func TestOnlyKnownHeadersReachTheBackend(t *testing.T) {
	b := good(t)
	r := newRig(t, setup{endpoints: []string{b.url}})
	h := http.Header{
		"Content-Type":           {"application/json"},
		"Accept":                 {"application/json"},
		"Openai-Beta":            {"assistants=v2"},
		"X-Ms-Client-Request-Id": {"client-1"},
		"X-Policy-Id":            {"strict-filter"},

		"Authorization":                 {"Bearer client-token"},
		"Api-Key":                       {"sg_eu_client"},
		"Ocp-Apim-Subscription-Key":     {"client-subscription"},
		"Proxy-Authorization":           {"Basic x"},
		"Cookie":                        {"a=b"},
		"X-Ms-Spillover-Deployment":     {"gpt-4o-global"},
		"X-Forwarded-For":               {"10.0.0.1"},
		"X-Forwarded-Host":              {"elsewhere"},
		"Forwarded":                     {"for=10.0.0.1"},
		"X-Real-Ip":                     {"10.0.0.1"},
		"X-Request-Id":                  {"forged"},
		"X-Unknown":                     {"1"},
		"X_ms_spillover_deployment":     {"1"},
		"X-Sim-Fault":                   {"status;500"},
		"X-Stampgate-Region":            {"eastus"},
		"Accept-Encoding":               {"gzip"},
		"Traceparent":                   {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Idempotency-Key":               {"k"},
		"Te":                            {"trailers"},
		"Keep-Alive":                    {"timeout=5"},
		"X-Hop":                         {"1"},
		"Connection":                    {"X-Hop, Api-Key, Content-Length, Host, X-Request-Id"},
		"Upgrade":                       {"h2c"},
		"Http2-Settings":                {"AAMAAABkAAQAAP__"},
		"X-Http-Method-Override":        {"DELETE"},
		"Range":                         {"bytes=0-1"},
		"X-Ms-Oai-Ev3-Deployment":       {"other"},
		"Azureml-Model-Deployment":      {"other"},
		"X-Ms-Azureml-Model-Deployment": {"other"},
	}
	wantGood(t, r.post(r.front(), h, plainBody), "1")
	req, body := b.seen()
	want := []string{"Accept", "Api-Key", "Content-Length", "Content-Type", "Openai-Beta", "User-Agent", "X-Ms-Client-Request-Id", "X-Policy-Id", "X-Request-Id"}
	if got := slices.Sorted(maps.Keys(req.Header)); !slices.Equal(got, want) {
		t.Errorf("headers at the backend\n%v, want\n%v", got, want)
	}
	for name, want := range map[string]string{
		"Api-Key": ourKey, "User-Agent": "stampgate/test", "X-Request-Id": "request-1", "X-Ms-Client-Request-Id": "client-1", "X-Policy-Id": "strict-filter",
	} {
		if got := req.Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if "http://"+req.Host != b.url || req.RequestURI != chatPath {
		t.Errorf("host %q, request %q", req.Host, req.RequestURI)
	}
	if body != plainBody {
		t.Errorf("body = %q", body)
	}
}

func TestOnlyKnownHeadersReachTheClient(t *testing.T) {
	b := newBackend(t, says(answer("200 OK", jsonHeader+
		"X-Ms-Region: Sweden Central\r\nApim-Request-Id: a\r\nX-Ratelimit-Remaining-Tokens: 7\r\nAzure-Openai-Deployment-Utilization: 3%\r\n"+
		"Set-Cookie: affinity=1\r\nSet-Cookie2: b\r\nLocation: http://elsewhere/\r\nServer: nginx\r\nAlt-Svc: h3=\":443\"\r\n"+
		"Strict-Transport-Security: max-age=1\r\nWww-Authenticate: Basic\r\nX-Request-Id: theirs\r\nX-Stampgate-Boundary: us\r\n"+
		"Connection: X-Ms-Region\r\nKeep-Alive: timeout=1\r\nRefresh: 0; url=http://elsewhere/\r\nAccess-Control-Allow-Origin: *\r\n", goodAnswer)))
	r := newRig(t, setup{endpoints: []string{b.url}})
	got := r.ask(plainBody)
	wantGood(t, got, "1")
	want := []string{
		"Apim-Request-Id", "Azure-Openai-Deployment-Utilization", "Content-Length", "Content-Type", "Date",
		"X-Ms-Region", "X-Ratelimit-Remaining-Tokens", "X-Stampgate-Attempts",
	}
	if names := slices.Sorted(maps.Keys(got.Header)); !slices.Equal(names, want) {
		t.Errorf("headers at the client\n%v, want\n%v", names, want)
	}
}

// A redirect would lead a request out of the boundary. It is no answer either.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []string{"301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect", "300 Choices", "304 Not Modified"} {
		t.Run(status, func(t *testing.T) {
			trap, other := good(t), good(t)
			b := newBackend(t, says("HTTP/1.1 "+status+"\r\nLocation: "+trap.url+chatPath+"\r\nContent-Length: 0\r\n\r\n"))
			r := newRig(t, setup{endpoints: []string{b.url, other.url}})
			wantGood(t, r.ask(plainBody), "2")
			alone := newRig(t, setup{endpoints: []string{b.url}})
			if got := alone.ask(plainBody); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Location") != "" {
				t.Errorf("alone: status %d, Location %q", got.StatusCode, got.Header.Get("Location"))
			}
			if n := trap.conns.Load(); n != 0 {
				t.Errorf("%d connections to where the redirect leads", n)
			}
		})
	}
}
