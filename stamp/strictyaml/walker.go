package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth is twice what the document's own shape needs.
const maxDepth = 16

// A walker fills a document from a parsed tree and notes every fault on the
// way. The library's own decoder would repeat values in its messages, which may
// be secrets, and says nothing of paths or remedies.
type walker struct {
	rules  Rules
	found  Findings
	fields map[reflect.Type][]string // see yamlNames
}

// A place is a position in the document, made into text only when it is needed.
type place struct {
	parent *place
	name   string
	index  int
	depth  int
}

func (p *place) field(name string) *place {
	return &place{parent: p, name: name, depth: p.level() + 1}
}

func (p *place) item(i int) *place {
	return &place{parent: p, index: i, depth: p.level() + 1}
}

func (p *place) level() int {
	if p == nil {
		return 0
	}
	return p.depth
}

func (p *place) String() string {
	switch {
	case p == nil:
		return ""
	case p.name == "":
		return p.parent.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.parent == nil:
		return p.name
	}
	return p.parent.String() + "." + p.name
}

func (w *walker) fault(n *yaml.Node, p *place, format string, args ...any) {
	w.found.Add(Fault{Path: p.String(), Text: fmt.Sprintf(format, args...), Line: n.Line})
}

// value stores what the node says into v.
func (w *walker) value(n *yaml.Node, v reflect.Value, p *place) {
	if !w.plain(n, p) {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case Unmarshaler:
		target.UnmarshalStrict(Value{w, n, p})
		return
	case *time.Time:
		w.instant(n, target, p)
		return
	case *time.Duration:
		w.text(n, p, func(text string) (err error) { *target, err = ParseDuration(text); return err })
		return
	case encoding.TextUnmarshaler:
		w.text(n, p, func(text string) error { return target.UnmarshalText([]byte(text)) })
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		w.value(n, v.Elem(), p)
	case reflect.Struct:
		w.object(n, v, p)
	case reflect.Slice:
		w.list(n, v, p)
	case reflect.Map:
		w.table(n, v, p)
	case reflect.String:
		if text, ok := w.scalar(n, p, "text"); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		w.boolean(n, v, p)
	case reflect.Int, reflect.Int64, reflect.Uint64:
		w.integer(n, v, p)
	case reflect.Float64:
		w.number(n, v, p)
	default:
		panic("strictyaml: a field of a kind that Decode does not know: " + v.Type().String())
	}
}

// plain refuses what makes a document hard to read or costly to expand.
func (w *walker) plain(n *yaml.Node, p *place) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		w.fault(n, p, "is an alias (*name): write the value out, aliases are not allowed")
	case n.Anchor != "":
		w.fault(n, p, "has an anchor (&name): write the value out, anchors are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		w.fault(n, p, "has a tag (!name): remove it, the type follows from the field")
	case p.level() > maxDepth:
		w.fault(n, p, "is nested more than %d deep", maxDepth)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		w.fault(n, p, "has no value: give one, or leave the field out ({} and [] are written out)")
	default:
		return true
	}
	return false
}

func (w *walker) object(n *yaml.Node, v reflect.Value, p *place) {
	if n.Kind != yaml.MappingNode {
		w.fault(n, p, "is %s, want fields (name: value)", kindOf(n))
		return
	}
	names := w.names(v.Type())
	w.entries(n, p, func(key, val *yaml.Node) {
		if i := slices.Index(names, key.Value); i >= 0 && key.Value != "" {
			w.value(val, v.Field(i), p.field(key.Value))
			return
		}
		w.unknown(key, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" }), p)
	})
}

func (w *walker) unknown(key *yaml.Node, names []string, p *place) {
	name := key.Value
	switch {
	case LooksSecret(name) || len(name) > 64:
		w.fault(key, p, "has an unknown field whose name is too long, or looks like a secret, to be shown: remove it")
	case w.rules.Secrets != "" && secretField(name):
		w.fault(key, p.field(name), "would hold a secret: %s, and replace the secret if it was written here", w.rules.Secrets)
	default:
		remedy := "want one of " + strings.Join(names, ", ")
		if near := nearest(name, names); near != "" {
			remedy = "did you mean " + near + "?"
		}
		w.fault(key, p.field(Printable(name)), "is an unknown field: %s", remedy)
	}
}

// Printable keeps a path on one line whatever a field is called.
func Printable(name string) string {
	if q := strconv.QuoteToASCII(name); q != `"`+name+`"` || name == "" {
		return q
	}
	return name
}

// entries calls visit for each entry of a mapping whose key is fit and new.
func (w *walker) entries(n *yaml.Node, p *place, visit func(key, val *yaml.Node)) {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 {
			w.fault(key, p, "has a key that is not plain text")
			continue
		}
		if first, again := lines[key.Value]; again {
			name := Printable(key.Value)
			if LooksSecret(key.Value) {
				name = "(hidden)"
			}
			w.fault(key, p.field(name), "is given twice, first on line %d: keep one", first)
			continue
		}
		lines[key.Value] = key.Line
		visit(key, val)
	}
}

func (w *walker) list(n *yaml.Node, v reflect.Value, p *place) {
	if n.Kind != yaml.SequenceNode {
		w.fault(n, p, "is %s, want a list ([a, b], or a line with a hyphen for each)", kindOf(n))
		return
	}
	if len(n.Content) == 0 {
		return // the same as leaving it out, so that the two compare as equal
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		w.value(item, v.Index(i), p.item(i))
	}
}

func (w *walker) table(n *yaml.Node, v reflect.Value, p *place) {
	if n.Kind != yaml.MappingNode {
		w.fault(n, p, "is %s, want entries (name: value)", kindOf(n))
		return
	}
	if len(n.Content) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	w.entries(n, p, func(key, val *yaml.Node) {
		if LooksSecret(key.Value) {
			w.fault(key, p, "has a name that looks like a secret: remove it, and replace the secret")
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		w.value(val, item, p.field(Printable(key.Value)))
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
}

// scalar returns the text of a single value. Text is taken as it was written:
// NO is Norway, not false, and 2024-11-20 is a version, not a day.
func (w *walker) scalar(n *yaml.Node, p *place, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		w.fault(n, p, "is %s, want %s", kindOf(n), want)
		return "", false
	}
	if w.rules.Secrets != "" && LooksSecret(n.Value) {
		w.fault(n, p, "looks like a secret: %s, and replace the secret", w.rules.Secrets)
		return "", false
	}
	return n.Value, true
}

// text has a value that reads itself from text.
func (w *walker) text(n *yaml.Node, p *place, read func(text string) error) {
	if text, ok := w.scalar(n, p, "a single value"); ok {
		if err := read(text); err != nil {
			w.fault(n, p, "%v", err)
		}
	}
}

// ParseDuration reads "30s", "1m30s", "250ms". A bare number is refused: it has no
// unit.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("is not a duration: write a number with a unit, such as 250ms, 30s or 10m")
	}
	return d, nil
}

func (w *walker) boolean(n *yaml.Node, v reflect.Value, p *place) {
	text, ok := w.scalar(n, p, "true or false")
	if !ok {
		return
	}
	if n.Tag != "!!bool" || (text != "true" && text != "false") {
		w.fault(n, p, "is neither true nor false")
		return
	}
	v.SetBool(text == "true")
}

func (w *walker) integer(n *yaml.Node, v reflect.Value, p *place) {
	text, ok := w.scalar(n, p, "a whole number")
	if !ok {
		return
	}
	unsigned := v.Kind() == reflect.Uint64
	i, err := strconv.ParseInt(text, 10, 64)
	u, uerr := strconv.ParseUint(text, 10, 64)
	if unsigned {
		err = uerr
	}
	plain := strconv.FormatInt(i, 10) == text || uerr == nil && strconv.FormatUint(u, 10) == text // 010 is eight to some
	switch {
	case err != nil || n.Tag != "!!int" || !plain:
		w.fault(n, p, "is not a whole number in decimal digits, such as 450000")
	case unsigned:
		v.SetUint(u)
	default:
		v.SetInt(i)
	}
}

func (w *walker) number(n *yaml.Node, v reflect.Value, p *place) {
	text, ok := w.scalar(n, p, "a number")
	if !ok {
		return
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || (n.Tag != "!!int" && n.Tag != "!!float") {
		w.fault(n, p, "is not a number, such as 2 or 0.5")
		return
	}
	v.SetFloat(f + 0) // -0 and 0 are one
}

func (w *walker) instant(n *yaml.Node, t *time.Time, p *place) {
	text, ok := w.scalar(n, p, "a time")
	if !ok {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		at, err = time.Parse(time.DateOnly, text)
	}
	at = at.UTC() // before its year is looked at: an offset may change it
	if err != nil || at.Year() < 1970 || at.Year() > 9990 {
		w.fault(n, p, "is not a time such as 2027-01-01T00:00:00Z")
		return
	}
	*t = at
}

// names returns the yaml name of each field of a struct.
func (w *walker) names(t reflect.Type) []string {
	names, ok := w.fields[t]
	if !ok {
		names = yamlNames(t)
		w.fields[t] = names
	}
	return names
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a block of fields"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}
