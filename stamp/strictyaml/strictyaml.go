// Package strictyaml reads the YAML that people write by hand: policies and
// configurations. A file means one thing or is refused, with every fault at once,
// each with its line, its path and a remedy.
//
// Refused are unknown and repeated fields (with the nearest name that is known),
// values of another kind, anchors, aliases, tags, fields without a value and
// further documents. Values are never repeated in a message, since they may be
// secrets. It does no I/O and knows none of the files that it reads; everything
// that reads a file of ours may import it.
package strictyaml

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Rules are what one kind of file has of its own.
type Rules struct {
	What string // the kind of file, with its article: "a policy"
	// Needs is what an empty one has to name: "boundary, residency and routes".
	Needs string
	// Secrets, if set, has texts that look like secrets refused, and says what to do
	// instead: "a policy never holds one; name the file that does".
	Secrets string
}

// Decode reads the one document of the source into a struct, whose fields are
// named by their yaml tags; what the source leaves out stays as it was. The error
// is an *Error with every fault; the struct then holds what was sound.
//
// It fills text, numbers, booleans, times, durations, lists, maps by text,
// structs and pointers to them, and every type that implements
// encoding.TextUnmarshaler or Unmarshaler. An empty list or map is the same as
// one that is left out.
func Decode(source []byte, into any, rules Rules) error {
	root, err := parse(source, rules)
	if err != nil {
		return err
	}
	w := &walker{rules: rules, fields: make(map[reflect.Type][]string)}
	w.value(root, reflect.ValueOf(into).Elem(), nil)
	return w.found.Err()
}

// An Unmarshaler reads itself, for example because it may be written in two ways.
type Unmarshaler interface{ UnmarshalStrict(v Value) }

// A Value is what stands at one place of a document.
type Value struct {
	w *walker
	n *yaml.Node
	p *place
}

// IsObject reports whether the value has fields.
func (v Value) IsObject() bool { return v.n.Kind == yaml.MappingNode }

// Text returns the value as it was written, or notes a fault that says what was
// wanted.
func (v Value) Text(want string) (string, bool) { return v.w.scalar(v.n, v.p, want) }

// Fields reads the value's fields into a struct, and reports whether all were
// sound.
func (v Value) Fields(into any) bool {
	before := len(v.w.found.Faults)
	v.w.object(v.n, reflect.ValueOf(into).Elem(), v.p)
	return len(v.w.found.Faults) == before
}

// Fault notes that something is wrong with the value.
func (v Value) Fault(format string, args ...any) { v.w.fault(v.n, v.p, format, args...) }

// yamlNames returns the yaml name of each field of a struct, "" for those that no
// document can set.
func yamlNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "-" {
			names[i] = name
		}
	}
	return names
}
