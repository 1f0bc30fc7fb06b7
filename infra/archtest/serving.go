package archtest

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// servesHTTP lists, for each package, the names that belong to a server of HTTP or
// tie a request to one.
func servesHTTP() map[string][]string {
	return map[string][]string{
		"net/http": {
			"ResponseWriter", "Handler", "HandlerFunc", "Server", "Hijacker", "Flusher", "ResponseController", "NewResponseController",
			"ServeMux", "NewServeMux", "DefaultServeMux", "Handle", "HandleFunc", "Serve", "ServeTLS", "ListenAndServe", "ListenAndServeTLS",
			"Error", "NotFound", "Redirect", "MaxBytesReader", "MaxBytesHandler", "TimeoutHandler", "StripPrefix",
			"ServeFile", "ServeContent", "FileServer", "SetCookie", "ServerContextKey", "ErrAbortHandler",
		},
		"github.com/coder/websocket": {"Accept"}, // of a ResponseWriter
	}
}

// servers are the folders of the gateway, and the files, that see a server of
// HTTP. What serves requests gets them as values of the package message.
func servers() []string {
	return []string{
		"gateway", "gateway/edge", "gateway/health", "gateway/admin",
		"gateway/relay/websocket.go", // the library that accepts upgrades knows nothing else
	}
}

// CheckServing reports places in the gateway that see a server of HTTP and are not
// among those that may. It is given the Go sources by path; tests are not looked at.
func CheckServing(sources map[string]string) []string {
	var wrong []string
	needed := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(sources)) {
		if !within(file, "gateway") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		found, err := uses(file, sources[file], servesHTTP(), "belongs to a server of HTTP: take a request as a message")
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		for _, place := range []string{file, path.Dir(file)} {
			if slices.Contains(servers(), place) {
				needed[place] = needed[place] || len(found) > 0
				found = nil
			}
		}
		wrong = append(wrong, found...)
	}
	for _, place := range slices.Sorted(maps.Keys(needed)) {
		if !needed[place] {
			wrong = append(wrong, place+": may see a server of HTTP but does not: take it off the list")
		}
	}
	return wrong
}
