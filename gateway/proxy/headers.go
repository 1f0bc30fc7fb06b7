package proxy

import (
	"net/http"
	"strings"
)

// forwardedToBackend names the client's headers that go on to a backend, in canonical
// form. All else stops here, above all credentials, x-ms-spillover-deployment
// (it could name a deployment outside the boundary) and hop-by-hop headers.
func forwardedToBackend(name string) bool {
	switch name {
	case "Content-Type", "Accept", "Openai-Beta", "Aoai-Evals", "X-Ms-Client-Request-Id",
		"X-Policy-Id": // the content filter that Azure is to use for this call
		return true
	}
	return false
}

// forwardedToClient says which headers of an answer go on to the client: those
// of Azure OpenAI that describe the answer. Cookies, redirects and everything
// about the connection do not.
func forwardedToClient(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control",
		"Retry-After", "Retry-After-Ms", "Apim-Request-Id", "X-Accel-Buffering":
		return true
	}
	for _, prefix := range [...]string{"X-Ratelimit-", "X-Ms-", "Openai-", "Azureml-", "Azure-Openai-", "Ms-Azureml-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// passOn copies the headers of src that allow admits into dst.
func passOn(dst, src http.Header, allow func(name string) bool) {
	for name, values := range src {
		if allow(name) {
			dst[name] = values
		}
	}
}
