package operation

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// at is a place in a body, made into text only for a refusal.
type at struct {
	parent *at
	name   string
	index  int // if name is ""
}

func (p *at) field(name string) *at { return &at{parent: p, name: name} }
func (p *at) item(i int) *at        { return &at{parent: p, index: i} }

func (p *at) String() string {
	switch {
	case p.name == "":
		return p.parent.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.parent == nil:
		return p.name
	}
	return p.parent.String() + "." + p.name
}

// A seeker looks for references and keeps the first that is refused.
type seeker struct {
	data   []byte
	allows func(url string) bool
	err    *refusal.Error
}

func (s *seeker) raw(v Value) []byte { return s.data[v.Start:v.End] }

func (s *seeker) fault() error {
	if s.err == nil {
		return nil // not a nil *refusal.Error in an interface
	}
	return s.err
}

func value(m strictjson.Member) Value { return Value{m.Start, m.End} }

// A member's place names what the client chose only where that is one of the
// API's own words.
func word(name []byte) string {
	if len(name) > 40 {
		return "…"
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return "…"
		}
	}
	return string(name)
}

// members visits the members of an object; another value has none.
func (s *seeker) members(v Value, p *at, visit func(strictjson.Member, *at)) {
	raw := s.raw(v)
	if len(raw) == 0 || raw[0] != '{' && p != nil || s.err != nil {
		return
	}
	var m strictjson.Member
	w := strictjson.Begin(raw, limits())
	for w.Next(&m) && s.err == nil {
		m.Start += v.Start
		m.End += v.Start
		visit(m, p.field(word(m.Name)))
	}
	s.unread(w.Err(), p)
}

// array visits the items of an array; another value is its own only one.
func (s *seeker) array(v Value, p *at, visit func(strictjson.Member, *at)) {
	raw := s.raw(v)
	if len(raw) == 0 || s.err != nil {
		return
	}
	if raw[0] != '[' {
		if raw[0] == '{' {
			visit(strictjson.Member{Kind: strictjson.Object, Start: v.Start, End: v.End}, p)
		}
		return
	}
	var m strictjson.Member
	it := strictjson.BeginItems(raw, limits())
	for i := 0; it.Next(&m) && s.err == nil; i++ {
		m.Start += v.Start
		m.End += v.Start
		visit(m, p.item(i))
	}
	s.unread(it.Err(), p)
}

// unread refuses what cannot be read in one way only.
func (s *seeker) unread(err error, p *at) {
	if err == nil || s.err != nil {
		return
	}
	name := "the message"
	if p != nil {
		name = p.String()
	}
	s.err = badParam(name, name+" cannot be read in one way only: a name occurs twice, or too many do")
}

func (s *seeker) refuse(p *at) {
	if s.err == nil {
		param := p.String()
		s.err = &refusal.Error{
			Cause: refusal.ExternalReference, Param: param,
			Message: param + " refers to a place outside the request, which this boundary's policy does not allow: send the content itself, such as a data: URL",
		}
	}
}

// url checks a string that stands where a URL stands.
func (s *seeker) url(m strictjson.Member, p *at) {
	if m.Kind == strictjson.String && !holdsData(s.raw(value(m))) && !s.allows(string(strictjson.Text(s.data, m))) {
		s.refuse(p)
	}
}

func namesURL(name []byte) bool {
	return string(name) == "url" || bytes.HasSuffix(name, []byte("_url"))
}

// item looks into a message of chat, or an item of responses: its parts, and what
// it holds itself.
func (s *seeker) item(m strictjson.Member, p *at) {
	s.members(value(m), p, func(m strictjson.Member, p *at) {
		switch string(m.Name) {
		case "content", "output":
			s.array(value(m), p, s.part)
		case "tool_calls", "function_call", "arguments", "action":
			// What a model asked for, not what is fetched.
		default:
			s.partMember(m, p)
		}
	})
}

// part looks into one part of a content.
func (s *seeker) part(m strictjson.Member, p *at) {
	s.members(value(m), p, s.partMember)
}

func (s *seeker) partMember(m strictjson.Member, p *at) {
	switch {
	case namesURL(m.Name) && m.Kind == strictjson.String:
		s.url(m, p)
	case m.Kind == strictjson.Object: // image_url: {url: …}, file: {file_url: …}
		s.members(value(m), p, func(m strictjson.Member, p *at) {
			if namesURL(m.Name) {
				s.url(m, p)
			}
		})
	}
}

// prompt looks into the variables of a stored prompt, each of which may be a part.
func (s *seeker) prompt(v Value, p *at) {
	s.members(v, p, func(m strictjson.Member, p *at) {
		if string(m.Name) == "variables" {
			s.members(value(m), p, s.part)
		}
	})
}

// staysInside are the types of tools that Azure OpenAI runs itself, or leaves to
// the client. Any other is taken to leave: a type that is not known here may.
func staysInside(kind string) bool {
	return slices.Contains([]string{
		"function", "custom", "file_search", "code_interpreter", "image_generation", "computer", "computer_use_preview",
		"local_shell", "apply_patch", "tool_search", "namespace", "mcp",
	}, kind)
}

// plainTools reports whether all tools are functions and have nothing but what
// describes a function, as almost all have. It is one pass and allocates nothing.
func (s *seeker) plainTools(v Value) bool {
	raw := s.raw(v)
	if len(raw) == 0 {
		return true
	}
	if raw[0] != '[' {
		return false
	}
	for raw = raw[1:]; ; {
		raw = bytes.TrimLeft(raw, " \t\r\n,")
		if len(raw) == 0 || raw[0] != '{' {
			return len(raw) > 0 && raw[0] == ']'
		}
		var m strictjson.Member
		w := strictjson.BeginWithin(raw, limits())
		for w.Next(&m) {
			switch string(m.Name) {
			case "type":
				if text := string(raw[m.Start:m.End]); text != `"function"` && text != `"custom"` {
					return false
				}
			case "function", "name", "description", "parameters", "strict", "format", "custom":
			default:
				return false
			}
		}
		if w.Err() != nil {
			return false
		}
		raw = raw[w.End():]
	}
}

func (s *seeker) tool(m strictjson.Member, p *at) {
	if m.Kind != strictjson.Object {
		return
	}
	kind, server := "", false
	var tools Value
	s.members(value(m), p, func(m strictjson.Member, p *at) {
		switch {
		case string(m.Name) == "type" && m.Kind == strictjson.String:
			kind = string(strictjson.Text(s.data, m))
			if !staysInside(kind) {
				s.refuse(p)
			}
		case string(m.Name) == "tools":
			tools = value(m)
		case string(m.Name) == "function", string(m.Name) == "parameters", string(m.Name) == "format":
			// A schema, or what holds one.
		case string(m.Name) == "server_url" && m.Kind == strictjson.String:
			server = true
			if !strings.Contains(string(strictjson.Text(s.data, m)), "://") {
				s.refuse(p)
			}
			s.url(m, p)
		case string(m.Name) == "connector_id" && m.Kind != strictjson.Null: // a service, wherever it is
			s.refuse(p)
		default:
			s.partMember(m, p)
			s.network(m, p)
		}
	})
	if kind == "mcp" && !server {
		s.refuse(p.field("server_url"))
	}
	s.array(tools, p.field("tools"), s.tool) // of a namespace
}

// network refuses a container that may reach the network.
func (s *seeker) network(m strictjson.Member, p *at) {
	if m.Kind != strictjson.Object {
		return
	}
	s.members(value(m), p, func(m strictjson.Member, p *at) {
		if string(m.Name) == "network_policy" {
			s.refuse(p)
		}
	})
}

// dataSource looks for every member that says where the data is. A source that
// says it in no way that can be checked is refused, and so is one that says it in
// another way besides.
func (s *seeker) dataSource(m strictjson.Member, p *at) {
	found := false
	var look func(m strictjson.Member, p *at)
	look = func(m strictjson.Member, p *at) {
		before := found
		switch {
		case hidesPlace(m.Name) && m.Kind != strictjson.Null:
			s.refuse(p)
		case m.Kind == strictjson.Object:
			s.members(value(m), p, look)
		case m.Kind == strictjson.String && namesPlace(m.Name):
			found = true
			url := string(strictjson.Text(s.data, m))
			if !strings.HasPrefix(strings.ToLower(url), "https://") || !s.allows(url) {
				s.refuse(p)
			}
		}
		if strings.HasPrefix(folded(m.Name), "embedding") {
			found = before // where embeddings are made, not where the data is
		}
	}
	look(m, p)
	if !found {
		s.refuse(p)
	}
}

// folded is a parameter's name in the one form of its spellings: Azure has written
// project_resource_id and projectResourceId.
func folded(name []byte) string {
	return strings.ReplaceAll(strings.ToLower(string(name)), "_", "")
}

// hidesPlace reports whether a data source's parameter says where something is in
// words that are no URL: a cloud's region, a project of Azure.
func hidesPlace(name []byte) bool {
	return slices.Contains([]string{"environment", "projectresourceid"}, folded(name))
}

// namesPlace reports whether a data source's parameter says where something is.
func namesPlace(name []byte) bool {
	lower := strings.ToLower(string(name))
	if strings.HasSuffix(lower, "_field") || strings.HasSuffix(lower, "_fields") {
		return false // of fields_mapping: which column of the index holds a document's URL
	}
	for _, word := range []string{"endpoint", "url", "uri", "host", "server", "connection", "address"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
