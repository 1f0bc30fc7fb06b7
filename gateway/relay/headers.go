package relay

import (
	"net/http"
	"strings"

	"github.com/stampgate/stampgate/gateway/message"
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

// toBackend copies the client's fields that go on to a backend.
func toBackend(dst http.Header, src message.Header) {
	for _, f := range src {
		if forwardedToBackend(f.Name) {
			dst[f.Name] = append(dst[f.Name], f.Value)
		}
	}
}

// toClient adds the fields of an answer that go on to the client.
func toClient(dst message.Header, src http.Header) message.Header {
	for name, values := range src {
		if !forwardedToClient(name) {
			continue
		}
		for _, value := range values {
			dst = dst.Add(name, value)
		}
	}
	return dst
}
