package azuresim_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// shared reads a file of recorded answers, which lies beside the repository.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../shared/data/" + name)
	if err != nil {
		t.Skipf("recorded answers are not on this machine: %v", err)
	}
	return b
}

// A client that was built against the recorded answer must find every header
// and every key of it here, in the same order.
func TestChatAnswerHasHeadersAndKeysOfTheRecordedOne(t *testing.T) {
	var cassette struct {
		Interactions []struct {
			Response struct {
				Body    string
				Headers http.Header
			}
		}
	}
	if err := yaml.Unmarshal(shared(t, "recorded-azure-chat-response.envoy-ai-gateway.yaml"), &cassette); err != nil {
		t.Fatal(err)
	}
	recorded := cassette.Interactions[0].Response
	i := one(t, func(c *azuresim.InstanceConfig) {
		c.Region = "East US 2"
		c.Deployments = []azuresim.DeploymentConfig{{
			Name: "gpt-5-nano", Model: "gpt-5-nano", Version: "2025-08-07", TokensPerMinute: 100_000, RequestsPerMinute: 100,
		}}
	})
	got := call{path: "/openai/deployments/gpt-5-nano/chat/completions?api-version=2024-12-01-preview"}.must(t, i.URL())

	if a, b := headerNames(got.Header), headerNames(recorded.Headers); !slices.Equal(a, b) {
		t.Errorf("headers\n got %v\nwant %v", a, b)
	}
	changing := []string{"Apim-Request-Id", "X-Request-Id", "Date", "Content-Length"}
	for name := range recorded.Headers {
		if a, b := got.Header.Get(name), recorded.Headers.Get(name); a != b && !slices.Contains(changing, name) {
			t.Errorf("%s = %q, want %q", name, a, b)
		}
	}
	want := keys(t, recorded.Body)
	have := slices.DeleteFunc(keys(t, got.text), func(k string) bool { return isFilterDetail(k) })
	if !slices.Equal(have, want) {
		t.Errorf("keys\n got %v\nwant %v", have, want)
	}
	var answer struct {
		Usage struct {
			PromptTokens int `json:"prompt_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(got.text), &answer); err != nil || answer.Usage.PromptTokens != 8 {
		t.Errorf("prompt tokens = %d (%v), want the recorded 8", answer.Usage.PromptTokens, err)
	}
}

func headerNames(h http.Header) []string {
	var out []string
	for n := range h {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// keys lists all object keys in the order in which they stand in the text.
func keys(t *testing.T, text string) []string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	var out []string
	var inObject []bool
	expectKey := false
	for {
		tok, err := d.Token()
		if err != nil {
			return out
		}
		switch v := tok.(type) {
		case json.Delim:
			switch v {
			case '{', '[':
				inObject = append(inObject, v == '{')
				expectKey = v == '{'
				continue
			default:
				inObject = inObject[:len(inObject)-1]
			}
		case string:
			if expectKey {
				out = append(out, v)
				expectKey = false
				continue
			}
		}
		expectKey = len(inObject) > 0 && inObject[len(inObject)-1]
	}
}

// isFilterDetail names what the filter's results hold; the recorded model
// reported none.
func isFilterDetail(k string) bool {
	return slices.Contains([]string{"hate", "self_harm", "sexual", "violence", "jailbreak", "filtered", "severity", "detected"}, k)
}

func TestFilteredPromptHasTheRecordedBody(t *testing.T) {
	var want bytes.Buffer
	if err := json.Compact(&want, shared(t, "azopenai-content_filter_response_error.json")); err != nil {
		t.Fatal(err)
	}
	i := one(t, nil)
	got := call{body: `{"messages":[{"role":"user","content":"a ` + azuresim.FilterPrompt + ` b"}]}`}.must(t, i.URL())
	if got.StatusCode != 400 || got.text != want.String() {
		t.Errorf("%d %s\nwant 400 %s", got.StatusCode, got.text, want.String())
	}
}

// The bodies are compared byte for byte: clients and gateways match on them.
func TestErrorBodies(t *testing.T) {
	const (
		badKey      = `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}`
		badToken    = `{"error":{"code":"Unauthorized","message":"Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired."}}`
		notFound    = `{"error":{"code":"404","message":"Resource not found"}}`
		noModel     = `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}`
		noModelV1   = `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.","type":"invalid_request_error"}}`
		wrongModel  = `{"error":{"code":"OperationNotSupported","message":"The embeddings operation does not work with the specified model, gpt-4o. Please choose different model and try again. You can learn more about which models can be used with each operation here: https://go.microsoft.com/fwlink/?linkid=2197993."}}`
		wrongModel2 = `{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model, text-embedding-3-small. Please choose different model and try again. You can learn more about which models can be used with each operation here: https://go.microsoft.com/fwlink/?linkid=2197993."}}`
		noMessages  = `{"error":{"message":"Missing required parameter: 'messages'.","type":"invalid_request_error","param":"messages","code":"missing_required_parameter"}}`
	)
	version := "?api-version=" + apiVersion
	bearer := func(v string) map[string]string { return map[string]string{"Api-Key": "", "Authorization": v} }
	i := one(t, nil)
	for _, c := range []struct {
		name   string
		call   call
		status int
		body   string
	}{
		{"no credential", call{header: map[string]string{"Api-Key": ""}}, 401, badKey},
		{"wrong key", call{header: map[string]string{"Api-Key": "x"}}, 401, badKey},
		{"a key as bearer is no token for the dated API", call{header: bearer("Bearer " + testKey)}, 401, badToken},
		{"a token that nobody issued", call{header: bearer("Bearer a.b.c")}, 401, badToken},
		{"wrong key as bearer on v1", call{path: "/openai/v1/chat/completions", header: bearer("Bearer x")}, 401, badKey},
		// A gateway that asks with a bad key must not learn which deployments there are.
		{"bad key and no such deployment", call{path: "/openai/deployments/none/chat/completions" + version, header: map[string]string{"Api-Key": "x"}}, 401, badKey},
		{"no api-version", call{path: "/openai/deployments/chat/chat/completions"}, 404, notFound},
		{"no such path", call{path: "/openai/deployments/chat/nothing" + version}, 404, notFound},
		{"wrong method", call{method: "GET", path: chatPath}, 404, notFound},
		{"path that would have to be cleaned up", call{path: "//openai/deployments/chat/chat/completions" + version}, 404, notFound},
		{"outside of /openai", call{path: "/"}, 404, notFound},
		{"deployment missing", call{path: "/openai/deployments/none/chat/completions" + version}, 404, noModel},
		{"deployment missing on v1", call{path: "/openai/v1/chat/completions", body: `{"model":"none","messages":[]}`}, 404, noModelV1},
		{"embeddings of a chat model", call{path: "/openai/deployments/chat/embeddings" + version, body: `{"input":"x"}`}, 400, wrongModel},
		{"chat with an embeddings model", call{path: "/openai/deployments/vectors/chat/completions" + version}, 400, wrongModel2},
		{"no messages", call{body: `{}`}, 400, noMessages},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.call.must(t, i.URL())
			if got.StatusCode != c.status || got.text != c.body {
				t.Errorf("%d %s\nwant %d %s", got.StatusCode, got.text, c.status, c.body)
			}
			if got.Header.Get("Apim-Request-Id") == "" || got.Header.Get("X-Ms-Region") != "Sweden Central" {
				t.Errorf("headers of every answer are missing: %v", got.Header)
			}
		})
	}
}

func TestStreamFraming(t *testing.T) {
	i := one(t, func(c *azuresim.InstanceConfig) { c.Latency = &azuresim.Latency{Tokens: 3} })
	frames := func(body string) []string {
		r := call{body: body}.must(t, i.URL())
		if ct := r.Header.Get("Content-Type"); ct != "text/event-stream; charset=utf-8" {
			t.Errorf("content type %q", ct)
		}
		rest, ok := strings.CutSuffix(r.text, "\n\n")
		if !ok {
			t.Fatalf("stream ends in %q", r.text[max(0, len(r.text)-20):])
		}
		return strings.Split(rest, "\n\n")
	}

	all := frames(helloEvent)
	if len(all) != 7 { // filter, role, 3 tokens, end, [DONE]
		t.Fatalf("%d frames: %q", len(all), all)
	}
	if !strings.HasPrefix(all[0], `data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,`) {
		t.Errorf("first frame %s", all[0])
	}
	if !strings.Contains(all[1], `"delta":{"content":"","refusal":null,"role":"assistant"}`) ||
		!strings.Contains(all[2], `"content_filter_results":{"hate"`) ||
		!strings.Contains(all[5], `"delta":{},"finish_reason":"stop"`) || all[6] != "data: [DONE]" {
		t.Errorf("frames %q", all)
	}
	for _, f := range all {
		if strings.Contains(f, "usage") {
			t.Errorf("usage nobody asked for: %s", f)
		}
	}

	all = frames(`{"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hello!"}]}`)
	if len(all) != 8 || !strings.Contains(all[6], `{"choices":[],`) || !strings.Contains(all[6], `"total_tokens":11`) {
		t.Fatalf("usage frame: %q", all)
	}
	for _, f := range all[:6] {
		if !strings.Contains(f, `"usage":null`) {
			t.Errorf("no usage:null in %s", f)
		}
	}

	all = frames(`{"stream":true,"messages":[{"role":"user","content":"` + azuresim.FilterAnswer + `"}]}`)
	if end := all[len(all)-2]; !strings.Contains(end, `"finish_reason":"content_filter"`) || !strings.Contains(end, `"filtered":true`) {
		t.Errorf("end of a filtered answer: %s", end)
	}
	all = frames(`{"stream":true,"max_tokens":2,"n":2,"messages":[{"role":"user","content":"Hello!"}]}`)
	if end := all[len(all)-2]; len(all) != 10 || !strings.Contains(end, `"finish_reason":"length","index":1`) {
		t.Errorf("two choices of two tokens: %d frames, end %s", len(all), end)
	}
}

func TestSameRequestGetsTheSameText(t *testing.T) {
	i := one(t, nil)
	text := func(content string) string {
		r := call{body: `{"messages":[{"role":"user","content":"` + content + `"}]}`}.must(t, i.URL())
		var a struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(r.text), &a); err != nil {
			t.Fatal(err)
		}
		return a.Choices[0].Message.Content
	}
	if a, b := text("one"), text("one"); a != b {
		t.Errorf("%q, then %q", a, b)
	}
}

func TestModelsAreListedOnBothPaths(t *testing.T) {
	i := one(t, nil)
	for _, path := range []string{"/openai/models?api-version=" + apiVersion, "/openai/v1/models"} {
		r := call{method: "GET", path: path}.must(t, i.URL())
		if r.StatusCode != 200 || !strings.Contains(r.text, `"id":"gpt-4o-2024-11-20"`) || !json.Valid([]byte(r.text)) {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.text)
		}
	}
	if r := (call{method: "GET", path: "/openai/v1/models/gpt-4o-2024-11-20"}).must(t, i.URL()); r.StatusCode != 200 {
		t.Errorf("one model: %d", r.StatusCode)
	}
}

func TestSecondUseOfALongPromptIsCached(t *testing.T) {
	i := one(t, nil)
	body := `{"messages":[{"role":"user","content":"` + strings.Repeat("abcd", 1200) + `"}]}`
	if r := (call{body: body}).must(t, i.URL()); !strings.Contains(r.text, `"cached_tokens":0`) {
		t.Errorf("first: %s", r.text)
	}
	if r := (call{body: body}).must(t, i.URL()); !strings.Contains(r.text, `"cached_tokens":1152`) { // 9 × 128
		t.Errorf("second: %s", r.text)
	}
}
