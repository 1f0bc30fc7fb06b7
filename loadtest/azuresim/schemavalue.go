package azuresim

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// usualItems is how many elements an array has that does not say how many.
const usualItems = 2

// fields lists an object's names in the order in which they stand.
func fields(raw json.RawMessage) ([]string, schema) {
	var object schema
	if json.Unmarshal(raw, &object) != nil {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var names []string
	_, _ = d.Token() // the brace: the text was decoded above
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			break
		}
		if s, ok := name.(string); ok && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return names, object
}

// joinObjects is the second object's fields after the first's; of a name that
// both have, the second's value counts.
func joinObjects(a, b json.RawMessage) json.RawMessage {
	names, values := fields(a)
	more, over := fields(b)
	for _, n := range more {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
		if values != nil {
			values[n] = over[n]
		}
	}
	var out bytes.Buffer
	for n, name := range names {
		out.WriteString(separator(n, "{") + quote(name) + ":")
		out.Write(values[name])
	}
	if len(names) == 0 {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	return out.Bytes()
}

func joinLists(a, b json.RawMessage) json.RawMessage {
	return mustJSON(append(strs(a), strs(b)...))
}

// strs reads a list of strings; anything else is none.
func strs(raw json.RawMessage) []string {
	var out []string
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}

// separator comes before the nth element.
func separator(n int, opening string) string {
	if n == 0 {
		return opening
	}
	return ","
}

// count reads a word that is a count, such as minItems.
func (s schema) count(word string, otherwise int) int {
	var n float64
	if json.Unmarshal(s[word], &n) != nil || n < 0 || n > maxSchemaValues {
		if s[word] != nil && n > maxSchemaValues {
			return maxSchemaValues
		}
		return otherwise
	}
	return int(n)
}

// object makes every property that there is a value for, in the schema's order.
func (m *maker) object(s schema, path string) (string, error) {
	names, properties := fields(s["properties"])
	required := strs(s["required"])
	for _, name := range required {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	most := s.count("maxProperties", maxSchemaValues)
	if len(names) > most { // what must be there comes first
		slices.SortStableFunc(names, func(a, b string) int {
			return boolInt(slices.Contains(required, b)) - boolInt(slices.Contains(required, a))
		})
		names = names[:most]
	}
	for n := 1; len(names) < s.count("minProperties", 0); n++ {
		if name := "extra" + strconv.Itoa(n); !slices.Contains(names, name) {
			names = append(names, name)
			required = append(required, name)
		}
	}
	var out strings.Builder
	written := 0
	for _, name := range names {
		of, ok := properties[name]
		if !ok {
			of = s.additional()
		}
		text, err := m.value(of, path+"/"+name)
		if errors.Is(err, errNoValue) && !slices.Contains(required, name) {
			continue
		}
		if err != nil {
			return "", err
		}
		out.WriteString(separator(written, "{") + quote(name) + ":" + text)
		written++
	}
	if written == 0 {
		return "{}", nil
	}
	return out.String() + "}", nil
}

func boolInt(is bool) int {
	if is {
		return 1
	}
	return 0
}

// additional is the schema of properties that have none of their own.
func (s schema) additional() json.RawMessage {
	if a := s["additionalProperties"]; a != nil {
		return a
	}
	return json.RawMessage("true")
}

// array makes as many elements as are usual, or as the schema wants.
func (m *maker) array(s schema, path string) (string, error) {
	var prefix []json.RawMessage
	rest := s["items"]
	if json.Unmarshal(s["prefixItems"], &prefix) != nil && json.Unmarshal(rest, &prefix) == nil {
		rest = s["additionalItems"] // items as a list is the older form of prefixItems
	}
	if rest == nil {
		rest = json.RawMessage("true")
	}
	least, most := s.count("minItems", 0), s.count("maxItems", maxSchemaValues)
	want := min(max(usualItems, least, len(prefix)), most)
	unique := string(s["uniqueItems"]) == "true"
	var items []string
	for len(items) < want {
		of := rest
		if len(items) < len(prefix) {
			of = prefix[len(items)]
		}
		text, err := m.item(of, path+"/"+strconv.Itoa(len(items)), items, unique)
		if errors.Is(err, errNoValue) {
			break
		}
		if err != nil {
			return "", err
		}
		items = append(items, text)
	}
	if len(items) < least {
		return "", errNoValue
	}
	return "[" + strings.Join(items, ",") + "]", nil
}

// uniqueTries is how often another element is made where one must differ from
// those before it: enough for an enum of some twenty to be used up.
const uniqueTries = 200

func (m *maker) item(of json.RawMessage, path string, before []string, unique bool) (string, error) {
	text, err := m.value(of, path)
	for n := 0; err == nil && unique && slices.Contains(before, text); n++ {
		if n == uniqueTries {
			return "", errNoValue
		}
		text, err = m.value(of, path+"'"+strconv.Itoa(n))
		m.values-- // only one of them stays
	}
	return text, err
}
