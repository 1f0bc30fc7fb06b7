package azuresim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A format is the form that the answer's text has; the zero value is free text.
type format struct {
	schema json.RawMessage // the text is JSON that is valid by it; nil: free text
}

type rawFormat struct {
	Type       string     `json:"type"`
	JSONSchema *rawSchema `json:"json_schema"`
}

type rawSchema struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"schema"`
	Strict bool            `json:"strict"`
}

// anyObject is what json_object is answered with.
const anyObject = `{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}`

// addFormat reads response_format.
func (p *params) addFormat(b *body) *answer {
	f := b.Format
	if f == nil || f.Type == "text" {
		return nil
	}
	if f.Type == "json_object" {
		if !strings.Contains(strings.ToLower(p.Prompt), "json") {
			return invalidParameter("messages", "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
		}
		p.Format.schema = json.RawMessage(anyObject)
		return nil
	}
	if f.Type != "json_schema" {
		return invalidParameter("response_format.type", "Invalid value for 'response_format.type'. Supported values are: 'json_object', 'json_schema', and 'text'.")
	}
	if f.JSONSchema == nil {
		return missingParameter("response_format.json_schema")
	}
	if f.JSONSchema.Name == "" {
		return missingParameter("response_format.json_schema.name")
	}
	s := *f.JSONSchema
	if !present(s.Schema) {
		s.Schema = json.RawMessage(anyObject)
	}
	p.SchemaTokens += textTokens(string(s.Schema))
	if why := schemaFault(s); why != "" {
		return invalidParameter("response_format", "Invalid schema for response_format '"+s.Name+"': "+why)
	}
	p.Format.schema = s.Schema
	return nil
}

// schemaFault says why a format's schema is refused, "" if it is not.
func schemaFault(s rawSchema) string {
	if s.Strict {
		var root schema
		if json.Unmarshal(s.Schema, &root) != nil || !slices.Equal(root.types(), []string{"object"}) {
			return `schema must be a JSON Schema of 'type: "object"'.`
		}
		if why := strictFault(s.Schema, nil); why != "" {
			return why
		}
	}
	if _, err := valueOf(s.Schema, ""); err != nil {
		return err.Error() + "."
	}
	return ""
}

// strictFault holds a schema to the rules of strict: every object closes itself
// and requires all of its properties, and some words are not there at all.
func strictFault(raw json.RawMessage, path []string) string {
	var s schema
	if json.Unmarshal(raw, &s) != nil {
		return "" // a boolean, or what valueOf will refuse
	}
	in := "In context=(" + strings.Join(path, ", ") + "), "
	for _, word := range []string{"allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"} {
		if s[word] != nil {
			return in + "'" + word + "' is not permitted."
		}
	}
	names, _ := fields(s["properties"])
	if slices.Contains(s.types(), "object") || names != nil {
		if string(s["additionalProperties"]) != "false" {
			return in + "'additionalProperties' is required to be supplied and to be false."
		}
		required := strs(s["required"])
		for _, n := range names {
			if !slices.Contains(required, n) {
				return in + "'required' is required to be supplied and to be an array including every key in properties. Missing '" + n + "'."
			}
		}
	}
	for _, word := range []string{"properties", "$defs", "definitions"} {
		names, of := fields(s[word])
		for _, n := range names {
			if why := strictFault(of[n], append(slices.Clone(path), "'"+word+"'", "'"+n+"'")); why != "" {
				return why
			}
		}
	}
	return strictBranches(s, path)
}

// strictBranches looks into what is not named: elements and branches.
func strictBranches(s schema, path []string) string {
	if s["items"] != nil {
		if why := strictFault(s["items"], append(slices.Clone(path), "'items'")); why != "" {
			return why
		}
	}
	var branches []json.RawMessage
	if json.Unmarshal(s["anyOf"], &branches) != nil {
		return ""
	}
	for n, b := range branches {
		if why := strictFault(b, append(slices.Clone(path), "'anyOf'", fmt.Sprintf("'%d'", n))); why != "" {
			return why
		}
	}
	return ""
}
