package answer_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/gateway/throttle"
)

// The bodies are Azure's own, word by word.
const (
	tokenLimit     = `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-12-01-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 22 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."}}`
	highDemand     = `{"error":{"code":"429","message":"The system is currently experiencing high demand and cannot process your request. Your request exceeds the maximum usage size allowed during peak load. Please retry after 20 seconds. For improved latency reliability, consider switching to Provisioned Throughput."}}`
	noQuota        = `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`
	noDeployment   = `{"error":{"type":"invalid_request_error","code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}`
	noModel        = `{"error":{"message":"The model 'x' does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}`
	noResource     = `{"error":{"code":"404","message":"Resource not found"}}`
	wrongOperation = `{"error":{"code":"OperationNotSupported","message":"The embeddings operation does not work with the specified model, X. Please choose different model and try again. You can learn more about which models can be used with each operation here: https://go.microsoft.com/fwlink/?linkid=2197993."}}`
	badKey         = `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}`
	badToken       = `{"error":{"code":"Unauthorized","message":"Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired."}}`
	noRole         = `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`
	noDataAction   = "{\"error\":{\"code\":\"401\",\"message\":\"The principal `00000000-0000-0000-0000-000000000000` lacks the required data action `Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to perform `POST /openai/deployments/{deployment-id}/chat/completions` operation.\"}}"
	keysDisabled   = `{"error":{"code":"AuthenticationTypeDisabled","message":"Key based authentication is disabled for this resource."}}`
	firewall       = `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`
	filtered       = `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":true,"detected":true}}}}}`
	timedOut       = `{"error":{"code":"Timeout","message":"The operation was timeout."}}`
	overloaded     = `{"error":{"message":"That model is currently overloaded with other requests. You can retry your request, or contact us through an Azure support request at: https://go.microsoft.com/fwlink/?linkid=2213926 if the error persists.","type":"server_error","param":null,"code":null}}`
	unavailable    = `{"error":{"code":"503","message":"The service is temporarily unable to process your request"}}`
	tooLong        = `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	tooLargeAudio  = `{"error":{"message":"Maximum content size limit (26214400) exceeded (26214401 bytes read)","type":"server_error"}}`
)

func said(d time.Duration) throttle.Signals {
	return throttle.Signals{RetryAfter: d, HasRetryAfter: true}
}

func TestWhatAStatusMeans(t *testing.T) {
	none := throttle.Signals{}
	for _, tt := range []struct {
		why     string
		status  int
		body    string
		headers throttle.Signals
		want    targets.Kind
		wait    time.Duration // that comes back
	}{
		{"a limit, with the wait in its text alone", 429, tokenLimit, none, targets.Throttled, 22 * time.Second},
		{"the header outweighs the text", 429, tokenLimit, said(3 * time.Second), targets.Throttled, 3 * time.Second},
		{"a header that says now, too", 429, tokenLimit, said(0), targets.Throttled, 0},
		{"high demand", 429, highDemand, none, targets.Throttled, 20 * time.Second},
		{"a limit without a word", 429, "", none, targets.Throttled, 0},
		{"a limit of the front", 429, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 3 seconds."}`, none, targets.Throttled, 3 * time.Second},
		{"payment required", 402, "{}", none, targets.Throttled, time.Minute},
		{"no quota in a 402", 402, noQuota, none, targets.Throttled, time.Minute},
		{"no quota in a 429", 429, noQuota, said(time.Second), targets.Throttled, time.Minute},
		{"no quota, and a longer time", 429, noQuota, said(time.Hour), targets.Throttled, time.Hour},
		{"no quota in a 403", 403, noQuota, none, targets.Throttled, time.Minute},
		{"no quota in a 400", 400, noQuota, none, targets.Throttled, time.Minute},
		{"no quota in a 500", 500, noQuota, none, targets.Throttled, time.Minute},
		{"503 with a time", 503, unavailable, said(5 * time.Second), targets.Throttled, 5 * time.Second},
		{"503 with a time in its text", 503, highDemand, none, targets.Throttled, 20 * time.Second},
		{"503 without a time", 503, unavailable, none, targets.ServerError, 0},
		{"500", 500, overloaded, none, targets.ServerError, 0},
		{"500 with a time is no limit", 500, overloaded, said(time.Second), targets.ServerError, time.Second},
		{"502 of a balancer", 502, "<html>", none, targets.ServerError, 0},
		{"504", 504, "", none, targets.ServerError, 0},
		{"529", 529, "", none, targets.ServerError, 0},
		{"a status beyond HTTP", 777, "", none, targets.ServerError, 0},

		{"the client's prompt", 400, filtered, none, targets.Rejected, 0},
		{"the client's context", 400, tooLong, none, targets.Rejected, 0},
		{"the client's operation", 400, wrongOperation, none, targets.Rejected, 0},
		{"the client's api-version", 404, noResource, none, targets.Rejected, 0},
		{"the client's upload", 413, tooLargeAudio, none, targets.Rejected, 0},
		{"415", 415, "", none, targets.Rejected, 0},
		{"422", 422, "{}", none, targets.Rejected, 0},
		{"405", 405, "", none, targets.Rejected, 0},
		{"418", 418, "not JSON", none, targets.Rejected, 0},

		{"a bad key", 401, badKey, none, targets.IdentityRefused, 0},
		{"a bad token", 401, badToken, none, targets.IdentityRefused, 0},
		{"401 without a word", 401, "", none, targets.IdentityRefused, 0},
		{"a role that is missing", 401, noRole, none, targets.OperationForbidden, 0},
		{"a data action that is missing", 401, noDataAction, none, targets.OperationForbidden, 0},
		{"keys are disabled", 403, keysDisabled, none, targets.OperationForbidden, 0},
		{"a firewall", 403, firewall, none, targets.OperationForbidden, 0},
		{"a deployment that is missing", 404, noDeployment, none, targets.DeploymentMissing, 0},
		{"a model that is missing", 404, noModel, none, targets.Unfit, 0},
		{"a model that is retired", 410, "{}", none, targets.Retired, 0},
		{"gave up in time", 408, timedOut, none, targets.GaveUp, 0},
		{"a conflict", 409, "{}", none, targets.GaveUp, 0},
		{"a dependency", 424, "{}", none, targets.GaveUp, 0},
		{"421", 421, "", none, targets.Unfit, 0},
		{"425", 425, "", none, targets.Unfit, 0},
		{"449", 449, "", none, targets.Unfit, 0},
		{"499", 499, "", none, targets.Unfit, 0},
		{"a redirect", 302, "", none, targets.Unfit, 0},
		{"not modified", 304, "", none, targets.Unfit, 0},
		{"a switch of protocols", 101, "", none, targets.Broken, 0},
	} {
		kind, s := answer.ByStatus(tt.status, answer.ParseFault([]byte(tt.body)), tt.headers)
		if kind != tt.want || s.RetryAfter != tt.wait {
			t.Errorf("%s: kind %d, wait %v; want %d, %v", tt.why, kind, s.RetryAfter, tt.want, tt.wait)
		}
		if kind == targets.Rejected && !answer.PassedOn(tt.status) {
			t.Errorf("%s: it is the client's, but its body is not read", tt.why)
		}
	}
}

func TestWhatAnErrorWithoutAStatusMeans(t *testing.T) {
	for _, tt := range []struct {
		why, data string
		want      targets.Kind
		wait      time.Duration
	}{
		{"a content filter", filtered, targets.Rejected, 0},
		{"a content filter by its inner code alone", `{"error":{"code":"x","innererror":{"code":"ResponsibleAIPolicyViolation"}}}`, targets.Rejected, 0},
		{"a context too long", tooLong, targets.Rejected, 0},
		{"an invalid request", `{"error":{"type":"invalid_request_error","code":null}}`, targets.Rejected, 0},
		{"a limit", `{"error":{"code":"rate_limit_exceeded","message":"Please try again in 7s."}}`, targets.Throttled, 7 * time.Second},
		{"a limit by its number", tokenLimit, targets.Throttled, 22 * time.Second},
		{"Azure's newer limit", `{"error":{"code":"RateLimitReached"}}`, targets.Throttled, 0},
		{"no quota", noQuota, targets.Throttled, time.Minute},
		{"an overload", overloaded, targets.ServerError, 0},
		{"an error of any other kind", `{"error":{"message":"what"}}`, targets.ServerError, 0},
		{"a sentence", `{"error":"what"}`, targets.ServerError, 0},
		{"an empty error", `{"error":{}}`, targets.ServerError, 0},
		{"503 by its number", unavailable, targets.ServerError, 0},
		{"400 by its number", `{"error":{"code":"400","message":"no"}}`, targets.Rejected, 0},
		{"a number that is not a string", `{"error":{"code":429}}`, targets.Throttled, 0},
		{"a missing deployment in spite of its type", noDeployment, targets.DeploymentMissing, 0},
		{"a missing model in spite of its type", noModel, targets.Unfit, 0},
		{"an event of responses", `{"type":"error","code":"rate_limit_exceeded","message":"x","param":null,"sequence_number":1}`, targets.Throttled, 0},
		{"a response that failed", `{"type":"response.failed","response":{"id":"r","error":{"code":"invalid_prompt","message":"x"}}}`, targets.Rejected, 0},
		{"a response that failed for the server", `{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}`, targets.ServerError, 0},
		{"a message of a session", `{"type":"error","event_id":"e","error":{"type":"invalid_request_error","code":"invalid_value","message":"x"}}`, targets.Rejected, 0},
		{"not JSON", "<html>", targets.ServerError, 0},
		{"a beginning", filtered[:300], targets.ServerError, 0},
	} {
		kind, s := answer.ByFault(answer.ParseFault([]byte(tt.data)), throttle.Signals{})
		if kind != tt.want || s.RetryAfter != tt.wait {
			t.Errorf("%s: kind %d, wait %v; want %d, %v", tt.why, kind, s.RetryAfter, tt.want, tt.wait)
		}
	}
}

// Whatever a backend sends, it means something, and its wait is bounded.
func TestHostileAnswersMeanSomething(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
		if rapid.Bool().Draw(t, "json") {
			body = []byte(`{"error":{"code":` + rapid.SampledFrom([]string{`"429"`, `1e999`, `"\ud83d"`, `[`, `null`, `-0`, `"99999999999999999999"`}).Draw(t, "code") +
				`,"message":"Please retry after ` + rapid.String().Draw(t, "wait") + `"` + string(body))
		}
		f := answer.ParseFault(body)
		for _, judge := range []func() (targets.Kind, throttle.Signals){
			func() (targets.Kind, throttle.Signals) {
				return answer.ByStatus(rapid.IntRange(-1, 1000).Draw(t, "status"), f, throttle.Signals{})
			},
			func() (targets.Kind, throttle.Signals) { return answer.ByFault(f, throttle.Signals{}) },
		} {
			if kind, s := judge(); kind > targets.LocalFault || s.RetryAfter < 0 || s.RetryAfter > throttle.MaxWait {
				t.Fatalf("kind %d, signals %+v", kind, s)
			}
		}
	})
}

func FuzzParseFault(f *testing.F) {
	for _, seed := range []string{filtered, tokenLimit, `{"error":"x"}`, `{"response":{"error":{}}}`, "", "\xff", `{"error":{"code":"\u0000`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fault := answer.ParseFault(body)
		for _, s := range []string{fault.Code, fault.Type, fault.Param, fault.Message, fault.Inner} {
			if len(s) > 4<<10 {
				t.Fatalf("a text of %d bytes", len(s))
			}
		}
	})
}
