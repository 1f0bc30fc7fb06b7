package operation

import (
	"bytes"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
)

// places are the members of a body in which an operation lets the client name
// what a backend fetches from or sends to.
type places uint8

const (
	inMessages    places = 1 << iota // messages[].content parts of chat
	inInput                          // input items of responses, and prompt.variables
	inTools                          // tools[]
	inDataSources                    // data_sources[] of chat
	inWebSearch                      // web_search_options of chat
)

// placesOf is the table's column of references. An operation that is not here has
// no place for one.
func placesOf(name string) places {
	switch name {
	case "chat_completions":
		return inMessages | inTools | inDataSources | inWebSearch
	case "responses":
		return inInput | inTools
	}
	return 0
}

// References finds the external references of a body, where the operation has a
// place for them and nowhere else: not in texts, schemas or arguments. allows says
// whether a URL may be named; a tool that leaves Azure OpenAI by itself never may.
// b must come from ScanBody of the same body. The error is an *refusal.Error that names
// the parameter; what is read in two ways where a reference may stand is refused,
// too.
//
// Most bodies have no such place filled: whether there can be anything is asked
// first, in passes that look at no structure.
func References(op *Operation, body []byte, b *Body, allows func(url string) bool) error {
	in := placesOf(op.Name)
	s := &seeker{data: body, allows: allows}
	if in&inMessages != 0 && mayRefer(s.raw(b.Messages)) {
		s.array(b.Messages, &at{name: "messages"}, s.item)
	}
	if in&inInput != 0 {
		if mayRefer(s.raw(b.Input)) {
			s.array(b.Input, &at{name: "input"}, s.item)
		}
		if mayRefer(s.raw(b.Prompt)) {
			s.prompt(b.Prompt, &at{name: "prompt"})
		}
	}
	if in&inTools != 0 && !s.plainTools(b.Tools) {
		s.array(b.Tools, &at{name: "tools"}, s.tool)
	}
	if in&inDataSources != 0 && (b.DataSources.Present() || b.OldDataSources.Present()) {
		s.array(b.DataSources, &at{name: "data_sources"}, s.dataSource)
		s.array(b.OldDataSources, &at{name: "dataSources"}, s.dataSource)
	}
	if in&inWebSearch != 0 && b.WebSearch.Present() && !bytes.Equal(s.raw(b.WebSearch), []byte("null")) {
		s.refuse(&at{name: "web_search_options"})
	}
	return s.fault()
}

// EventReferences is References for a message of a realtime session, from its
// client.
func EventReferences(message []byte, allows func(url string) bool) error {
	if !MayRefer(message) {
		return nil
	}
	s := &seeker{data: message, allows: allows}
	s.members(Value{0, len(message)}, nil, func(m strictjson.Member, p *at) {
		switch string(m.Name) {
		case "session", "response":
			s.members(value(m), p, s.setting)
		case "item":
			s.item(m, p)
		default:
			s.setting(m, p)
		}
	})
	return s.fault()
}

// setting looks into what a session or a response is told.
func (s *seeker) setting(m strictjson.Member, p *at) {
	switch string(m.Name) {
	case "tools":
		s.array(value(m), p, s.tool)
	case "input":
		s.array(value(m), p, s.item)
	case "prompt":
		s.prompt(value(m), p)
	}
}

// MayRefer reports whether a message of a session can hold a reference at all. If
// it holds for no part of a message, parts overlapping by ReferenceOverlap, it does
// not for the whole.
func MayRefer(message []byte) bool {
	return bytes.Contains(message, []byte(`url"`)) || bytes.Contains(message, []byte(`"tools"`)) || escapesASCII(message)
}

// ReferenceOverlap is one byte less than the longest of what MayRefer looks for.
const ReferenceOverlap = 6

// mayRefer reports whether a value can have a member that is named like a URL and
// is none with data: in itself. The value is JSON, so that a colon behind a string
// makes it a name.
func mayRefer(value []byte) bool {
	if escapesASCII(value) {
		return true // a name may be hidden
	}
	rest := value
	for {
		i := bytes.Index(rest, []byte(`url"`))
		if i < 0 {
			return false
		}
		rest = rest[i+len(`url"`):]
		after, named := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
		if !named {
			continue
		}
		// An object with a URL in it has a name of its own for that.
		if after = bytes.TrimLeft(after, " \t\r\n"); len(after) > 0 && after[0] != '{' && !holdsData(after) {
			return true
		}
	}
}

// holdsData reports whether a JSON string, as written, is a data: URL.
func holdsData(text []byte) bool {
	const data = `"data:`
	return len(text) >= len(data) && bytes.EqualFold(text[:len(data)], []byte(data))
}

// escapesASCII reports whether a printable ASCII character is written as \u00XX:
// nobody needs to, but a name could be hidden so.
func escapesASCII(value []byte) bool {
	for {
		i := bytes.Index(value, []byte(`\u00`))
		if i < 0 || i+4 >= len(value) {
			return false
		}
		if c := value[i+4]; '2' <= c && c <= '7' {
			return true
		}
		value = value[i+4:]
	}
}
