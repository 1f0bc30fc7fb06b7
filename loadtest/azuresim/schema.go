package azuresim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// maxSchemaValues bounds one generated value: how many values may stand in it;
// maxSchemaBytes bounds the schema, which is read again at each level.
const (
	maxSchemaValues = 5_000
	maxSchemaBytes  = 256 << 10
)

// errNoValue: no value of the schema was found. The generator knows what the
// service's structured outputs know, and not all of JSON Schema: a schema that
// needs not, if, contains or patternProperties to be met may end so.
var errNoValue = errors.New("no value was found that the schema allows")

// errTooLarge: the schema asks for more than maxSchemaValues.
var errTooLarge = errors.New("the schema is too large")

// A schema is one JSON Schema object; what it holds stays raw until it is
// needed, because the order of properties is part of the answer.
type schema map[string]json.RawMessage

// A maker makes one value that a schema allows, the same for the same seed.
type maker struct {
	root   json.RawMessage
	seed   string
	open   []string // references being followed: none is entered again inside itself
	values int      // made so far
}

// valueOf returns JSON text that is valid by the schema.
func valueOf(root json.RawMessage, seed string) (string, error) {
	if len(root) > maxSchemaBytes {
		return "", errTooLarge
	}
	m := &maker{root: root, seed: seed, open: []string{"#"}}
	return m.value(root, "")
}

// value makes a value for a schema; path says where in the answer it stands, so
// that values differ from each other.
func (m *maker) value(raw json.RawMessage, path string) (string, error) {
	if m.values++; m.values > maxSchemaValues {
		return "", errTooLarge
	}
	switch string(bytes.TrimSpace(raw)) {
	case "true":
		return m.text(schema{}, path)
	case "false":
		return "", errNoValue
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("a schema is an object or a boolean: %w", errNoValue)
	}
	if ref, ok := s["$ref"]; ok {
		return m.follow(s, ref, path)
	}
	if all, ok := s["allOf"]; ok {
		return m.all(s, all, path)
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		if branches, ok := s[word]; ok {
			return m.firstOf(s.without(word), branches, path)
		}
	}
	if c, ok := s["const"]; ok {
		return string(c), nil
	}
	if e, ok := s["enum"]; ok {
		return m.oneOf(s, e, path)
	}
	return m.typed(s, path)
}

// follow makes a value of what a reference names. A schema may name itself, a
// tree for example; then the value ends where it would begin again.
func (m *maker) follow(s schema, ref json.RawMessage, path string) (string, error) {
	var name string
	if err := json.Unmarshal(ref, &name); err != nil {
		return "", errNoValue
	}
	if slices.Contains(m.open, name) {
		return "", errNoValue
	}
	target, err := m.resolve(name)
	if err != nil {
		return "", err
	}
	m.open = append(m.open, name)
	defer func() { m.open = m.open[:len(m.open)-1] }()
	rest := s.without("$ref")
	if len(rest) == 0 || slices.Contains([]string{"true", "false"}, string(target)) {
		return m.value(target, path)
	}
	return m.merged(rest, path, target)
}

// resolve finds what a JSON pointer in the same document names.
func (m *maker) resolve(name string) (json.RawMessage, error) {
	pointer, ok := strings.CutPrefix(name, "#")
	if !ok {
		return nil, fmt.Errorf("$ref %q leads out of the schema: %w", name, errNoValue)
	}
	at := m.root
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if part == "" {
			continue
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		var list []json.RawMessage
		var object schema
		if json.Unmarshal(at, &object) == nil && object[part] != nil {
			at = object[part]
		} else if n, err := strconv.Atoi(part); err == nil && json.Unmarshal(at, &list) == nil && n >= 0 && n < len(list) {
			at = list[n]
		} else {
			return nil, fmt.Errorf("$ref %q leads nowhere: %w", name, errNoValue)
		}
	}
	return at, nil
}

// all makes a value that every schema of an allOf allows, by merging them.
func (m *maker) all(s schema, all json.RawMessage, path string) (string, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(all, &parts); err != nil {
		return "", errNoValue
	}
	for n, part := range parts { // a merge needs what a reference names
		var p schema
		if json.Unmarshal(part, &p) == nil && p["$ref"] != nil && len(p) == 1 {
			var name string
			if json.Unmarshal(p["$ref"], &name) == nil {
				target, err := m.resolve(name)
				if err != nil {
					return "", err
				}
				parts[n] = target
			}
		}
	}
	return m.merged(s.without("allOf"), path, parts...)
}

// firstOf takes the first branch of which there is a value.
func (m *maker) firstOf(rest schema, branches json.RawMessage, path string) (string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(branches, &list); err != nil {
		return "", errNoValue
	}
	for _, branch := range list {
		text, err := m.merged(rest, path, branch)
		if err == nil || !errors.Is(err, errNoValue) {
			return text, err
		}
	}
	return "", errNoValue
}

// merged makes a value of the base with further schemas laid over it.
func (m *maker) merged(base schema, path string, over ...json.RawMessage) (string, error) {
	if len(over) == 1 && len(base.binding()) == 0 {
		return m.value(over[0], path)
	}
	out := base
	for _, raw := range over {
		var s schema
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", errNoValue
		}
		out = out.with(s)
	}
	return m.value(mustJSON(out), path)
}

// oneOf takes an element of an enum, of those that the type allows.
func (m *maker) oneOf(s schema, enum json.RawMessage, path string) (string, error) {
	var all, fit []json.RawMessage
	if err := json.Unmarshal(enum, &all); err != nil {
		return "", errNoValue
	}
	types := s.types()
	for _, v := range all {
		if len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return isOf(v, t) }) {
			fit = append(fit, v)
		}
	}
	if len(fit) == 0 {
		return "", errNoValue
	}
	return string(fit[m.number(path, len(fit))]), nil
}

// isOf tells whether a value is of a type of JSON Schema.
func isOf(value json.RawMessage, kind string) bool {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return false
	}
	switch v := v.(type) {
	case string:
		return kind == "string"
	case bool:
		return kind == "boolean"
	case nil:
		return kind == "null"
	case []any:
		return kind == "array"
	case float64:
		return kind == "number" || kind == "integer" && v == float64(int64(v))
	}
	return kind == "object"
}

// typed makes a value of the first type that the schema names, or of the one
// that its other words are about.
func (m *maker) typed(s schema, path string) (string, error) {
	types := s.types()
	if len(types) == 0 {
		types = []string{s.likelyType()}
	}
	var err error
	for _, kind := range types {
		var text string
		if text, err = m.ofType(kind, s, path); err == nil || !errors.Is(err, errNoValue) {
			return text, err
		}
	}
	return "", err
}

func (m *maker) ofType(kind string, s schema, path string) (string, error) {
	switch kind {
	case "object":
		return m.object(s, path)
	case "array":
		return m.array(s, path)
	case "string":
		return m.text(s, path)
	case "number", "integer":
		return m.numeric(s, kind == "integer", path)
	case "boolean":
		return strconv.FormatBool(m.number(path, 2) == 0), nil
	case "null":
		return "null", nil
	}
	return "", fmt.Errorf("type %q is none of JSON Schema's: %w", kind, errNoValue)
}

// number returns a number in [0, n) that depends on the seed and the path alone.
func (m *maker) number(path string, n int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.seed + "\x00" + path))
	return int(h.Sum64() >> 1 % uint64(n))
}

// types are the types that a schema names.
func (s schema) types() []string {
	var one string
	var several []string
	switch raw := s["type"]; {
	case raw == nil:
	case json.Unmarshal(raw, &one) == nil:
		return []string{one}
	default:
		_ = json.Unmarshal(raw, &several) // of another form: as if it named none
	}
	return several
}

// likelyType is the type that a schema without one speaks of.
func (s schema) likelyType() string {
	for _, of := range []struct {
		kind  string
		words []string
	}{
		{"object", []string{"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
		{"array", []string{"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}},
		{"number", []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
	} {
		if slices.ContainsFunc(of.words, func(w string) bool { return s[w] != nil }) {
			return of.kind
		}
	}
	return "string"
}

func (s schema) without(word string) schema {
	out := make(schema, len(s))
	for k, v := range s {
		if k != word {
			out[k] = v
		}
	}
	return out
}

// binding is the schema without the words that only describe.
func (s schema) binding() schema {
	out := s
	for _, word := range []string{"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id", "$defs", "definitions", "strict"} {
		if out[word] != nil {
			out = out.without(word)
		}
	}
	return out
}

// with lays another schema over this one: properties and required are joined,
// of the rest the other's counts.
func (s schema) with(over schema) schema {
	out := s.without("")
	for word, v := range over {
		switch {
		case word == "properties" && out[word] != nil:
			out[word] = joinObjects(out[word], v)
		case word == "required" && out[word] != nil:
			out[word] = joinLists(out[word], v)
		default:
			out[word] = v
		}
	}
	return out
}
