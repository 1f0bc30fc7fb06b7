package azuresim

import (
	"net/http"
	"net/url"
	"strings"
)

// An operation is a row of the table of what an instance can do. Another
// operation is another row.
type operation struct {
	name   string // Azure's name for it, as in records and in throttling texts
	method string
	dated  string // path below /openai that needs api-version; empty: none
	v1     string // path below /openai/v1; empty: none
	// capability is what the model must be able to do; empty: no deployment
	// takes part. It is also the word of Azure's OperationNotSupported.
	capability capability
	// upgrade: a WebSocket, whose deployment is in the query and which has no body.
	upgrade bool
	serve   func(*exchange)
}

// A capability is a kind of work a model does.
type capability string

// The names are those that Azure's error texts use.
const (
	canChat     capability = "chatCompletion"
	canComplete capability = "completion"
	canEmbed    capability = "embeddings"
	canRealtime capability = "realtime"
)

// capabilityOf guesses from a model's name what it does, as names go in Azure.
func capabilityOf(model string) capability {
	switch {
	case strings.Contains(model, "realtime"):
		return canRealtime
	case strings.Contains(model, "embedding"):
		return canEmbed
	case strings.Contains(model, "instruct"), strings.Contains(model, "davinci"), strings.Contains(model, "babbage"):
		return canComplete
	}
	return canChat
}

// operations is the table. {deployment} stands for the deployment in the path,
// {id} for one segment that serve may look at.
func operations() []operation {
	return []operation{
		{
			name: "ChatCompletions_Create", method: http.MethodPost, capability: canChat,
			dated: "/deployments/{deployment}/chat/completions", v1: "/chat/completions", serve: serveChat,
		},
		{
			name: "Completions_Create", method: http.MethodPost, capability: canComplete,
			dated: "/deployments/{deployment}/completions", v1: "/completions", serve: serveCompletion,
		},
		{
			name: "Embeddings_Create", method: http.MethodPost, capability: canEmbed,
			dated: "/deployments/{deployment}/embeddings", v1: "/embeddings", serve: serveEmbeddings,
		},
		{
			name: "Realtime_Connect", method: http.MethodGet, capability: canRealtime, upgrade: true,
			dated: "/realtime", v1: "/realtime", serve: serveRealtime,
		},
		{name: "Models_List", method: http.MethodGet, dated: "/models", v1: "/models", serve: serveModels},
		{name: "Models_Get", method: http.MethodGet, dated: "/models/{id}", v1: "/models/{id}", serve: serveModel},
	}
}

// A match is an operation found for a path.
type match struct {
	op         *operation // nil: none of Azure's
	v1         bool
	deployment string // from the path
	id         string
}

// find looks up a request in the table. Paths are compared as sent: Azure's
// front cleans nothing up and redirects nowhere.
func find(table []operation, method, escapedPath string) match {
	rest, ok := strings.CutPrefix(escapedPath, "/openai")
	if !ok {
		return match{}
	}
	v1rest, v1 := strings.CutPrefix(rest, "/v1")
	v1 = v1 && strings.HasPrefix(v1rest, "/")
	for n := range table {
		op := &table[n]
		pattern, path := op.dated, rest
		if v1 {
			pattern, path = op.v1, v1rest
		}
		if op.method != method || pattern == "" {
			continue
		}
		if m, ok := matchPath(pattern, path); ok {
			m.op, m.v1 = op, v1
			return m
		}
	}
	return match{v1: v1}
}

// matchPath compares segment by segment.
func matchPath(pattern, path string) (match, bool) {
	var m match
	for {
		var want, got string
		var more, moreGot bool
		want, pattern, more = strings.Cut(pattern, "/")
		got, path, moreGot = strings.Cut(path, "/")
		switch want {
		case "{deployment}", "{id}":
			value, err := url.PathUnescape(got)
			if err != nil || value == "" {
				return match{}, false
			}
			if want == "{id}" {
				m.id = value
			} else {
				m.deployment = value
			}
		default:
			if want != got {
				return match{}, false
			}
		}
		if more != moreGot {
			return match{}, false
		}
		if !more {
			return m, true
		}
	}
}
