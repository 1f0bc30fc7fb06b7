package azuresim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxTools is the service's bound.
const maxTools = 128

// A tool is a function that a chat may call.
type tool struct {
	name       string
	parameters json.RawMessage
}

// A toolChoice says whether the answer calls functions, and which.
type toolChoice struct {
	mode string // auto, none, required, or function for the one of that name
	name string
}

type rawTool struct {
	Type     string       `json:"type"`
	Function *rawFunction `json:"function"`
}

type rawFunction struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
	Strict     bool            `json:"strict"`
}

// addTools reads tools and what is said of their use.
func (p *params) addTools(b *body) *answer {
	if len(b.Tools) == 0 {
		switch {
		case present(b.ToolChoice):
			return invalidParameter("tool_choice", "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
		case b.Parallel != nil:
			return invalidParameter("parallel_tool_calls", "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.")
		}
		return nil
	}
	if len(b.Tools) > maxTools {
		return invalidParameter("tools", "Invalid 'tools': array too long. Expected an array with maximum length 128.")
	}
	for n, t := range b.Tools {
		at := "tools[" + strconv.Itoa(n) + "]"
		if t.Type != "function" {
			return invalidParameter(at+".type", "Invalid value: "+strings.ReplaceAll(quote(t.Type), `"`, "'")+". Supported values are: 'function'.")
		}
		if t.Function == nil || t.Function.Name == "" {
			return missingParameter(at + ".function.name")
		}
		f := *t.Function
		if !present(f.Parameters) {
			f.Parameters = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		if f.Strict {
			if why := strictFault(f.Parameters, nil); why != "" {
				return invalidFunction(at, f.Name, why)
			}
		}
		if _, err := valueOf(f.Parameters, ""); err != nil {
			return invalidFunction(at, f.Name, err.Error()+".")
		}
		p.Tools = append(p.Tools, tool{f.Name, f.Parameters})
		p.SchemaTokens += textTokens(f.Name) + textTokens(string(f.Parameters))
	}
	p.Parallel = b.Parallel
	return p.addChoice(b.ToolChoice)
}

func invalidFunction(at, name, why string) *answer {
	return modelError(http.StatusBadRequest, "Invalid schema for function '"+name+"': "+why,
		"invalid_request_error", at+".function.parameters", "invalid_function_parameters")
}

// addChoice reads tool_choice. Without it the model decides.
func (p *params) addChoice(raw json.RawMessage) *answer {
	p.Choice.mode = "auto"
	if !present(raw) {
		return nil
	}
	if json.Unmarshal(raw, &p.Choice.mode) == nil {
		if !slices.Contains([]string{"none", "auto", "required"}, p.Choice.mode) {
			return invalidParameter("tool_choice", "Invalid value for 'tool_choice'. Supported values are: 'none', 'auto', and 'required'.")
		}
		return nil
	}
	var named rawTool
	if json.Unmarshal(raw, &named) != nil || named.Type != "function" || named.Function == nil || named.Function.Name == "" {
		return invalidParameter("tool_choice", "Invalid type for 'tool_choice': expected 'none', 'auto', 'required' or a function.")
	}
	p.Choice = toolChoice{"function", named.Function.Name}
	if !slices.ContainsFunc(p.Tools, func(t tool) bool { return t.name == p.Choice.name }) {
		return invalidParameter("tool_choice", "Tool choice '"+p.Choice.name+"' not found in 'tools' parameter.")
	}
	return nil
}

// called are the tools that the answer calls, none for an answer in words. A
// model would decide; here those are called that the prompt names, or else the
// first, and the first two where parallel_tool_calls asks for several. What a
// tool returned is answered in words, unless a call is required.
func (p params) called() []tool {
	if len(p.Tools) == 0 || p.Choice.mode == "none" || p.Choice.mode == "auto" && p.AfterTool {
		return nil
	}
	var out []tool
	for _, t := range p.Tools {
		if t.name == p.Choice.name || p.Choice.name == "" && strings.Contains(p.Prompt, t.name) {
			out = append(out, t)
		}
	}
	least, most := 1, len(p.Tools)
	switch {
	case p.Choice.mode == "function" || p.Parallel != nil && !*p.Parallel:
		most = 1
	case p.Parallel != nil:
		least = 2
	}
	for n := 0; len(out) < min(least, len(p.Tools)); n++ {
		if t := p.Tools[n]; !slices.ContainsFunc(out, func(o tool) bool { return o.name == t.name }) || n == 1 {
			out = append(out, t)
		}
	}
	return out[:min(most, len(out))]
}
