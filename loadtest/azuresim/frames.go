package azuresim

import "strconv"

// sendChoices sends all choices a token at a time, side by side.
func (g *generation) sendChoices(s *stream, tail string) bool {
	for n, c := range g.choices {
		if g.chat && !s.send([]byte(g.frame(n, `{}`, c.opening(), "", tail))) {
			return false
		}
	}
	for at := range g.longest() {
		if at > 0 && g.latency.PerToken > 0 && !g.x.wait(g.x.pace(g.latency, at)) {
			return false
		}
		for n, c := range g.choices {
			if at < len(c.tokens) && !g.sendToken(s, n, at, tail) {
				return false
			}
		}
	}
	for n, c := range g.choices {
		filter, content := `{}`, `""`
		if g.chat {
			content = `{}`
		}
		if c.finish == "content_filter" {
			filter = filterViolence
		}
		if !s.send([]byte(g.frame(n, filter, content, c.finish, tail))) {
			return false
		}
	}
	return true
}

// opening is the delta that says who speaks and, where a choice is one call,
// what is called: several calls begin one after the other.
func (c choice) opening() string {
	if len(c.calls) == 0 {
		return `{"content":"","refusal":null,"role":"assistant"}`
	}
	if len(c.calls) > 1 {
		return `{"content":null,"refusal":null,"role":"assistant"}`
	}
	return `{"content":null,"refusal":null,"role":"assistant","tool_calls":[` + c.calls[0].begin(0) + `]}`
}

// begin is the part of a delta that begins a call.
func (t toolCall) begin(index int) string {
	return `{"function":{"arguments":"","name":` + quote(t.name) + `},"id":"` + t.id + `","index":` + strconv.Itoa(index) + `,"type":"function"}`
}

// sendToken sends one token of a choice, with the beginning of the call whose
// first it is.
func (g *generation) sendToken(s *stream, n, at int, tail string) bool {
	c := g.choices[n]
	text := quote(c.tokens[at])
	for index, call := range c.calls {
		if at < call.from || at >= call.to {
			continue
		}
		if at == call.from && len(c.calls) > 1 &&
			!s.send([]byte(g.frame(n, `{}`, `{"tool_calls":[`+call.begin(index)+`]}`, "", tail))) {
			return false
		}
		delta := `{"tool_calls":[{"function":{"arguments":` + text + `},"index":` + strconv.Itoa(index) + `}]}`
		return s.send([]byte(g.frame(n, `{}`, delta, "", tail)))
	}
	if g.chat {
		text = `{"content":` + text + `}`
	}
	return s.send([]byte(g.frame(n, filterSafe, text, "", tail)))
}
