package strictyaml

import (
	"errors"
	"strings"
	"testing"
	"time"
)

type file struct {
	Name    string           `yaml:"name"`
	Count   int              `yaml:"count"`
	Serial  uint64           `yaml:"serial"`
	Share   float64          `yaml:"share"`
	On      bool             `yaml:"on"`
	Wait    time.Duration    `yaml:"wait"`
	At      time.Time        `yaml:"at"`
	Level   level            `yaml:"level"`
	Either  either           `yaml:"either"`
	Inner   *inner           `yaml:"inner"`
	List    []inner          `yaml:"list"`
	ByName  map[kind][]kind  `yaml:"byName"`
	Objects map[string]inner `yaml:"objects"`
	Unseen  func()           `yaml:"-"`
}

type kind string

type inner struct {
	APIKeyFile string `yaml:"apiKeyFile"`
}

// A level reads itself from text.
type level int

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "high" {
		return errors.New("want high")
	}
	*l = 3
	return nil
}

// An either is a word or fields.
type either struct {
	word string
	inner
}

func (e *either) UnmarshalStrict(v Value) {
	if !v.IsObject() {
		e.word, _ = v.Text("a word or fields")
		return
	}
	if v.Fields(&e.inner) && e.APIKeyFile == "" {
		v.Fault("names no file")
	}
}

func testRules() Rules { return Rules{What: "a file", Needs: "name"} }

func TestEveryKindOfFieldIsRead(t *testing.T) {
	f := file{Name: "kept", Count: 7}
	err := Decode([]byte(`
count: -3
serial: 18446744073709551615
share: 0.5
on: true
wait: 1m30s
at: 2027-01-01T02:00:00+02:00
level: high
either: word
inner: {apiKeyFile: 1.10}
list: [{}, {apiKeyFile: no}]
byName: {NO: [SE, "1"], empty: []}
objects: {a: {apiKeyFile: x}}
`), &f, testRules())
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "kept" || f.Count != -3 || f.Serial != 1<<64-1 || f.Share != 0.5 || !f.On || f.Wait != 90*time.Second ||
		!f.At.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) || f.Level != 3 || f.Either.word != "word" ||
		f.Inner.APIKeyFile != "1.10" || len(f.List) != 2 || f.List[1].APIKeyFile != "no" ||
		len(f.ByName["NO"]) != 2 || f.ByName["NO"][1] != "1" || f.ByName["empty"] != nil || f.Objects["a"].APIKeyFile != "x" {
		t.Errorf("%+v", f)
	}
}

const aSecret = "sk-proj-AbCdEf0123456789AbCdEf"

func TestEveryFaultIsNamedWithLineAndPath(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":              {"", "the document is empty: a file names at least name"},
		"comments alone":       {"# x\n", "the document is empty: a file names at least name"},
		"not UTF-8":            {"name: x\nx: \xff\n", "line 2: the document is not UTF-8: save it as UTF-8 text"},
		"a list":               {"[a]\n", "line 1: is a list, want fields (name: value)"},
		"a second document":    {"name: x\n---\nname: y\n", "line 2: a second document begins here: a file is one document, remove the rest"},
		"an unknown field":     {"nam: x\n", "line 1: nam: is an unknown field: did you mean name?"},
		"one like nothing":     {"inner: {colour: red}\n", "line 1: inner.colour: is an unknown field: want one of apiKeyFile"},
		"one by its Go name":   {"Unseen: x\n", "line 1: Unseen: is an unknown field: want one of name, "},
		"one without a name":   {"\"\": x\n", "line 1: \"\": is an unknown field"},
		"a field twice":        {"name: x\nname: y\n", "line 2: name: is given twice, first on line 1: keep one"},
		"a key twice":          {"objects: {a: {}, a: {}}\n", "line 1: objects.a: is given twice"},
		"no value":             {"name:\n", "line 1: name: has no value"},
		"an alias":             {"name: &a x\nlevel: *a\n", "line 1: name: has an anchor (&name): write the value out, anchors are not allowed\nline 2: level: is an alias"},
		"a tag":                {"name: !!str x\n", "line 1: name: has a tag"},
		"text for a list":      {"list: x\n", "line 1: list: is a single value, want a list"},
		"fields for text":      {"name: {a: b}\n", "line 1: name: is a block of fields, want text"},
		"not a number":         {"count: 010\nserial: -1\nshare: .inf\n", "line 1: count: is not a whole number in decimal digits, such as 450000\nline 2: serial: is not a whole number in decimal digits, such as 450000\nline 3: share: is not a number, such as 2 or 0.5"},
		"not a truth":          {"on: yes\n", "line 1: on: is neither true nor false"},
		"not a duration":       {"wait: 5\n", "line 1: wait: is not a duration: write a number with a unit, such as 250ms, 30s or 10m"},
		"not a time":           {"at: soon\n", "line 1: at: is not a time"},
		"not what reads text":  {"list: [{}]\nlevel: low\n", "line 2: level: want high"},
		"neither of two forms": {"either: [x]\n", "line 1: either: is a list, want a word or fields"},
		"a form without sense": {"either: {}\n", "line 1: either: names no file"},
		"deep inside":          {"list: [{}, {apiKeyFle: x}]\n", "line 1: list[1].apiKeyFle: is an unknown field: did you mean apiKeyFile?"},
		"a control character":  {"# clears the screen: \x1b[2J\nname: x\n", "is not YAML: control characters are not allowed"},
		"tabs":                 {"inner:\n\tapiKeyFile: x\n", "line 2: is indented with a tab: YAML wants spaces"},
		"a secret's value":     {"level: " + aSecret + "\ncount: " + aSecret + "\n", "line 1: level: want high\nline 2: count: is not a whole number"},
		"a secret as a name":   {"objects: {" + aSecret + ": {}}\n", "line 1: objects: has a name that looks like a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Decode([]byte(c.text), &file{}, testRules())
			if e, ok := errors.AsType[*Error](err); !ok || len(e.Faults) == 0 || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), aSecret) {
				t.Error("a message repeats a secret")
			}
		})
	}
}

func TestSecretsAreRefusedWhereTheRulesSaySo(t *testing.T) {
	for _, text := range []string{"name: " + aSecret, "inner: {apiKey: x}"} {
		rules := testRules()
		rules.Secrets = "name its file"
		err := Decode([]byte(text), &file{}, rules)
		if err == nil || !strings.Contains(err.Error(), "name its file") || strings.Contains(err.Error(), aSecret) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Decode([]byte("name: "+aSecret), &file{}, testRules()); err != nil {
		t.Errorf("where they say nothing: %v", err)
	}
}
