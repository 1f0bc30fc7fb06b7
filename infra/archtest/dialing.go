package archtest

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// opensConnections lists, for each package, the names that open connections or
// build something that does.
func opensConnections() map[string][]string {
	return map[string][]string{
		"net": {
			"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer",
			"LookupHost", "LookupIP", "LookupAddr", "Resolver", "DefaultResolver",
		},
		"net/http":                   {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"},
		"crypto/tls":                 {"Dial", "DialWithDialer", "Dialer", "Client"},
		"net/rpc":                    {"Dial", "DialHTTP"},
		"github.com/coder/websocket": {"Dial"},
		"golang.org/x/net/websocket": {"Dial"},
		"golang.org/x/net/proxy":     {"Dial", "FromEnvironment"},
		"google.golang.org/grpc":     {"Dial", "DialContext", "NewClient"},
	}
}

// dialers are the folders of the gateway that may open connections, with the
// reason. Everything else goes through the fenced dialer.
func dialers() map[string]string {
	return map[string]string{
		"gateway/upstream": "holds the fenced dialer",
	}
}

// CheckDialing reports places in the gateway, and in the pure packages, that open
// a connection past the fenced dialer. It is given the Go sources by path; tests are not looked at.
func CheckDialing(sources map[string]string) []string {
	return checkDialing(sources, dialers())
}

func checkDialing(sources, exceptions map[string]string) []string {
	var wrong []string
	used := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(sources)) {
		if !within(file, "gateway") && !isPure(path.Dir(file)) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		found, err := uses(file, sources[file], opensConnections(), "opens connections past the fenced dialer")
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		if folder := path.Dir(file); exceptions[folder] != "" {
			used[folder] = used[folder] || len(found) > 0
			continue
		}
		wrong = append(wrong, found...)
	}
	for _, folder := range slices.Sorted(maps.Keys(exceptions)) {
		if !used[folder] {
			wrong = append(wrong, folder+": may open connections but does not: take it off the list")
		}
	}
	return wrong
}
