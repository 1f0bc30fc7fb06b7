package operation

import (
	"errors"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/refusal"
)

// A base URL with a part too few or too many is told as such, with the two right
// ones, and nothing of the path is repeated.
func TestAWrongBaseURLIsToldWithTheRightOnes(t *testing.T) {
	for request, want := range map[string]string{
		"POST /v1/chat/completions":                                           "lacks /openai before /v1",
		"POST /chat/completions":                                              "lacks /openai/v1",
		"POST /openai/chat/completions":                                       "lacks /v1, or /deployments/{route}",
		"POST /openai/openai/deployments/canary/chat/completions":             "/openai twice",
		"POST /openai/v1/openai/deployments/canary/chat/completions":          "/openai twice",
		"POST /openai/v1/v1/chat/completions":                                 "/v1 twice",
		"POST /openai/v1/deployments/canary/chat/completions":                 "both /v1 and /deployments",
		"POST /openai/deployments/canary/deployments/canary/chat/completions": "/deployments twice",
		"POST /deployments/canary/chat/completions":                           "lacks /openai before /deployments",
		"POST /openai/deployments/canary":                                     "no such operation",
		"POST /openai/v1/chat/completions/":                                   "ends in a slash",
		"POST /openai/v1":                                                     "",
		"POST /":                                                              "",
		"GET /openai/deployments/canary/chat/completions":                     "called by POST alone",
		"GET /openai/v1/embeddings":                                           "called by POST alone",
		"POST /openai/v1/models":                                              "called by GET alone",
		"POST //openai/v1/chat/completions":                                   "empty segment",
		"POST /openai/v1//chat/completions":                                   "empty segment",
	} {
		method, path, _ := strings.Cut(request, " ")
		_, err := Recognise(method, path, "api-version=2024-10-21")
		e, ok := errors.AsType[*refusal.Error](err)
		if !ok || e.Reply().Status != 404 && e.Reply().Status != 400 {
			t.Errorf("%s: %v", request, err)
			continue
		}
		if !strings.Contains(e.Message, want) || strings.Contains(e.Message, "canary") {
			t.Errorf("%s: %q, want it to say %q", request, e.Message, want)
		}
		for _, base := range []string{"/openai/deployments/{route}/", "/openai/v1/"} {
			if !strings.Contains(e.Message, base) {
				t.Errorf("%s: %q does not name the base URL %s", request, e.Message, base)
			}
		}
	}
}
