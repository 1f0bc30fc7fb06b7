package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
)

// uses finds the uses, in one file, of what the table names of each package. Why
// says what is wrong with one.
func uses(file, source string, table map[string][]string, why string) ([]string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	var found []string
	names := map[string]string{} // what a package is called here → its path
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
			found = append(found, fmt.Sprintf("%s: imports %s with a dot, which hides what it uses", fset.Position(spec.Pos()), pkg))
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
			found = append(found, fmt.Sprintf("%s: %s.%s %s", fset.Position(sel.Pos()), names[x.Name], sel.Sel.Name, why))
		}
		return true
	})
	return found, nil
}
