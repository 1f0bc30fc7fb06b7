package operation

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/operation/strictjson"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// What is accepted of a body. Azure's own largest n is 128, and no model writes
// 2^31 tokens.
const (
	maxDepth         = 64        // of nested arrays and objects
	maxMembers       = 1024      // of one object
	maxText          = 512       // bytes of a model, user or response id
	maxTokens  int64 = 1<<31 - 1 // of max_tokens and max_completion_tokens
	maxChoices int64 = 128       // of n and best_of
)

// limits are those of every walk over a body or a part of it.
func limits() strictjson.Limits { return strictjson.Limits{MaxDepth: maxDepth, MaxNames: maxMembers} }

// A Value is where a member of the body stands: body[Start:End] is its value,
// quotes included. The zero Value means that the name does not occur.
type Value struct{ Start, End int }

// Present reports whether the name occurs, be its value null.
func (v Value) Present() bool { return v.End > 0 }

// A Text is a string member. It aliases the body unless it held escapes.
type Text struct {
	Value
	Set   bool // present and not null
	bytes []byte
}

// String returns the decoded value, a copy.
func (t Text) String() string { return string(t.bytes) }

// A Flag is a boolean member; On is false where it is missing or null.
type Flag struct {
	Value
	On bool
}

// A Count is a member that is a whole number, 0 or more.
type Count struct {
	Value
	Set bool // present and not null
	N   int64
}

// A Body is what was read of a JSON request. Everything else in it is opaque.
type Body struct {
	Model               Text
	Stream              Flag
	Store               Flag
	MaxTokens           Count
	MaxCompletionTokens Count
	MaxOutputTokens     Count
	N                   Count
	BestOf              Count
	// StreamFormat is how speech asks for a stream of events; "" elsewhere.
	StreamFormat string
	// ManyPrompts: completions of a list of prompts, so that n is not the number of
	// choices.
	ManyPrompts bool
	// Where a reference may stand: see References.
	Messages, Input, Prompt, Tools, DataSources, OldDataSources, WebSearch Value
}

// ScanBody reads a JSON request in one pass, without keeping or changing it. It
// refuses (400) what two parsers could read differently. The error is an *refusal.Error.
func ScanBody(text []byte) (Body, error) {
	sc := scan{data: text}
	var m strictjson.Member
	w := strictjson.Begin(text, limits())
	for w.Next(&m) {
		sc.take(m)
		if sc.err != nil {
			return Body{}, sc.err
		}
	}
	if err := w.Err(); err != nil {
		return Body{}, badBody(err)
	}
	return sc.body, nil
}

func badBody(err error) *refusal.Error {
	e := bad("the body is not a JSON object that can be read in one way only: " + err.Error())
	if syntax, ok := errors.AsType[*strictjson.SyntaxError](err); ok && syntax.Offset == 0 && syntax.Truncated {
		e.Message = "the body is empty, want a JSON object"
	}
	return e
}

type scan struct {
	data []byte
	body Body
	err  *refusal.Error
}

func (sc *scan) take(m strictjson.Member) {
	b := &sc.body
	switch string(m.Name) {
	case "model":
		b.Model = sc.text(m, "model")
	case "user":
		sc.text(m, "user")
	case "previous_response_id":
		sc.text(m, "previous_response_id")
	case "stream":
		b.Stream = sc.flag(m, "stream")
	case "store":
		b.Store = sc.flag(m, "store")
	case "stream_options":
		sc.streamOptions(m)
	case "max_tokens":
		b.MaxTokens = sc.count(m, "max_tokens", maxTokens)
	case "max_completion_tokens":
		b.MaxCompletionTokens = sc.count(m, "max_completion_tokens", maxTokens)
	case "max_output_tokens":
		b.MaxOutputTokens = sc.count(m, "max_output_tokens", maxTokens)
	case "stream_format":
		if m.Kind == strictjson.String {
			t := strictjson.Text(sc.data, m)
			b.StreamFormat = string(t[:min(len(t), maxText)])
		}
	case "messages":
		b.Messages = Value{m.Start, m.End}
	case "input":
		b.Input = Value{m.Start, m.End}
	case "tools":
		b.Tools = Value{m.Start, m.End}
	case "data_sources":
		b.DataSources = Value{m.Start, m.End}
	case "dataSources":
		b.OldDataSources = Value{m.Start, m.End}
	case "web_search_options":
		b.WebSearch = Value{m.Start, m.End}
	case "prompt":
		b.Prompt = Value{m.Start, m.End}
		b.ManyPrompts = m.Kind == strictjson.Array
	case "n":
		b.N = sc.count(m, "n", maxChoices)
	case "best_of":
		b.BestOf = sc.count(m, "best_of", maxChoices)
	}
}

func (sc *scan) text(m strictjson.Member, param string) Text {
	t := Text{Value: Value{m.Start, m.End}}
	switch {
	case m.Kind == strictjson.Null:
		return t
	case m.Kind != strictjson.String:
		sc.err = badParam(param, param+" is not a string")
		return t
	}
	t.Set, t.bytes = true, strictjson.Text(sc.data, m)
	if len(t.bytes) > maxText {
		sc.err = badParam(param, fmt.Sprintf("%s is longer than %d bytes", param, maxText))
	}
	return t
}

func (sc *scan) flag(m strictjson.Member, param string) Flag {
	switch m.Kind {
	case strictjson.Null:
	case strictjson.Bool:
		return Flag{Value{m.Start, m.End}, sc.data[m.Start] == 't'}
	default:
		sc.err = badParam(param, param+" is not a boolean")
	}
	return Flag{Value: Value{m.Start, m.End}}
}

// count takes digits alone: 100.0 and 1e2 are whole numbers to some parsers and
// errors to others.
func (sc *scan) count(m strictjson.Member, param string, limit int64) Count {
	c := Count{Value: Value{m.Start, m.End}}
	if m.Kind == strictjson.Null {
		return c
	}
	n, ok := int64(0), m.Kind == strictjson.Number
	for _, d := range sc.data[m.Start:m.End] {
		if !ok || d < '0' || d > '9' {
			ok = false
			break
		}
		if n = n*10 + int64(d-'0'); n > limit {
			ok = false
		}
	}
	if !ok {
		sc.err = badParam(param, param+" is not a whole number from 0 to "+strconv.FormatInt(limit, 10))
		return c
	}
	c.Set, c.N = true, n
	return c
}

func (sc *scan) streamOptions(m strictjson.Member) {
	const param = "stream_options"
	switch m.Kind {
	case strictjson.Null:
		return
	case strictjson.Object:
	default:
		sc.err = badParam(param, param+" is not an object")
		return
	}
	var inner strictjson.Member
	w := strictjson.Begin(sc.data[m.Start:m.End], limits())
	for w.Next(&inner) && sc.err == nil {
		if string(inner.Name) == "include_usage" {
			inner.Start += m.Start
			inner.End += m.Start
			sc.flag(inner, "stream_options.include_usage")
		}
	}
	if w.Err() != nil && sc.err == nil {
		// Its syntax was checked already, so only its names can be at fault.
		sc.err = badParam(param, param+" has a name that occurs twice, or too many names")
	}
}

// EditModel is the edit that puts the deployment's name in the place of the model's,
// everything else byte for byte. b must have a model.
func EditModel(b *Body, deployment string) body.Edit {
	if !b.Model.Present() {
		panic("operation: EditModel of a body without a model; the caller must have asked Route")
	}
	return body.Edit{Start: b.Model.Start, End: b.Model.End, Text: strictjson.AppendString(nil, deployment)}
}

// TooLarge is the answer to a body beyond the gateway's limit.
func TooLarge(limitBytes int64) *refusal.Error {
	return &refusal.Error{
		Cause:   refusal.RequestTooLarge,
		Message: fmt.Sprintf("the body is larger than %d bytes", limitBytes),
	}
}

// Forget drops what refers to the text of the body, so that the text need not be
// kept. Where its members stand stays known.
func (b *Body) Forget() { b.Model.bytes = nil }
