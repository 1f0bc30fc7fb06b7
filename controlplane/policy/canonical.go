package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Canonical returns the one form of a document that is stored, signed and
// compared: two documents that say the same have the same bytes, whatever their
// comments and order of fields were. Decode of it returns an equal document.
//
// It is written here, not by a library, because a digest must stay the same for
// as long as a signature over it: no update of a dependency may change a byte.
func Canonical(doc *Document) ([]byte, error) {
	if doc == nil {
		return nil, errors.New("canonical form: no document")
	}
	e := &emitter{fields: make(map[reflect.Type][]field)}
	e.object(reflect.ValueOf(doc).Elem(), 0, false)
	if e.err != nil {
		return nil, fmt.Errorf("canonical form: %w", e.err)
	}
	return e.out.Bytes(), nil
}

// Digest returns the SHA-256 of a canonical document, in hex.
func Digest(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// An emitter writes block YAML with two spaces a level.
type emitter struct {
	out    bytes.Buffer
	fields map[reflect.Type][]field
	err    error // the first value that has no written form
}

// A field is how one field of a struct is written.
type field struct {
	name     string
	optional bool // left out when it is empty
}

func (e *emitter) fieldsOf(t reflect.Type) []field {
	fields, ok := e.fields[t]
	if !ok {
		for i, name := range yamlNames(t) {
			fields = append(fields, field{name, strings.HasSuffix(t.Field(i).Tag.Get("yaml"), ",omitempty")})
		}
		e.fields[t] = fields
	}
	return fields
}

// object writes the fields of a struct. With inline, the first one continues
// the line of a list's hyphen.
func (e *emitter) object(v reflect.Value, depth int, inline bool) {
	wrote := false
	for i, f := range e.fieldsOf(v.Type()) {
		if f.optional && empty(v.Field(i)) {
			continue
		}
		if wrote || !inline {
			e.indent(depth)
		}
		wrote = true
		e.out.WriteString(f.name)
		e.out.WriteByte(':')
		e.after(v.Field(i), depth)
	}
	if !wrote {
		e.out.WriteString("{}\n")
	}
}

// after writes a value behind "name:".
func (e *emitter) after(v reflect.Value, depth int) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case isReferences(v):
		e.references(v, depth)
	case isScalar(v):
		e.out.WriteByte(' ')
		e.scalar(v)
	case empty(v):
		e.out.WriteString(emptyForm(v))
	case v.Kind() == reflect.Slice:
		e.out.WriteByte('\n')
		e.list(v, depth+1)
	case v.Kind() == reflect.Map:
		e.out.WriteByte('\n')
		e.table(v, depth+1)
	default:
		e.out.WriteByte('\n')
		e.object(v, depth+1, false)
	}
}

func isReferences(v reflect.Value) bool { return v.Type() == reflect.TypeFor[ExternalReferences]() }

// references writes the one of the two forms that holds something.
func (e *emitter) references(v reflect.Value, depth int) {
	r, _ := reflect.TypeAssert[ExternalReferences](v)
	if r.Rule != "" {
		e.after(reflect.ValueOf(string(r.Rule)), depth)
		return
	}
	e.after(reflect.ValueOf(referenceHosts{r.Hosts}), depth)
}

func (e *emitter) list(v reflect.Value, depth int) {
	for i := range v.Len() {
		e.indent(depth)
		e.out.WriteString("- ")
		if item := v.Index(i); isScalar(item) {
			e.scalar(item)
		} else {
			e.object(item, depth+1, true)
		}
	}
}

func (e *emitter) table(v reflect.Value, depth int) {
	byName := make(map[string]reflect.Value, v.Len())
	for it := v.MapRange(); it.Next(); {
		byName[it.Key().String()] = it.Value()
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		e.indent(depth)
		e.text(name)
		e.out.WriteByte(':')
		e.after(byName[name], depth)
	}
}

func (e *emitter) indent(depth int) {
	const spaces = "                " // twice the depth of the document's own shape
	e.out.WriteString(spaces[:min(2*depth, len(spaces))])
}

func (e *emitter) scalar(v reflect.Value) {
	var buf [64]byte
	switch v.Kind() {
	case reflect.Struct: // isScalar lets only a time through
		at, _ := reflect.TypeAssert[time.Time](v)
		e.out.Write(at.UTC().AppendFormat(buf[:0], time.RFC3339Nano))
	case reflect.Int64: // the only one is Duration
		e.out.WriteString(time.Duration(v.Int()).String())
	case reflect.Bool:
		e.out.Write(strconv.AppendBool(buf[:0], v.Bool()))
	case reflect.Int:
		e.out.Write(strconv.AppendInt(buf[:0], v.Int(), 10))
	case reflect.Float64:
		e.out.Write(strconv.AppendFloat(buf[:0], v.Float(), 'g', -1, 64))
	default:
		e.text(v.String())
	}
	e.out.WriteByte('\n')
}

// text writes a string plain where nothing could take it for anything else,
// and quoted in ASCII everywhere else.
func (e *emitter) text(s string) {
	if !utf8.ValidString(s) && e.err == nil {
		e.err = errors.New("a text is not UTF-8")
	}
	if plainText(s) {
		e.out.WriteString(s)
		return
	}
	e.out.Write(strconv.AppendQuoteToASCII(e.out.AvailableBuffer(), s)) // its escapes are all YAML's too
}

func plainText(s string) bool {
	if s == "" || !isLetter(s[0]) || strings.HasSuffix(s, ":") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && !strings.ContainsRune("-._/:", rune(c)) {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return true
}

func isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return false
	case reflect.Struct:
		return v.Type() == reflect.TypeFor[time.Time]()
	default:
		return true
	}
}

// empty reports whether an optional field is left out.
func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func emptyForm(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		return " []\n"
	}
	return " {}\n"
}
