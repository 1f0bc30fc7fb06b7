package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
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
		found, err := dials(file, sources[file])
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

// dials finds the uses of what opensConnections names in one file.
func dials(file, source string) ([]string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	var found []string
	names := map[string]string{} // what a package is called here → its path
	table := opensConnections()
	for _, spec := range f.Imports {
		pkg, err := strconv.Unquote(spec.Path.Value)
		if err != nil || table[pkg] == nil {
			continue
		}
		name := path.Base(pkg)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			found = append(found, fmt.Sprintf("%s: imports %s with a dot, which hides what it dials", fset.Position(spec.Pos()), pkg))
		}
		names[name] = pkg
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if ok && slices.Contains(table[names[x.Name]], sel.Sel.Name) {
			found = append(found, fmt.Sprintf("%s: %s.%s opens connections past the fenced dialer",
				fset.Position(sel.Pos()), names[x.Name], sel.Sel.Name))
		}
		return true
	})
	return found, nil
}
