package azuresim_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const (
	weather = `{"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string","enum":["C","F"]},"days":{"type":"integer","minimum":1,"maximum":7}},"required":["city","unit","days"],"additionalProperties":false}`
	clock   = `{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"],"additionalProperties":false}`
	tools   = `"tools":[{"type":"function","function":{"name":"get_weather","description":"d","strict":true,"parameters":` + weather + `}},` +
		`{"type":"function","function":{"name":"get_time","parameters":` + clock + `}}]`
)

// ask is a chat body with one message of a user and what else is given.
func ask(content string, more ...string) string {
	return `{` + strings.Join(append(more, `"messages":[{"role":"user","content":"`+content+`"}]`), ",") + `}`
}

// said is what a client puts together from an answer.
type said struct {
	Finish, Content string
	Calls           []calledFunction
	Completion      int
}

type calledFunction struct{ ID, Name, Arguments string }

type wireCall struct {
	Index    *int
	ID, Type string
	Function struct{ Name, Arguments string }
}

type wireMessage struct {
	Role    string
	Content *string
	Calls   []wireCall `json:"tool_calls"`
}

type wireAnswer struct {
	Choices []struct {
		Finish  *string `json:"finish_reason"`
		Message wireMessage
		Delta   wireMessage
	}
	Usage *struct {
		Completion int `json:"completion_tokens"`
	}
}

func plainly(t *testing.T, base, body string) said {
	t.Helper()
	r := call{body: body}.must(t, base)
	var a wireAnswer
	if err := json.Unmarshal([]byte(r.text), &a); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", r.StatusCode, r.text)
	}
	c := a.Choices[0]
	out := said{Finish: *c.Finish, Completion: a.Usage.Completion}
	if c.Message.Content != nil {
		out.Content = *c.Message.Content
	}
	if (c.Message.Content == nil) != (len(c.Message.Calls) > 0) {
		t.Errorf("content and calls: %s", r.text)
	}
	for _, call := range c.Message.Calls {
		if call.Type != "function" || call.Index != nil {
			t.Errorf("call %+v", call)
		}
		out.Calls = append(out.Calls, calledFunction{call.ID, call.Function.Name, call.Function.Arguments})
	}
	return out
}

// streamed puts a stream together as the official clients do: a call begins
// with its id, type and name, and only its arguments follow.
func streamed(t *testing.T, base, body string) said {
	t.Helper()
	r := call{body: strings.Replace(body, "{", `{"stream":true,"stream_options":{"include_usage":true},`, 1)}.must(t, base)
	var out said
	events := strings.Split(strings.TrimSuffix(r.text, "\n\n"), "\n\n")
	if last := events[len(events)-1]; last != "data: [DONE]" {
		t.Fatalf("ends with %q", last)
	}
	for n, event := range events[:len(events)-1] {
		var a wireAnswer
		if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &a); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		if a.Usage != nil {
			out.Completion = a.Usage.Completion
		}
		if len(a.Choices) == 0 {
			continue
		}
		if c := a.Choices[0]; c.Finish != nil {
			out.Finish = *c.Finish
		} else if role := c.Delta.Role; (role == "assistant") != (n == 1) {
			t.Errorf("event %d has role %q", n, role)
		}
		out.take(t, a.Choices[0].Delta)
	}
	return out
}

func (s *said) take(t *testing.T, d wireMessage) {
	t.Helper()
	if d.Content != nil {
		s.Content += *d.Content
	}
	for _, c := range d.Calls {
		switch {
		case c.Index == nil:
			t.Fatalf("a call without its index: %+v", c)
		case *c.Index == len(s.Calls):
			if c.ID == "" || c.Type != "function" || c.Function.Name == "" || c.Function.Arguments != "" {
				t.Errorf("a call begins with %+v", c)
			}
			s.Calls = append(s.Calls, calledFunction{c.ID, c.Function.Name, ""})
		case *c.Index != len(s.Calls)-1 || c.ID != "" || c.Type != "" || c.Function.Name != "":
			t.Errorf("a call goes on with %+v", c)
		}
		s.Calls[*c.Index].Arguments += c.Function.Arguments
	}
}

// both asks plainly and by stream, and wants the same of them.
func both(t *testing.T, base, body string) said {
	t.Helper()
	a, b := plainly(t, base, body), streamed(t, base, body)
	for n := range min(len(a.Calls), len(b.Calls)) {
		if a.Calls[n].ID == b.Calls[n].ID || !strings.HasPrefix(a.Calls[n].ID, "call_") {
			t.Errorf("ids %s and %s", a.Calls[n].ID, b.Calls[n].ID)
		}
		a.Calls[n].ID, b.Calls[n].ID = "", ""
	}
	if a.Finish != b.Finish || a.Content != b.Content || a.Completion != b.Completion || !slices.Equal(a.Calls, b.Calls) {
		t.Errorf("%s\nplain  %+v\nstream %+v", body, a, b)
	}
	return a
}

func TestToolsAreCalledAsTheRequestWants(t *testing.T) {
	i := one(t, nil)
	schemas := map[string]string{"get_weather": weather, "get_time": clock}
	for _, c := range []struct {
		name, body, finish string
		calls              []string
	}{
		{"the first, where nothing says which", ask("hello", tools), "tool_calls", []string{"get_weather"}},
		{"the one that the prompt names", ask("use get_time", tools), "tool_calls", []string{"get_time"}},
		{"all that the prompt names", ask("get_time and get_weather", tools), "tool_calls", []string{"get_weather", "get_time"}},
		{"several, asked for", ask("hello", tools, `"parallel_tool_calls":true`), "tool_calls", []string{"get_weather", "get_time"}},
		{"one, though the prompt names two", ask("get_time and get_weather", tools, `"parallel_tool_calls":false`), "tool_calls", []string{"get_weather"}},
		{"auto", ask("hello", tools, `"tool_choice":"auto"`), "tool_calls", []string{"get_weather"}},
		{"none", ask("get_time", tools, `"tool_choice":"none"`), "stop", nil},
		{"required", ask("hello", tools, `"tool_choice":"required"`), "tool_calls", []string{"get_weather"}},
		// A call that was asked for by name ends with stop, as the service has it.
		{"by name", ask("get_weather", tools, `"tool_choice":{"type":"function","function":{"name":"get_time"}}`), "stop", []string{"get_time"}},
		{"no parameters", ask("hello", `"tools":[{"type":"function","function":{"name":"f"}}]`), "tool_calls", []string{"f"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := both(t, i.URL(), c.body)
			var names []string
			for _, call := range got.Calls {
				names = append(names, call.Name)
				if schema := schemas[call.Name]; schema != "" {
					azuresim.Validate(t, schema, call.Arguments)
				} else if call.Arguments != "{}" {
					t.Errorf("arguments %s", call.Arguments)
				}
			}
			if !slices.Equal(names, c.calls) || got.Finish != c.finish || got.Completion == 0 {
				t.Errorf("calls %v, finish %q, %d tokens; want %v, %q", names, got.Finish, got.Completion, c.calls, c.finish)
			}
		})
	}
}

func TestWhatAToolReturnedIsAnsweredInWords(t *testing.T) {
	i := one(t, nil)
	history := `"messages":[{"role":"user","content":"get_time"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_time","arguments":"{\"zone\":\"CET\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"noon"}]}`
	if got := both(t, i.URL(), `{`+tools+`,`+history); got.Finish != "stop" || got.Content == "" || got.Calls != nil {
		t.Errorf("auto: %+v", got)
	}
	if got := both(t, i.URL(), `{"tool_choice":"required",`+tools+`,`+history); got.Finish != "tool_calls" || len(got.Calls) != 1 {
		t.Errorf("required: %+v", got)
	}
}

func TestToolsAndTheirCallsCountAsTokens(t *testing.T) {
	i := one(t, nil)
	prompt := func(body string) int {
		r := call{body: body}.must(t, i.URL())
		var a struct {
			Usage struct {
				Prompt int `json:"prompt_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(r.text), &a); err != nil {
			t.Fatal(err)
		}
		return a.Usage.Prompt
	}
	if with, without := prompt(ask("hello", tools)), prompt(ask("hello")); with < without+len(weather+clock)/4 {
		t.Errorf("%d tokens with tools, %d without", with, without)
	}
	got := plainly(t, i.URL(), ask("hello", tools))
	if want := (len(got.Calls[0].Arguments)+3)/4 + (len("get_weather")+3)/4; got.Completion != want {
		t.Errorf("%d tokens for %s, want %d", got.Completion, got.Calls[0].Arguments, want)
	}
}

func TestACallIsCutWhereTheRequestWantsItsEnd(t *testing.T) {
	i := one(t, nil)
	whole := plainly(t, i.URL(), ask("hello", tools, `"parallel_tool_calls":true`))
	for limit := 1; limit < whole.Completion; limit++ {
		got := both(t, i.URL(), ask("hello", tools, `"parallel_tool_calls":true`, `"max_completion_tokens":`+strconv.Itoa(limit)))
		if len(got.Calls) == 0 || !strings.HasPrefix(whole.Calls[0].Arguments, got.Calls[0].Arguments) {
			t.Fatalf("limit %d: %+v", limit, got)
		}
		if got.Finish == "tool_calls" && got.Completion == whole.Completion {
			return // all fits: names count too, and are not cut
		}
		if got.Finish != "length" {
			t.Fatalf("limit %d: %+v", limit, got)
		}
	}
}

func TestStructuredOutputIsValidByItsSchema(t *testing.T) {
	i := one(t, nil)
	for name, c := range map[string]struct{ format, schema string }{
		"json_object":          {`{"type":"json_object"}`, `{"type":"object"}`},
		"json_schema, strict":  {`{"type":"json_schema","json_schema":{"name":"w","strict":true,"schema":` + weather + `}}`, weather},
		"json_schema, lenient": {`{"type":"json_schema","json_schema":{"name":"w","schema":{"type":"object","properties":{"a":{"type":"integer"}}}}}`, `{"type":"object","properties":{"a":{"type":"integer"}}}`},
		"json_schema of lists": {`{"type":"json_schema","json_schema":{"name":"w","schema":{"type":"array","items":` + weather + `,"minItems":3}}}`, `{"type":"array","items":` + weather + `,"minItems":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := both(t, i.URL(), ask("answer as JSON", `"response_format":`+c.format))
			azuresim.Validate(t, c.schema, got.Content)
			if got.Finish != "stop" || got.Completion != (len(got.Content)+3)/4 {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := both(t, i.URL(), ask("hello", `"response_format":{"type":"text"}`)); strings.HasPrefix(got.Content, "{") {
		t.Errorf("text: %+v", got)
	}
	// With tools as well, a call comes first and the format is that of the answer.
	if got := both(t, i.URL(), ask("hello", tools, `"response_format":{"type":"json_schema","json_schema":{"name":"w","schema":`+weather+`}}`)); got.Finish != "tool_calls" {
		t.Errorf("tools and a format: %+v", got)
	}
}

func TestToolsAndFormatsThatTheServiceRefuses(t *testing.T) {
	i := one(t, nil)
	format := func(strict, schema string) string {
		return `"response_format":{"type":"json_schema","json_schema":{"name":"w","strict":` + strict + `,"schema":` + schema + `}}`
	}
	for name, c := range map[string]struct{ body, param, text string }{
		"a choice without tools":        {ask("x", `"tool_choice":"auto"`), "tool_choice", "only allowed when 'tools' are specified"},
		"parallel without tools":        {ask("x", `"parallel_tool_calls":true`), "parallel_tool_calls", "only allowed when 'tools' are specified"},
		"a choice that is none":         {ask("x", tools, `"tool_choice":"maybe"`), "tool_choice", "Supported values"},
		"a name that no tool has":       {ask("x", tools, `"tool_choice":{"type":"function","function":{"name":"other"}}`), "tool_choice", "'other' not found"},
		"a tool that is no function":    {ask("x", `"tools":[{"type":"browser"}]`), "tools[0].type", "'browser'"},
		"a function without a name":     {ask("x", `"tools":[{"type":"function","function":{}}]`), "tools[0].function.name", "Missing"},
		"strict, and a function open":   {ask("x", `"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{}}}}]`), "tools[0].function.parameters", "'additionalProperties' is required to be supplied and to be false"},
		"parameters that nothing meets": {ask("x", `"tools":[{"type":"function","function":{"name":"f","parameters":{"$ref":"#/none"}}}]`), "tools[0].function.parameters", "leads nowhere"},
		"json_object without the word":  {ask("x", `"response_format":{"type":"json_object"}`), "messages", "must contain the word 'json'"},
		"a format that is none":         {ask("x", `"response_format":{"type":"xml"}`), "response_format.type", "Supported values"},
		"a schema without a name":       {ask("x", `"response_format":{"type":"json_schema","json_schema":{"schema":{}}}`), "response_format.json_schema.name", "Missing"},
		"no schema":                     {ask("x", `"response_format":{"type":"json_schema"}`), "response_format.json_schema", "Missing"},
		"strict, and a root of lists":   {ask("x", format("true", `{"type":"array"}`)), "response_format", "'type: \"object\"'"},
		"strict, and one not required":  {ask("x", format("true", `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{}},"additionalProperties":false}},"required":["a"],"additionalProperties":false}`)), "response_format", "In context=('properties', 'a'), 'required' is required to be supplied and to be an array including every key in properties. Missing 'b'."},
		"strict, and allOf inside":      {ask("x", format("true", `{"type":"object","properties":{"a":{"anyOf":[{"allOf":[]}]}},"required":["a"],"additionalProperties":false}`)), "response_format", "In context=('properties', 'a', 'anyOf', '0'), 'allOf' is not permitted."},
	} {
		t.Run(name, func(t *testing.T) {
			r := call{body: c.body}.must(t, i.URL())
			var a struct {
				Error struct{ Message, Param, Type string }
			}
			if err := json.Unmarshal([]byte(r.text), &a); err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != http.StatusBadRequest || a.Error.Param != c.param || !strings.Contains(a.Error.Message, c.text) || a.Error.Type != "invalid_request_error" {
				t.Errorf("%d %s", r.StatusCode, r.text)
			}
		})
	}
}
