package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"go.yaml.in/yaml/v3"
)

// The bounds of a document's source. They hold before it is parsed, so that a
// hostile one costs no more than reading it.
const (
	// MaxCompressedBytes is how much of a document may be stored: an etcd value
	// of 1.5 MiB must hold it with its envelope.
	MaxCompressedBytes = 1 << 20
	// MaxRawBytes bounds what a small compressed document may unfold to.
	MaxRawBytes = 8 << 20
	// maxMarks bounds the parsed tree: 8 MiB of "[[[[" would be gigabytes of
	// nodes. 2,000 clients and 500 backends have some 60,000 marks.
	maxMarks = 1 << 20
)

// Decode reads a document. It is strict: unknown and repeated fields, values of
// another type, anchors, tags, further documents and literal secrets are all
// refused, and the *Error names every one with its line. What it returns need
// not be valid: see Validate.
func Decode(source []byte) (*Document, error) {
	if err := checkSource(source); err != nil {
		return nil, err
	}
	root, err := parse(source)
	if err != nil {
		return nil, err
	}
	doc := &Document{}
	w := newWalker()
	w.value(root, reflect.ValueOf(doc).Elem(), nil)
	if err := w.found.err(); err != nil {
		return nil, err
	}
	return doc, nil
}

func refuse(line int, format string, args ...any) error {
	return &Error{Faults: []Fault{{Line: line, Text: fmt.Sprintf(format, args...)}}}
}

func checkSource(source []byte) error {
	switch {
	case len(bytes.TrimSpace(source)) == 0:
		return refuse(0, "the document is empty: a policy names at least boundary, residency, stamps, backends and routes")
	case len(source) > MaxRawBytes:
		return refuse(0, "the document has %d bytes, more than %d: split the boundary", len(source), MaxRawBytes)
	case !utf8.Valid(source):
		return refuse(lineOfBadUTF8(source), "the document is not UTF-8: save it as UTF-8 text")
	case countMarks(source) > maxMarks:
		return refuse(0, "the document has more than %d entries: split the boundary", maxMarks)
	}
	if len(source) <= MaxCompressedBytes { // then its compressed form is no larger
		return nil
	}
	size, err := compressedSize(source)
	if err != nil {
		return fmt.Errorf("compress the document to learn its size: %w", err)
	}
	if size > MaxCompressedBytes {
		return refuse(0, "the document has %d bytes after compression, more than %d: split the boundary", size, MaxCompressedBytes)
	}
	return nil
}

func compressedSize(source []byte) (int, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, err
	}
	return len(enc.EncodeAll(source, nil)), enc.Close()
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

// countMarks counts the characters that can begin an entry of the tree.
func countMarks(source []byte) int {
	n := 0
	for _, c := range source {
		switch c {
		case ',', ':', '\n', '[', '{', '-', '?':
			n++
		}
	}
	return n
}

// parse returns the root of the one document in the source.
func parse(source []byte) (root *yaml.Node, err error) {
	defer func() {
		// The parser is someone else's. A bug in it must cost the operator this
		// document, not a gateway its life.
		if p := recover(); p != nil {
			root, err = nil, refuse(0, "the document is not YAML that can be read")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(source))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, refuse(0, "the document is empty: a policy names at least boundary, residency, stamps, backends and routes")
		}
		return nil, syntaxError(source, err)
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		return nil, refuse(next.Line, "a second document begins here: a policy is one document, remove the rest")
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(source, err)
	}
	return doc.Content[0], nil
}

// syntaxError explains what the parser met. Tabs are the usual cause and its
// own words for them help nobody; all of them are named.
func syntaxError(source []byte, err error) error {
	found := &findings{}
	line := 0
	for text := range bytes.Lines(source) {
		line++
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if bytes.IndexByte(indent, '\t') >= 0 {
			found.faults = found.add(found.faults, Fault{Line: line, Text: "is indented with a tab: YAML wants spaces"})
		}
	}
	if tabs := found.err(); tabs != nil {
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
