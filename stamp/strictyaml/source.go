package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func refuse(line int, format string, args ...any) error {
	return &Error{Faults: []Fault{{Line: line, Text: fmt.Sprintf(format, args...)}}}
}

// parse returns the root of the one document in the source.
func parse(source []byte, rules Rules) (root *yaml.Node, err error) {
	empty := func() error {
		return refuse(0, "the document is empty: %s names at least %s", rules.What, rules.Needs)
	}
	switch {
	case len(bytes.TrimSpace(source)) == 0:
		return nil, empty()
	case !utf8.Valid(source):
		return nil, refuse(lineOfBadUTF8(source), "the document is not UTF-8: save it as UTF-8 text")
	}
	defer func() {
		// The parser is someone else's. A bug in it must cost the operator this
		// document, not a process its life.
		if p := recover(); p != nil {
			root, err = nil, refuse(0, "the document is not YAML that can be read")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(source))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, empty()
		}
		return nil, syntaxError(source, err)
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		return nil, refuse(next.Line, "a second document begins here: %s is one document, remove the rest", rules.What)
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(source, err)
	}
	return doc.Content[0], nil
}

// syntaxError explains what the parser met. Tabs are the usual cause and its
// own words for them help nobody; all of them are named.
func syntaxError(source []byte, err error) error {
	found := &Findings{}
	line := 0
	for text := range bytes.Lines(source) {
		line++
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if bytes.IndexByte(indent, '\t') >= 0 {
			found.Add(Fault{Line: line, Text: "is indented with a tab: YAML wants spaces"})
		}
	}
	if tabs := found.Err(); tabs != nil {
		return tabs
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(text, "unknown anchor") {
		return refuse(lineOfAlias(source, text), "an alias (*name) names nothing: write the value out, aliases are not allowed")
	}
	var at int
	if n, _ := fmt.Sscanf(text, "line %d:", &at); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	return refuse(at, "is not YAML: %s", text)
}

// lineOfAlias finds the alias that the parser's message names in quotes; it
// gives no line of its own.
func lineOfAlias(source []byte, message string) int {
	_, rest, _ := strings.Cut(message, "'")
	name, _, _ := strings.Cut(rest, "'")
	before, _, found := bytes.Cut(source, []byte("*"+name))
	if !found {
		return 0
	}
	return 1 + bytes.Count(before, []byte("\n"))
}

func lineOfBadUTF8(source []byte) int {
	line := 1
	for len(source) > 0 {
		r, n := utf8.DecodeRune(source)
		if r == utf8.RuneError && n == 1 {
			return line
		}
		if r == '\n' {
			line++
		}
		source = source[n:]
	}
	return line
}
