package azuresim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// Validate holds a text to a schema with a library that others use for that.
func Validate(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, schemaText, text string,
) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schemaText))
	if err != nil {
		t.Fatalf("%s: %v", schemaText, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatalf("%s: %v", schemaText, err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%s: %v", schemaText, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s is no JSON: %v", text, err)
	}
	if err := s.Validate(value); err != nil {
		t.Fatalf("%s\nis not valid by %s:\n%v", text, schemaText, err)
	}
}

func TestMadeValuesAreValidByTheirSchema(t *testing.T) {
	for name, schema := range map[string]string{
		"nothing asked":                `{}`,
		"anything":                     `true`,
		"a step of an answer":          `{"type":"object","properties":{"steps":{"type":"array","items":{"$ref":"#/$defs/step"}},"final":{"type":"string"}},"$defs":{"step":{"type":"object","properties":{"why":{"type":"string"},"sum":{"type":"number"}},"required":["why","sum"],"additionalProperties":false}},"required":["steps","final"],"additionalProperties":false}`,
		"a list that ends":             `{"type":"object","properties":{"head":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["head"],"$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["value","next"],"additionalProperties":false}}}`,
		"a tree of itself":             `{"type":"object","properties":{"type":{"enum":["div","button"]},"children":{"type":"array","items":{"$ref":"#"}}},"required":["type","children"],"additionalProperties":false}`,
		"root is a reference":          `{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"boolean"}}}`,
		"reference and more":           `{"properties":{"x":{"$ref":"#/$defs/n","description":"d","maximum":3}},"required":["x"],"$defs":{"n":{"type":"integer","minimum":2}}}`,
		"optional endlessness":         `{"type":"object","properties":{"n":{"type":"integer"},"self":{"$ref":"#"}},"required":["n"]}`,
		"nullable":                     `{"type":["string","null"]}`,
		"types that a count rules out": `{"type":["array","string"],"minItems":3,"items":false}`,
		"const":                        `{"const":{"a":[1,2]}}`,
		"enum of one type":             `{"type":"integer","enum":["a",3.5,7,null]}`,
		"anyOf beside others":          `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"anyOf":[{"required":["b"],"properties":{"b":{"const":1}}}]}`,
		"allOf":                        `{"allOf":[{"$ref":"#/$defs/a"},{"properties":{"y":{"type":"string"}},"required":["y"]}],"$defs":{"a":{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}}}`,
		"required, undescribed":        `{"type":"object","required":["z"],"additionalProperties":{"type":"integer","minimum":5}}`,
		"many properties":              `{"type":"object","minProperties":3}`,
		"few properties":               `{"type":"object","properties":{"a":{},"b":{},"c":{}},"required":["c"],"maxProperties":1}`,
		"tuple":                        `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}`,
		"many items":                   `{"type":"array","items":{"type":"boolean"},"minItems":7,"maxItems":9}`,
		"no items":                     `{"type":"array","items":{"type":"boolean"},"maxItems":0}`,
		"unique of an enum":            `{"type":"array","items":{"enum":["a","b","c","d"]},"minItems":4,"uniqueItems":true}`,
		"long string":                  `{"type":"string","minLength":120}`,
		"short string":                 `{"type":"string","maxLength":2}`,
		"empty string":                 `{"type":"string","maxLength":0}`,
		"pattern":                      `{"type":"string","pattern":"^@[a-zA-Z0-9_]{3,15}(x|y)?$"}`,
		"pattern and length":           `{"type":"string","pattern":"^[A-Z]+-[0-9]*$","minLength":20,"maxLength":30}`,
		"integer range":                `{"type":"integer","minimum":-5,"maximum":-4}`,
		"integer, open":                `{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":5}`,
		"integer, far":                 `{"type":"integer","minimum":1e12}`,
		"only below":                   `{"type":"integer","maximum":-1000}`,
		"a fraction":                   `{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":0.001}`,
		"cents":                        `{"type":"number","multipleOf":0.01,"minimum":0.105,"maximum":0.115}`,
		"multiples":                    `{"type":"integer","multipleOf":7,"minimum":50,"maximum":56}`,
		"whole halves":                 `{"type":"integer","multipleOf":2.5,"minimum":1}`,
		"quotes in names":              `{"type":"object","properties":{"a\"b":{"const":"\u00e9\n"}},"required":["a\"b"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, seed := range []string{"", "one", "another"} {
				got, err := valueOf(json.RawMessage(schema), seed)
				if err != nil {
					t.Fatal(err)
				}
				Validate(t, schema, got)
				if again, _ := valueOf(json.RawMessage(schema), seed); again != got {
					t.Errorf("%s, then %s", got, again)
				}
			}
		})
	}
	for _, format := range []string{"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"} {
		schema := `{"type":"string","format":"` + format + `"}`
		for n := range 40 {
			got, err := valueOf(json.RawMessage(schema), fmt.Sprint(n))
			if err != nil {
				t.Fatal(err)
			}
			Validate(t, schema, got)
		}
	}
}

func TestASchemaThatNothingMeetsIsRefused(t *testing.T) {
	for schema, want := range map[string]error{
		`false`: errNoValue,
		`{"type":"object","properties":{"self":{"$ref":"#"}},"required":["self"]}`: errNoValue,
		`{"$ref":"#/$defs/none"}`:                                               errNoValue,
		`{"$ref":"https://example.com/schema"}`:                                 errNoValue,
		`{"type":"integer","minimum":2,"maximum":1}`:                            errNoValue,
		`{"type":"array","items":{"enum":[1]},"minItems":2,"uniqueItems":true}`: errNoValue,
		`{"type":"object","required":["a"],"additionalProperties":false}`:       errNoValue,
		`{"type":"string","pattern":"(?=a)b"}`:                                  errNoValue,
		`{"type":"nothing"}`:                                                    errNoValue,
		`{"type":"number","minimum":1e999999999}`:                               nil, // beyond any number: not a bound
		`{"type":"array","minItems":1e9}`:                                       errTooLarge,
		`{"type":"array","minItems":90,"items":{"type":"array","minItems":90}}`: errTooLarge,
	} {
		if got, err := valueOf(json.RawMessage(schema), ""); !errors.Is(err, want) {
			t.Errorf("%s: %s, %v; want %v", schema, got, err, want)
		}
	}
}

// anySchema draws a schema of what structured outputs know.
func anySchema(depth int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		kinds := []string{"string", "integer", "number", "boolean", "null", "enum"}
		if depth > 0 {
			kinds = append(kinds, "object", "array", "anyOf")
		}
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		switch kind {
		case "object":
			return anyObjectSchema(t, depth)
		case "array":
			least := rapid.IntRange(0, 4).Draw(t, "least")
			return map[string]any{"type": "array", "items": anySchema(depth-1).Draw(t, "items"), "minItems": least, "maxItems": least + rapid.IntRange(0, 3).Draw(t, "more")}
		case "anyOf":
			return map[string]any{"anyOf": []any{anySchema(depth-1).Draw(t, "first"), anySchema(depth-1).Draw(t, "second")}}
		case "enum":
			return map[string]any{"enum": []any{rapid.String().Draw(t, "a"), rapid.Int().Draw(t, "b"), nil}}
		case "string":
			least := rapid.IntRange(0, 40).Draw(t, "least")
			return map[string]any{"type": kind, "minLength": least, "maxLength": least + rapid.IntRange(0, 9).Draw(t, "more")}
		case "integer", "number":
			low := rapid.IntRange(-1000, 1000).Draw(t, "low")
			return map[string]any{"type": kind, "minimum": low, "maximum": low + rapid.IntRange(0, 400).Draw(t, "span")}
		}
		return map[string]any{"type": kind}
	})
}

func anyObjectSchema(t *rapid.T, depth int) map[string]any {
	properties, required := map[string]any{}, []any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.String(), 0, 5, rapid.ID).Draw(t, "names") {
		properties[name] = anySchema(depth-1).Draw(t, "property")
		if rapid.Bool().Draw(t, "required") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func TestAnySchemaGetsAValidValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		schema := string(mustJSON(anySchema(3).Draw(t, "schema")))
		got, err := valueOf(json.RawMessage(schema), rapid.String().Draw(t, "seed"))
		if errors.Is(err, errTooLarge) {
			t.Skip("larger than a value may be")
		}
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		Validate(t, schema, got)
	})
}

// Whatever is sent as a schema, the maker ends, and what it makes is JSON.
func FuzzSchema(f *testing.F) {
	for _, seed := range []string{`{}`, `{"type":"array","uniqueItems":true,"minItems":3}`, `{"$ref":"#/properties/a","properties":{"a":{"anyOf":[{"$ref":"#"},true]}}}`, `{"pattern":"(((((((a*)*)*)*)*)*)*)*b{90}","minLength":100}`, `{"multipleOf":1e-300,"type":"number"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if !json.Valid([]byte(schema)) {
			return
		}
		if text, err := valueOf(json.RawMessage(schema), "seed"); err == nil && !json.Valid([]byte(text)) {
			t.Errorf("%s makes %s", schema, text)
		}
	})
}
