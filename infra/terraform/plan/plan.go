// Package plan reads what Terraform would build and judges it: is anything
// public, does anything answer to a key, may anything leave the boundary, and who
// may talk to whom.
//
// A Plan comes from `terraform test`, with a mocked provider: neither Azure nor
// its credentials are needed. The judgement is a function of plans, so that a
// fixture can show for every rule that it bites. Only tests use the package; it
// never applies anything.
package plan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Plan is what one run of a configuration would create.
type Plan struct {
	Resources []Resource
	Outputs   map[string]any // what is known of them before anything exists
	Unknown   map[string]any // where true stands for what is not
}

// A Resource is one of a plan. What Azure decides later is not in Values.
type Resource struct {
	Address string
	Type    string
	Index   string // its key under for_each
	Values  map[string]any
}

// line is a line of `terraform test -json -verbose`.
type line struct {
	Type    string    `json:"type"`
	Run     string    `json:"@testrun"`
	Message string    `json:"@message"`
	Plan    *testPlan `json:"test_plan"`
	Result  *struct {
		Status string `json:"status"`
	} `json:"test_run"`
	Diagnostic *struct {
		Severity string `json:"severity"`
		Summary  string `json:"summary"`
		Detail   string `json:"detail"`
	} `json:"diagnostic"`
}

type testPlan struct {
	Outputs map[string]struct {
		After   any `json:"after"`
		Unknown any `json:"after_unknown"`
	} `json:"output_changes"`
	Resources []struct {
		Address string `json:"address"`
		Type    string `json:"type"`
		Index   any    `json:"index"`
		Change  struct {
			Actions []string       `json:"actions"`
			After   map[string]any `json:"after"`
		} `json:"change"`
	} `json:"resource_changes"`
}

// maxLine bounds a line of Terraform's output: a plan repeats the provider's
// whole schema.
const maxLine = 64 << 20

// Parse reads the output of `terraform test -json -verbose`: the plans by the
// names of their runs, and the runs that did not pass, with what Terraform says.
func Parse(out []byte) (plans map[string]*Plan, failed []string, err error) {
	plans = map[string]*Plan{}
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		var l line
		if json.Unmarshal(scan.Bytes(), &l) != nil {
			continue // Terraform mixes in text when its own configuration is broken
		}
		switch {
		case l.Plan != nil:
			plans[l.Run] = l.Plan.read()
		case l.Result != nil && slices.Contains([]string{"fail", "error", "skip"}, l.Result.Status):
			failed = append(failed, l.Run+": "+l.Result.Status)
		case l.Diagnostic != nil && l.Diagnostic.Severity == "error":
			failed = append(failed, strings.Join(strings.Fields(l.Run+": "+l.Diagnostic.Summary+": "+l.Diagnostic.Detail), " "))
		}
	}
	if err := scan.Err(); err != nil {
		return nil, nil, fmt.Errorf("read terraform's output: %w", err)
	}
	return plans, failed, nil
}

func (t *testPlan) read() *Plan {
	p := &Plan{Outputs: map[string]any{}, Unknown: map[string]any{}}
	for name, o := range t.Outputs {
		p.Outputs[name], p.Unknown[name] = o.After, o.Unknown
	}
	for _, r := range t.Resources {
		if !slices.Contains(r.Change.Actions, "create") {
			continue
		}
		index, _ := r.Index.(string)
		p.Resources = append(p.Resources, Resource{r.Address, r.Type, index, r.Change.After})
	}
	return p
}

// Of returns the resources of a type.
func (p *Plan) Of(kind string) []Resource {
	var some []Resource
	for _, r := range p.Resources {
		if r.Type == kind {
			some = append(some, r)
		}
	}
	return some
}

// Text is a value as text; empty if it is absent, or not known yet.
func (r Resource) Text(name string) string {
	s, _ := r.Values[name].(string)
	return s
}

// Is reports whether the value is known and as given.
func (r Resource) Is(name string, want any) bool {
	got, ok := r.Values[name]
	return ok && got == want
}

// Texts is a value that is a list or set of texts.
func (r Resource) Texts(name string) []string { return texts(r.Values[name]) }

func texts(v any) []string {
	var all []string
	list, _ := v.([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// Blocks are the nested blocks of a name.
func (r Resource) Blocks(name string) []Resource {
	var all []Resource
	list, _ := r.Values[name].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			all = append(all, Resource{Address: r.Address + "." + name, Values: m})
		}
	}
	return all
}

// Shape tells where an output has what: the paths of its attributes, known or
// not. Two layers fit when the shapes of what one gives and the other takes agree.
func (p *Plan) Shape(output string) []string {
	seen := map[string]bool{}
	paths(output, p.Outputs[output], seen)
	paths(output, p.Unknown[output], seen)
	return slices.Sorted(maps.Keys(seen))
}

// Shape of a plain value.
func Shape(name string, v any) []string {
	seen := map[string]bool{}
	paths(name, v, seen)
	return slices.Sorted(maps.Keys(seen))
}

func paths(at string, v any, seen map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			paths(at+"."+key, inner, seen)
		}
	case []any:
		for _, inner := range v {
			paths(at+"[]", inner, seen)
		}
	case bool:
		if v { // unknown
			seen[at] = true
		}
	case nil:
	default:
		seen[at] = true
	}
}
