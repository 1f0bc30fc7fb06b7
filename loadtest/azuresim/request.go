package azuresim

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxAnswerTokens bounds the length of an answer, and n the number of choices.
const (
	maxAnswerTokens = 200_000
	maxChoices      = 16
	maxInputs       = 2048    // Azure's bound for one embeddings call
	maxAskedTokens  = 1 << 20 // no model generates more; keeps sums far from overflow
)

// params are what a request's body asks for, as far as the simulator cares.
type params struct {
	Model               string
	Stream              bool
	IncludeUsage        bool
	MaxTokens           int // 0: not given
	Choices             int
	Prompt              string // all text of the prompt, joined
	Messages            int    // chat: how many
	AfterTool           bool   // chat: the last message is what a tool returned
	Tools               []tool // chat: those that the answer may call
	Choice              toolChoice
	Parallel            *bool    // parallel_tool_calls, nil if it was not given
	Format              format   // of the answer
	SchemaTokens        int      // of tools, of their calls so far and of the format
	Inputs              []string // embeddings: one text each
	InputTokens         []int    // embeddings: tokens of each input
	Dimensions          int
	Base64              bool
	hasMessages, hasAny bool
}

// body mirrors the JSON; what has more than one form stays raw.
type body struct {
	Model         string          `json:"model"`
	Stream        bool            `json:"stream"`
	StreamOptions *streamOptions  `json:"stream_options"`
	MaxTokens     *int            `json:"max_tokens"`
	MaxCompletion *int            `json:"max_completion_tokens"`
	N             *int            `json:"n"`
	Messages      []message       `json:"messages"`
	Prompt        json.RawMessage `json:"prompt"`
	Input         json.RawMessage `json:"input"`
	Dimensions    *int            `json:"dimensions"`
	Encoding      string          `json:"encoding_format"`
	Tools         []rawTool       `json:"tools"`
	ToolChoice    json.RawMessage `json:"tool_choice"`
	Parallel      *bool           `json:"parallel_tool_calls"`
	Format        *rawFormat      `json:"response_format"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	ToolCalls json.RawMessage `json:"tool_calls"`
}

type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// parseBody reads a JSON body. What is wrong comes back as Azure's answer.
func parseBody(text []byte) (params, *answer) {
	var b body
	if !utf8.Valid(text) {
		return params{}, badJSON()
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return params{}, badJSON()
	}
	p := params{Model: b.Model, Stream: b.Stream, Choices: 1, Messages: len(b.Messages), hasMessages: b.Messages != nil}
	if b.StreamOptions != nil {
		if !b.Stream {
			return params{}, invalidParameter("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
		}
		p.IncludeUsage = b.StreamOptions.IncludeUsage
	}
	for _, n := range []*int{b.MaxTokens, b.MaxCompletion} {
		if n == nil {
			continue
		}
		if *n > maxAskedTokens {
			return params{}, invalidParameter("max_tokens", "max_tokens is too large.")
		}
		if *n < 1 {
			return params{}, invalidParameter("max_tokens", "Invalid value for 'max_tokens': expected an integer greater than or equal to 1.")
		}
		p.MaxTokens = *n
	}
	if b.N != nil {
		if p.Choices = *b.N; p.Choices < 1 || p.Choices > maxChoices {
			return params{}, invalidParameter("n", "Invalid value for 'n'.")
		}
	}
	if b.Dimensions != nil {
		if p.Dimensions = *b.Dimensions; p.Dimensions < 1 || p.Dimensions > 4096 {
			return params{}, invalidParameter("dimensions", "Invalid value for 'dimensions'.")
		}
	}
	switch b.Encoding {
	case "", "float":
	case "base64":
		p.Base64 = true
	default:
		return params{}, invalidParameter("encoding_format", "Invalid value for 'encoding_format'. Supported values are: 'float' and 'base64'.")
	}
	for _, add := range []func(*body) *answer{p.addTexts, p.addTools, p.addFormat} {
		if a := add(&b); a != nil {
			return params{}, a
		}
	}
	return p, nil
}

// addTexts collects the texts of messages, prompt and input.
func (p *params) addTexts(b *body) *answer {
	var all bytes.Buffer
	for _, m := range b.Messages {
		if !addContent(&all, m.Content) {
			return invalidParameter("messages", "Invalid type for 'messages': expected a string or an array of content parts.")
		}
		p.SchemaTokens += textTokens(string(m.ToolCalls))
		p.AfterTool = m.Role == "tool"
	}
	if present(b.Prompt) {
		texts, _, ok := texts(b.Prompt)
		if !ok {
			return invalidParameter("prompt", "Invalid type for 'prompt'.")
		}
		p.hasAny = true
		for _, t := range texts {
			all.WriteString(t)
		}
	}
	if present(b.Input) {
		var ok bool
		if p.Inputs, p.InputTokens, ok = texts(b.Input); !ok || len(p.Inputs) == 0 || len(p.Inputs) > maxInputs {
			return invalidParameter("input", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
		}
		for _, t := range p.Inputs {
			all.WriteString(t)
		}
	}
	p.Prompt = all.String()
	return nil
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// addContent adds a message's text: a string, parts, or nothing.
func addContent(to *bytes.Buffer, raw json.RawMessage) bool {
	if !present(raw) {
		return true
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		to.WriteString(s)
		return true
	}
	var parts []part
	if json.Unmarshal(raw, &parts) != nil {
		return false
	}
	for _, p := range parts {
		to.WriteString(p.Text)
	}
	return true
}

// texts reads a string, a list of strings, a list of token numbers, or a list
// of such lists.
func texts(raw json.RawMessage) (all []string, tokens []int, ok bool) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, []int{textTokens(one)}, true
	}
	if json.Unmarshal(raw, &all) == nil {
		for _, t := range all {
			tokens = append(tokens, textTokens(t))
		}
		return all, tokens, true
	}
	var numbers []int
	if json.Unmarshal(raw, &numbers) == nil {
		return []string{string(raw)}, []int{len(numbers)}, true
	}
	var lists [][]int
	if json.Unmarshal(raw, &lists) != nil {
		return nil, nil, false
	}
	all = nil
	for _, l := range lists {
		all = append(all, string(mustJSON(l)))
		tokens = append(tokens, len(l))
	}
	return all, tokens, true
}

// textTokens counts four characters as a token, which is the service's own rule
// of thumb for its limits.
func textTokens(s string) int { return (utf8.RuneCountInString(s) + 3) / 4 }

// promptTokens is what usage reports: chat adds three for each message and for
// the answer's beginning, which gives the recorded 8 for "Hello!".
func (p params) promptTokens() int {
	n := textTokens(p.Prompt) + p.SchemaTokens
	if p.hasMessages {
		n += 3*p.Messages + 3
	}
	return n
}

// limitCost is what the rate limit counts at arrival: the text's estimate and
// the most that may be generated, nothing for that if it is not given.
func (p params) limitCost() int { return textTokens(p.Prompt) + p.SchemaTokens + p.MaxTokens*p.Choices }
