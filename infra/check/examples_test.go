package check_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/membership"
)

// An example is a commented file beside the code that reads it.
type example struct {
	file string
	of   reflect.Type
	// read returns what the text amounts to. Two texts that mean the same give equal
	// values.
	read func(text []byte) (any, error)
}

func examples() []example {
	return []example{
		{"gateway/example.yaml", reflect.TypeFor[gateway.Config](), func(text []byte) (any, error) {
			cfg, err := gateway.ParseConfig(text)
			if err != nil {
				return nil, err
			}
			err = cfg.Validate()
			// What these are where nothing is written is said by geo.NewFence and by
			// membership.
			orElse(&cfg.Residency.Processing, geo.InBoundary)
			orElse(&cfg.Residency.RegionalProcessing, geo.InGeography)
			orElse(&cfg.Gossip.Listen, membership.DefaultListen)
			return cfg, err
		}},
		{"controlplane/example.yaml", reflect.TypeFor[controlplane.Config](), func(text []byte) (any, error) {
			return controlplane.ParseConfig(text)
		}},
		{"controlplane/policy/example.yaml", reflect.TypeFor[policy.Document](), func(text []byte) (any, error) {
			s, err := compiled(text)
			if err != nil {
				return nil, err
			}
			return meaning(s), nil
		}},
	}
}

func orElse[T ~string](field *T, otherwise T) {
	if *field == "" {
		*field = otherwise
	}
}

func compiled(text []byte) (*policy.Snapshot, error) {
	doc, err := policy.Decode(text)
	if err != nil {
		return nil, err
	}
	faults, warnings := policy.Validate(doc, policy.Options{})
	if len(warnings) > 0 {
		return nil, fmt.Errorf("%v %v", faults, warnings)
	}
	return policy.Compile(doc, policy.Options{})
}

// meaning is what a gateway does with a policy, as far as a document may leave it
// out.
func meaning(s *policy.Snapshot) []string {
	var all []string
	for r := range s.Routes() {
		all = append(all, exported(*r))
	}
	for t := range s.Targets() {
		all = append(all, exported(*t))
	}
	for _, region := range []geo.RegionID{"swedencentral", "westeurope"} {
		if r, ok := s.Stamp(region); ok {
			// Left out and written are the same to those who ask.
			fall := r.FallbackOn == "" || r.FallbackOn == policy.FallbackOnAny
			all = append(all, fmt.Sprint(region, r.Fallback, fall, r.Health.OnlyPassive == policy.Fail, r.Health.AllThrottled == policy.Fail))
		}
	}
	return append(all, fmt.Sprint(s.References().All(), s.DebugHeaders(), s.Boundary()))
}

// exported prints the plain fields of a struct, without its credential, which is
// behind a pointer and has no defaults.
func exported(v any) string {
	var b strings.Builder
	for field, value := range reflect.ValueOf(v).Fields() {
		if field.IsExported() && !field.Anonymous && field.Name != "Credential" {
			fmt.Fprintf(&b, "%s=%+v ", field.Name, value.Interface())
		}
	}
	return b.String()
}

func text(t *testing.T, file string) []byte {
	t.Helper()
	out, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each example can be used as it is, names every key there is, and the values
// that it calls defaults are what is taken without them.
func TestExamples(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.file, func(t *testing.T) {
			source := text(t, e.file)
			whole, err := e.read(source)
			if err != nil {
				t.Fatal(err)
			}
			named := map[string]bool{}
			namesIn(parsed(t, uncommented(source)), "", named)
			for _, key := range slices.Sorted(maps.Keys(keysOf(e.of, ""))) {
				if !named[key] {
					t.Errorf("the key %s is not there", key)
				}
			}
			bare := parsed(t, source)
			if n := withoutDefaults(bare); n == 0 {
				t.Fatal("no defaults were found")
			}
			less, err := yaml.Marshal(bare)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.read(less)
			if err != nil {
				t.Fatalf("without what it calls defaults: %v", err)
			}
			if !reflect.DeepEqual(got, whole) {
				t.Errorf("without what it calls defaults it is\n%+v\nand with them\n%+v", got, whole)
			}
		})
	}
}

// A default that is not one is found.
func TestAWrongDefaultInAnExampleIsFound(t *testing.T) {
	for _, e := range examples() {
		source := string(text(t, e.file))
		for right, wrong := range map[string]string{
			"notice: 20s ": "notice: 21s ", "allowLoopbackBackends: false": "allowLoopbackBackends: true",
			"max: 3 ": "max: 4 ", "onModelMismatch: avoid": "onModelMismatch: alarm", "allThrottled: warn": "allThrottled: fail",
		} {
			if !strings.Contains(source, right) {
				continue
			}
			changed := []byte(strings.Replace(source, right, wrong, 1))
			whole, err := e.read(changed)
			if err != nil {
				t.Fatal(err)
			}
			bare := parsed(t, changed)
			withoutDefaults(bare)
			less, err := yaml.Marshal(bare)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.read(less); err != nil || reflect.DeepEqual(got, whole) {
				t.Errorf("%s: %q: %v, want a difference", e.file, wrong, err)
			}
		}
	}
}

func parsed(t *testing.T, source []byte) *yaml.Node {
	t.Helper()
	n := new(yaml.Node)
	if err := yaml.Unmarshal(source, n); err != nil {
		t.Fatal(err)
	}
	return n
}

// uncommented is the text with the keys that stand in a comment, for what cannot
// stand beside another key: "# file: …".
func uncommented(source []byte) []byte {
	return regexp.MustCompile(`(?m)^( *)# ((?:- \{|[a-zA-Z]+: )[^…\n]*)$`).ReplaceAll(source, []byte("$1$2"))
}

// namesIn collects the paths of all keys, without the indexes of lists. Keys of a
// map that the writer chooses are left out of paths by keysOf, and so here.
func namesIn(n *yaml.Node, path string, named map[string]bool) {
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			namesIn(child, path, named)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := path + "." + n.Content[i].Value
		named[key] = true
		namesIn(n.Content[i+1], key, named)
		namesIn(n.Content[i+1], path+".*", named) // it may be a name of the writer's
	}
}

// keysOf collects the paths of all keys that a type has in YAML.
func keysOf(t reflect.Type, path string) map[string]bool {
	all := map[string]bool{}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return keysOf(t.Elem(), path)
	case reflect.Map:
		return keysOf(t.Elem(), path+".*")
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" || name == "-" {
				continue
			}
			all[path+"."+name] = true
			maps.Copy(all, keysOf(f.Type, path+"."+name))
		}
	default: // a scalar has no keys
	}
	return all
}

// withoutDefaults takes out every key whose comment calls its value a default, and
// says how many there were.
func withoutDefaults(n *yaml.Node) (count int) {
	n.HeadComment, n.FootComment = "", ""
	defer func() { n.LineComment = "" }() // the caller has read it
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			count += withoutDefaults(child)
		}
		return count
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if strings.HasPrefix(value.LineComment, "# default") {
			count++
			continue
		}
		count += withoutDefaults(key) + withoutDefaults(value)
		kept = append(kept, key, value)
	}
	n.Content = kept
	return count
}
