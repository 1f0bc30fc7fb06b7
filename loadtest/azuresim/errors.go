package azuresim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// An answer is a complete reply that is not a stream.
type answer struct {
	status int
	body   string
	header map[string]string // beside the ones that every answer has
}

// plainError is the short form of Azure's front: a code and a message.
func plainError(status int, code, message string) *answer {
	return &answer{status: status, body: `{"error":{"code":` + quote(code) + `,"message":` + quote(message) + `}}`}
}

// modelError is the form of the layer that runs the model. A code of "" is null.
func modelError(status int, message, kind, param, code string) *answer {
	return &answer{status: status, body: modelErrorBody(message, kind, param, code)}
}

func modelErrorBody(message, kind, param, code string) string {
	return `{"error":{"message":` + quote(message) + `,"type":` + quote(kind) +
		`,"param":` + quoteOrNull(param) + `,"code":` + quoteOrNull(code) + `}}`
}

// quote writes a JSON string without escaping what HTML would mind.
func quote(s string) string {
	plain := true
	for n := range len(s) {
		if c := s[n]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return `"` + s + `"`
	}
	return string(mustJSON(s))
}

func quoteOrNull(s string) string {
	if s == "" {
		return "null"
	}
	return quote(s)
}

// mustJSON is for values that cannot fail to encode.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("azuresim encodes only its own plain values: " + err.Error())
	}
	return b
}

func badKey() *answer {
	return plainError(http.StatusUnauthorized, "401", "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.")
}

// badToken's text is documented, its code is not.
func badToken() *answer {
	return plainError(http.StatusUnauthorized, "Unauthorized", "Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired.")
}

// noRole is what a valid token without a role assignment gets: a 401, not 403.
func noRole() *answer {
	return plainError(http.StatusUnauthorized, "PermissionDenied", "Principal does not have access to API/Operation.")
}

func keysDisabled() *answer {
	return plainError(http.StatusForbidden, "AuthenticationTypeDisabled", "Key based authentication is disabled for this resource.")
}

func networkDenied() *answer {
	return plainError(http.StatusForbidden, "403", "Access denied due to Virtual Network/Firewall rules.")
}

func resourceNotFound() *answer {
	return plainError(http.StatusNotFound, "404", "Resource not found")
}

func deploymentNotFound(v1 bool) *answer {
	const head = `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."`
	if v1 {
		return &answer{status: http.StatusNotFound, body: head + `,"type":"invalid_request_error"}}`}
	}
	return &answer{status: http.StatusNotFound, body: head + `}}`}
}

func operationNotSupported(operation, model string) *answer {
	return plainError(http.StatusBadRequest, "OperationNotSupported", "The "+operation+" operation does not work with the specified model, "+model+
		". Please choose different model and try again. You can learn more about which models can be used with each operation here: https://go.microsoft.com/fwlink/?linkid=2197993.")
}

func badJSON() *answer {
	return modelError(http.StatusBadRequest, "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)", "invalid_request_error", "", "")
}

func missingParameter(name string) *answer {
	return modelError(http.StatusBadRequest, "Missing required parameter: '"+name+"'.", "invalid_request_error", name, "missing_required_parameter")
}

func invalidParameter(name, message string) *answer {
	return modelError(http.StatusBadRequest, message, "invalid_request_error", name, "invalid_value")
}

func tooLarge(bytesRead int64) *answer {
	return modelError(http.StatusRequestEntityTooLarge,
		fmt.Sprintf("Maximum content size limit (%d) exceeded (%d bytes read)", maxBodyBytes, bytesRead), "server_error", "", "")
}

// overloaded is seen with status 500 and 503, and inside a stream after a 200.
func overloaded(requestID string) string {
	return modelErrorBody("That model is currently overloaded with other requests. You can retry your request, or contact us through an Azure support request at: https://go.microsoft.com/fwlink/?linkid=2213926 if the error persists. (Please include the request ID "+requestID+" in your message.)", "server_error", "", "")
}

// statusAnswer is Azure's body for a status that a fault asks for.
func statusAnswer(status int, requestID string) *answer {
	switch status {
	case http.StatusGone:
		return retired()
	case http.StatusBadRequest:
		return modelError(status, "Invalid value for parameter.", "invalid_request_error", "", "invalid_value")
	case http.StatusUnauthorized:
		return badKey()
	case http.StatusForbidden:
		return networkDenied()
	case http.StatusNotFound:
		return resourceNotFound()
	case http.StatusRequestTimeout:
		return plainError(status, "Timeout", "The operation was timeout.")
	case http.StatusRequestEntityTooLarge:
		return tooLarge(maxBodyBytes + 1)
	case http.StatusUnprocessableEntity:
		return modelError(status, "The request was well-formed but could not be processed.", "invalid_request_error", "", "unprocessable_entity")
	case http.StatusInternalServerError:
		return &answer{status: status, body: overloaded(requestID)}
	case http.StatusBadGateway:
		return plainError(status, "502", "Bad gateway")
	case http.StatusServiceUnavailable:
		return plainError(status, "ServiceUnavailable", "The service is temporarily unable to process your request. Please try again later.")
	case http.StatusGatewayTimeout:
		return plainError(status, "504", "Gateway timeout")
	}
	return plainError(status, strconv.Itoa(status), cmp.Or(http.StatusText(status), oddStatusText(status)))
}

// oddStatusText names the statuses that fronts send and no standard knows.
func oddStatusText(status int) string {
	switch status {
	case 449:
		return "Retry With"
	case 499:
		return "Client Closed Request"
	case 529:
		return "Site Overloaded"
	}
	return "Status " + strconv.Itoa(status)
}

// throttled is the 429 of a standard deployment: limit is "token" or "call".
func throttled(operation, apiVersion, limit string, wait time.Duration) *answer {
	secs := wholeSeconds(wait)
	return plainError(http.StatusTooManyRequests, "429",
		"Requests to the "+operation+" Operation under Azure OpenAI API version "+apiVersion+" have exceeded "+limit+
			" rate limit of your current OpenAI S0 pricing tier. Please retry after "+plural(secs, "second")+
			". Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.")
}

// atCapacity is the 429 of a region with too little capacity.
func atCapacity(wait time.Duration) *answer {
	return plainError(http.StatusTooManyRequests, "429",
		"The system is currently experiencing high demand and cannot process your request. Your request exceeds the maximum usage size allowed during peak load. Please retry after "+
			plural(wholeSeconds(wait), "second")+". For improved latency reliability, consider switching to Provisioned Throughput.")
}

// provisionedFull is the 429 of a full provisioned deployment. Its exact text
// is not documented; clients must go by the status and the headers.
func provisionedFull(operation, apiVersion string, wait time.Duration) *answer {
	return plainError(http.StatusTooManyRequests, "429",
		"Requests to the "+operation+" Operation under Azure OpenAI API version "+apiVersion+
			" have exceeded the provisioned throughput of this deployment. Please retry after "+plural(wholeSeconds(wait), "second")+".")
}

// wholeSeconds rounds up, and to one second at least.
func wholeSeconds(d time.Duration) int {
	return max(1, int(math.Ceil(d.Seconds())))
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}
