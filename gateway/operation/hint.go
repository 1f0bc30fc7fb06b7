package operation

import (
	"maps"
	"slices"
	"strings"

	"github.com/stampgate/stampgate/gateway/refusal"
)

// bases are the two right ways to address a gateway.
const bases = "the base URL of a client for Azure OpenAI is the gateway's own address, to which it adds /openai/deployments/{route}/…?api-version=…; " +
	"that of a client for OpenAI is the gateway's address followed by /openai/v1/"

// noOperation is the answer to a path that is no operation. Most of them are base
// URLs with a part too few or too many, so that it says what is wrong with those.
// It repeats nothing of the path but our own words.
func noOperation(path string) *refusal.Error {
	what := wrongBase(path)
	if what == "" {
		what = "no such operation"
	}
	return notFound(what + ": " + bases)
}

// wrongBase says which base URL a path was made with, "" if no wrong one shows.
func wrongBase(path string) string {
	switch {
	case path == "/v1" || strings.HasPrefix(path, "/v1/"):
		return "the path lacks /openai before /v1"
	case strings.Count(path, "/openai/") > 1 || strings.Contains(path, "/openai/openai"):
		return "the path has /openai twice"
	case strings.Contains(path, "/v1/v1"):
		return "the path has /v1 twice"
	case strings.Contains(path, "/v1/deployments/"):
		return "the path has both /v1 and /deployments, which are two ways to name a route"
	case strings.Count(path, "/deployments/") > 1:
		return "the path has /deployments twice"
	case strings.HasPrefix(path, "/deployments/"):
		return "the path lacks /openai before /deployments"
	case strings.HasPrefix(path, "/openai/chat/"), strings.HasPrefix(path, "/openai/completions"), strings.HasPrefix(path, "/openai/embeddings"):
		return "the path lacks /v1, or /deployments/{route}, behind /openai"
	case !strings.HasPrefix(path, "/openai"):
		return "the path lacks /openai/v1, or /openai/deployments/{route}"
	case strings.HasSuffix(path, "/"):
		return "the path ends in a slash, or lacks what is to follow it"
	}
	return ""
}

// otherMethod is the answer to a path that is an operation by another method.
func otherMethod(n *node, path string) *refusal.Error {
	if len(n.methods) == 0 || wrongBase(path) != "" {
		return noOperation(path)
	}
	return notFound("this path is called by " + strings.Join(slices.Sorted(maps.Keys(n.methods)), " or ") + " alone: " + bases)
}
