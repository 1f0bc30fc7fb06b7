package azuresim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const (
	overloaded = `{"error":{"message":"That model is currently overloaded with other requests. You can retry your request, or contact us through an Azure support request at: https://go.microsoft.com/fwlink/?linkid=2213926 if the error persists. (Please include the request ID `
	filtered   = `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI’s content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":true,"severity":"medium"}}}}}`
	quota      = `{"error":{"message":"You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`
	noModel    = `{"error":{"message":"The model ` + "`chat`" + ` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}`
	tooLong    = `{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	invalid    = `{"error":{"message":"Invalid value for parameter.","type":"invalid_request_error","param":null,"code":"invalid_value"}}`
	limited    = `{"error":{"message":"Rate limit reached for requests.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`
	gone       = `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}`
	retired    = `{"error":{"code":"ModelDeprecated","message":"The model of this deployment has been retired and no longer serves requests."}}`
)

// faulty is an instance with a session's deployment and one fault.
func faulty(t *testing.T, fault string) *azuresim.Instance {
	t.Helper()
	i := one(t, func(c *azuresim.InstanceConfig) {
		c.Deployments = append(c.Deployments, azuresim.DeploymentConfig{Name: "talk", Model: "gpt-realtime", Version: "2025-08-28"})
	})
	f, err := azuresim.ParseFault(fault)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.SetFault(f); err != nil {
		t.Fatal(err)
	}
	return i
}

// dial asks for a session; without one, the answer is complete.
func dial(t *testing.T, i *azuresim.Instance) (*websocket.Conn, int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	c, resp, err := websocket.Dial(ctx, i.URL()+"/openai/v1/realtime?model=talk", &websocket.DialOptions{
		HTTPHeader: http.Header{"Api-Key": {testKey}},
		// The library cuts the body of a refusal to a kilobyte.
		HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if err != nil {
		if resp == nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		return nil, resp.StatusCode, string(text)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c, resp.StatusCode, ""
}

// Each status comes with these bytes, whatever kind of answer was asked for.
func TestRefusalsByteForByte(t *testing.T) {
	for _, c := range []struct {
		fault  string
		status int
		body   string // its beginning, if it does not end in }}
	}{
		{"status;302", 302, `{"error":{"code":"302","message":"Found"}}`},
		{"status;402", 402, `{"error":{"code":"402","message":"Payment Required"}}`},
		{"status;402;error=insufficient_quota", 402, quota},
		{"status;error=insufficient_quota", 429, quota},
		{"status;403;error=insufficient_quota", 403, quota},
		{"status;error=model_not_found", 404, strings.Replace(noModel, "chat", "%s", 1)},
		{"status;error=api_version_not_supported", 400, `{"error":{"code":"BadRequest","message":"API version not supported"}}`},
		{"status;error=content_filter", 400, filtered},
		{"status;error=context_length_exceeded", 400, tooLong},
		{"status;error=invalid_request_error", 400, invalid},
		{"status;error=server_error", 500, overloaded},
		{"status;error=rate_limit_exceeded", 429, limited},
		{"status;error=DeploymentNotFound", 404, gone},
		{"status;401", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}`},
		{"identity-revoked", 401, `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`},
		{"status;403", 403, `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`},
		{"status;408", 408, `{"error":{"code":"Timeout","message":"The operation was timeout."}}`},
		{"status;409", 409, `{"error":{"code":"409","message":"Conflict"}}`},
		{"status;410", 410, retired},
		{"status;error=model_retired", 410, retired},
		{"status;421", 421, `{"error":{"code":"421","message":"Misdirected Request"}}`},
		{"status;424", 424, `{"error":{"code":"424","message":"Failed Dependency"}}`},
		{"status;425", 425, `{"error":{"code":"425","message":"Too Early"}}`},
		{"status;429", 429, `{"error":{"code":"429","message":"Too Many Requests"}}`},
		{"status;449", 449, `{"error":{"code":"449","message":"Retry With"}}`},
		{"status;499", 499, `{"error":{"code":"499","message":"Client Closed Request"}}`},
		{"status;503", 503, `{"error":{"code":"ServiceUnavailable","message":"The service is temporarily unable to process your request. Please try again later."}}`},
		{"status;529", 529, `{"error":{"code":"529","message":"Site Overloaded"}}`},
		{"status;200;error=server_error", 200, overloaded},
		{"status;200;error=rate_limit_exceeded", 200, limited},
		{"status;200;error=invalid_request_error", 200, invalid},
		{"status;200;error=content_filter", 200, filtered},
	} {
		t.Run(c.fault, func(t *testing.T) {
			i := faulty(t, c.fault)
			same := func(form, deployment string, status int, text string) {
				want := strings.Replace(c.body, "%s", deployment, 1)
				if status != c.status || text != want && (strings.HasSuffix(want, "}}") || !strings.HasPrefix(text, want)) {
					t.Errorf("%s: %d %s", form, status, text)
				}
			}
			for form, body := range map[string]string{"plain": hello, "stream": helloEvent} {
				hc := client(t)
				hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				r, err := call{body: body}.do(t, hc, i.URL())
				if err != nil || r.err != nil {
					t.Fatal(err, r.err)
				}
				same(form, "chat", r.StatusCode, r.text)
				if (c.status == 302) != (r.Header.Get("Location") != "") || r.Header.Get("Retry-After") != "" {
					t.Errorf("%s: header %v", form, r.Header)
				}
			}
			_, status, text := dial(t, i)
			if len(text) == 1024 { // as much of it as the library keeps
				text += c.body[1024:]
			}
			same("session", "talk", status, text)
		})
	}
}

func TestWaitThatOnlyTheTextTells(t *testing.T) {
	r := call{}.must(t, faulty(t, "throttle;wait=45s").URL())
	const want = `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 45 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."}}`
	if r.StatusCode != 429 || r.text != want {
		t.Errorf("%d %s", r.StatusCode, r.text)
	}
	for name := range r.Header {
		if n := strings.ToLower(name); strings.Contains(n, "retry") || strings.Contains(n, "ratelimit") {
			t.Errorf("header %s", name)
		}
	}
}

// A stream whose first event is an error says nothing else.
func TestErrorEventsByteForByte(t *testing.T) {
	for name, body := range map[string]string{
		"content_filter": filtered, "insufficient_quota": quota, "context_length_exceeded": tooLong, "rate_limit_exceeded": limited,
	} {
		r := call{body: helloEvent}.must(t, faulty(t, "error-event;error="+name).URL())
		if r.StatusCode != 200 || r.text != "data: "+body+"\n\n" {
			t.Errorf("%s: %d %q", name, r.StatusCode, r.text)
		}
	}
	r := call{body: helloEvent}.must(t, faulty(t, "error-event;2;error=content_filter").URL())
	if strings.Count(r.text, "\n\n") != 3 || !strings.HasSuffix(r.text, "\n\ndata: "+filtered+"\n\n") {
		t.Errorf("%q", r.text)
	}
}

func TestOddEndsOfStreams(t *testing.T) {
	for end, last := range map[string]string{
		"missing": `"finish_reason":"stop","index":0,"logprobs":null}],`, "one-newline": "\n\ndata: [DONE]\n", "no-newline": "\n\ndata: [DONE]",
	} {
		i := faulty(t, "odd-end;"+end)
		r := call{body: helloEvent}.must(t, i.URL())
		whole := call{body: helloEvent}.must(t, one(t, nil).URL())
		if n := strings.Count(r.text, "data: {"); n != strings.Count(whole.text, "data: {") {
			t.Errorf("%s: %d events", end, n)
		}
		if end == "missing" {
			if strings.Contains(r.text, "[DONE]") || !strings.HasSuffix(r.text, "}\n\n") || !strings.Contains(r.text, last) {
				t.Errorf("%s: %q", end, r.text)
			}
		} else if !strings.HasSuffix(r.text, last) {
			t.Errorf("%s: %q", end, r.text)
		}
		if i.Faults()[0].Fired != 1 || !i.Records()[0].Finished() {
			t.Errorf("%s: %+v", end, i.Records()[0])
		}
	}
}

// What an answer says as its model is the deployment's, with its version where
// Azure says it, unless a fault changes it.
func TestModelThatAnswersName(t *testing.T) {
	embed := call{path: "/openai/deployments/vectors/embeddings?api-version=" + apiVersion, body: `{"input":"x","dimensions":2}`}
	words := call{path: "/openai/deployments/words/completions?api-version=" + apiVersion, body: `{"prompt":"x"}`}
	for _, c := range []struct {
		call
		right string
	}{
		{call{}, "gpt-4o-2024-11-20"},
		{call{body: helloEvent}, "gpt-4o-2024-11-20"},
		{words, "gpt-35-turbo-instruct-0914"},
		{embed, "text-embedding-3-small"},
	} {
		for fault, want := range map[string]string{"slow;1ns": c.right, "served-as;gpt-4o-2024-08-06": "gpt-4o-2024-08-06"} {
			r := c.must(t, faulty(t, fault).URL())
			text := strings.ReplaceAll(r.text, `"model":""`, "") // a stream's first event
			if n := strings.Count(text, `"model":"`); n == 0 || n != strings.Count(text, `"model":"`+want+`"`) {
				t.Errorf("%s: %s", fault, r.text)
			}
		}
	}
}

func TestCommentsBeforeAndWithinAStream(t *testing.T) {
	const ping = ": ping\n\n"
	for after, fault := range []string{"comments;10ms;delay=35ms", "comments;10ms;delay=35ms;after=1"} {
		r := call{body: helloEvent}.must(t, faulty(t, fault).URL())
		events := strings.SplitAfter(r.text, "\n\n")
		if n := strings.Count(r.text, ping); n < 2 || n > 4 || events[after] != ping {
			t.Errorf("%s: %q", fault, r.text)
		}
		whole := call{body: helloEvent}.must(t, one(t, nil).URL())
		if strings.Count(r.text, "data: ") != strings.Count(whole.text, "data: ") {
			t.Errorf("%s: not the whole answer: %q", fault, r.text)
		}
	}
}

func TestSessionFaults(t *testing.T) {
	read := func(c *websocket.Conn) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, text, err := c.Read(ctx)
		return string(text), err
	}
	t.Run("an error event instead of the greeting", func(t *testing.T) {
		c, _, _ := dial(t, faulty(t, "error-event;error=insufficient_quota"))
		text, err := read(c)
		if err != nil || !strings.HasPrefix(text, `{"type":"error","event_id":"`) || !strings.HasSuffix(text, ","+quota[1:]) || !json.Valid([]byte(text)) {
			t.Errorf("%s %v", text, err)
		}
		if _, err := read(c); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("then %v", err)
		}
	})
	for fault, code := range map[string]websocket.StatusCode{"close-frame": 1011, "close-frame;4429": 4429, "close-frame;1000": 1000} {
		t.Run(fault, func(t *testing.T) {
			c, status, _ := dial(t, faulty(t, fault))
			if _, err := read(c); status != 101 || websocket.CloseStatus(err) != code {
				t.Errorf("%d, %v", status, err)
			}
		})
	}
	t.Run("a close after the greeting", func(t *testing.T) {
		i := faulty(t, "close-frame;after=1")
		c, _, _ := dial(t, i)
		if text, err := read(c); err != nil || !strings.Contains(text, `"model":"gpt-realtime-2025-08-28"`) {
			t.Fatal(text, err)
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if _, err := read(c); websocket.CloseStatus(err) != websocket.StatusInternalError {
			t.Error(err)
		}
	})
	t.Run("a reset after the handshake", func(t *testing.T) {
		i := faulty(t, "reset-after-header")
		c, _, _ := dial(t, i)
		if _, err := read(c); err == nil || websocket.CloseStatus(err) >= 0 {
			t.Error(err)
		}
		await(t, "the record says so", func() bool { return i.Records()[0].Outcome == azuresim.OutcomeCut })
	})
	t.Run("silence after the handshake", func(t *testing.T) {
		i := faulty(t, "stall-first-byte")
		c, _, _ := dial(t, i)
		_ = c.CloseNow()
		await(t, "the client is gone", func() bool { return i.Records()[0].Aborted() })
	})
	t.Run("what cannot show itself in a session does not strike", func(t *testing.T) {
		for _, fault := range []string{"truncated", "malformed-json", "odd-end", "comments;1s", "status;500;only=plain", "status;500;only=stream"} {
			i := faulty(t, fault)
			if c, status, _ := dial(t, i); c == nil || i.Faults()[0].Fired != 0 {
				t.Errorf("%s: %d", fault, status)
			}
		}
	})
}

// An answer that takes minutes is worked on only while somebody waits for it.
func TestSlowAnswersEndWithTheirClient(t *testing.T) {
	embed := call{path: "/openai/deployments/vectors/embeddings?api-version=" + apiVersion, body: `{"input":"x"}`}
	for name, c := range map[string]call{"plain": {}, "stream": {body: helloEvent}, "embeddings": embed} {
		for _, fault := range []string{"", "slow;120s"} {
			t.Run(name+fault, func(t *testing.T) {
				i := one(t, func(c *azuresim.InstanceConfig) {
					for n := range c.Deployments {
						c.Deployments[n].Latency = &azuresim.Latency{FirstToken: 2 * time.Minute}
					}
				})
				if fault != "" {
					f, err := azuresim.ParseFault(fault)
					if err != nil {
						t.Fatal(err)
					}
					if err := i.SetFault(f); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					_, err := client(t).Do(c.request(t, i.URL()).WithContext(ctx))
					done <- err
				}()
				await(t, "it is asked", func() bool { return len(i.Records()) == 1 && i.Records()[0].Operation != "" })
				cancel()
				if err := <-done; err == nil {
					t.Error("answered")
				}
				await(t, "it ends", func() bool { return i.InFlight() == 0 })
				if r := i.Records()[0]; !r.Aborted() || r.HeadersSent {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// Every parameter has one name in JSON and in YAML.
func TestParametersAreNamedAlikeInJSONAndYAML(t *testing.T) {
	for n := range reflect.TypeFor[azuresim.Fault]().NumField() {
		field := reflect.TypeFor[azuresim.Fault]().Field(n)
		name := field.Tag.Get("yaml")
		value := map[string]string{
			"kind": `"hang"`, "only": `"plain"`, "error": `"server_error"`, "limit": `"tokens"`, "certificate": `"expired"`,
			"length": `"wrong"`, "end": `"missing"`, "share": "0.5",
		}[name]
		switch {
		case value != "":
		case field.Type == reflect.TypeFor[time.Duration]():
			value = `"7s"`
		case field.Type.Kind() == reflect.Int:
			value = "7"
		default:
			value = `"7"`
		}
		text := fmt.Sprintf(`{"kind": "hang", %q: %s}`, name, value)
		if name == "kind" {
			text = `{"kind": "hang"}`
		}
		var fromJSON, fromYAML, again azuresim.Fault
		if err := json.Unmarshal([]byte(text), &fromJSON); err != nil {
			t.Errorf("JSON %s: %v", text, err)
		}
		if err := yaml.Unmarshal([]byte(text), &fromYAML); err != nil {
			t.Errorf("YAML %s: %v", text, err)
		}
		if fromJSON != fromYAML || reflect.ValueOf(fromJSON).Field(n).IsZero() {
			t.Errorf("%s is %+v in JSON, %+v in YAML", name, fromJSON, fromYAML)
		}
		written, err := json.Marshal(fromJSON)
		if err != nil || !strings.Contains(string(written), `"`+name+`":`) || yaml.Unmarshal(written, &again) != nil || again != fromJSON {
			t.Errorf("%s is written %s, %v", name, written, err)
		}
	}
}
