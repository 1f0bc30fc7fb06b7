package azuresim

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// A generation is what a chat or a completion is answered with. Chat and
// completions differ only in names and in the form of a choice.
type generation struct {
	x       *exchange
	chat    bool
	id      string
	created string
	model   string // quoted
	choices []choice
	latency Latency
}

// A choice is one of the answers to a request.
type choice struct {
	tokens []string // of the text, or of the arguments of all calls
	calls  []toolCall
	finish string // the reason why it ends
}

// A toolCall is a function that a choice calls; its arguments are the choice's
// tokens from one to the other.
type toolCall struct {
	id, name string
	from, to int
}

func serveChat(x *exchange) {
	if !x.params.hasMessages {
		x.plain(missingParameter("messages"))
		return
	}
	newGeneration(x, true).serve()
}

func serveCompletion(x *exchange) {
	if !x.params.hasAny {
		x.plain(missingParameter("prompt"))
		return
	}
	newGeneration(x, false).serve()
}

func newGeneration(x *exchange, chat bool) *generation {
	g := &generation{
		x: x, chat: chat, created: strconv.FormatInt(time.Now().Unix(), 10),
		model: quote(x.servedModel(x.deployment.snapshotName())), latency: x.inst.latencyOf(x.deployment),
	}
	g.id = "cmpl-" + randomID(29)
	if chat {
		g.id = "chatcmpl-" + randomID(29)
	}
	for c := range x.params.Choices {
		one := choice{finish: "stop"}
		if called := x.params.called(); chat && called != nil {
			one = callsOf(x.params, called, c)
		} else {
			one.tokens = textOf(x.params, c, g.latency.Tokens, chat)
		}
		g.choices = append(g.choices, one.cut(x.params))
	}
	x.cached = x.deployment.cache.hit(x.params.Prompt)
	return g
}

// textOf is the text of a choice, in the format that was asked for.
func textOf(p params, c, tokens int, chat bool) []string {
	if p.Format.schema == nil || !chat {
		if p.MaxTokens > 0 && p.MaxTokens < tokens {
			tokens = p.MaxTokens + 1 // one too many: cut says why it ends
		}
		return wordsOf(p.Prompt, c, tokens)
	}
	text, err := valueOf(p.Format.schema, p.Prompt+strconv.Itoa(c))
	if err != nil { // the schema was tried with another seed
		text = "{}"
	}
	return pieces(text)
}

// callsOf is a choice that calls functions.
func callsOf(p params, called []tool, c int) choice {
	// A call that was asked for by name ends as a text does, as the service has it.
	out := choice{finish: "tool_calls"}
	if p.Choice.mode == "function" {
		out.finish = "stop"
	}
	for n, t := range called {
		arguments, err := valueOf(t.parameters, p.Prompt+strconv.Itoa(c)+t.name+strconv.Itoa(n))
		if err != nil { // the schema was tried with another seed
			arguments = "{}"
		}
		from := len(out.tokens)
		out.tokens = append(out.tokens, pieces(arguments)...)
		out.calls = append(out.calls, toolCall{"call_" + randomID(24), t.name, from, len(out.tokens)})
	}
	return out
}

// cut ends a choice where the request or the content filter wants its end.
func (c choice) cut(p params) choice {
	n := len(c.tokens)
	if p.MaxTokens > 0 && p.MaxTokens < n {
		n, c.finish = p.MaxTokens, "length"
	}
	if strings.Contains(p.Prompt, FilterAnswer) {
		n, c.finish = max(1, n/2), "content_filter"
	}
	c.tokens = c.tokens[:n]
	for k := range c.calls {
		if call := &c.calls[k]; call.from >= n && k > 0 {
			c.calls = c.calls[:k]
			break
		} else if call.to > n {
			call.to = n
		}
	}
	return c
}

// pieces cuts JSON text into tokens of four characters each.
func pieces(text string) []string {
	var out []string
	runes := []rune(text)
	for len(runes) > 0 {
		n := min(4, len(runes))
		out = append(out, string(runes[:n]))
		runes = runes[n:]
	}
	return out
}

func (g *generation) serve() {
	g.x.spend(g.x.params.promptTokens() + g.completionTokens())
	if g.x.params.Stream {
		g.stream()
		return
	}
	for n := range g.longest() {
		if g.latency.PerToken == 0 && n > 0 {
			break
		}
		if !g.x.wait(g.x.pace(g.latency, n)) {
			return
		}
	}
	g.x.plain(&answer{status: 200, body: g.whole()})
}

// longest is the number of tokens of the longest choice.
func (g *generation) longest() int {
	n := 0
	for _, c := range g.choices {
		n = max(n, len(c.tokens))
	}
	return n
}

// completionTokens counts the names of what is called with the rest.
func (g *generation) completionTokens() int {
	n := 0
	for _, c := range g.choices {
		n += len(c.tokens)
		for _, call := range c.calls {
			n += textTokens(call.name)
		}
	}
	return n
}

// usage reports tokens; the details are those of current chat models.
func (g *generation) usage() string {
	prompt, completion := g.x.params.promptTokens(), g.completionTokens()
	var b strings.Builder
	b.WriteString(`{"completion_tokens":` + strconv.Itoa(completion))
	if g.chat {
		b.WriteString(`,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,"reasoning_tokens":0,"rejected_prediction_tokens":0}`)
	}
	b.WriteString(`,"prompt_tokens":` + strconv.Itoa(prompt))
	if g.chat {
		b.WriteString(`,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":` + strconv.Itoa(g.x.cached) + `}`)
	}
	b.WriteString(`,"total_tokens":` + strconv.Itoa(prompt+completion) + `}`)
	return b.String()
}

// whole is the answer that is not a stream. Its keys are in alphabetical order,
// as the service sends them.
func (g *generation) whole() string {
	var b strings.Builder
	b.WriteString(`{"choices":[`)
	for n, c := range g.choices {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"content_filter_results":` + c.verdict() + `,"finish_reason":"` + c.finish +
			`","index":` + strconv.Itoa(n) + `,"logprobs":null,`)
		switch {
		case len(c.calls) > 0:
			b.WriteString(`"message":{"annotations":[],"content":null,"refusal":null,"role":"assistant","tool_calls":` + c.callsWhole() + `}}`)
		case g.chat:
			b.WriteString(`"message":{"annotations":[],"content":` + c.text() + `,"refusal":null,"role":"assistant"}}`)
		default:
			b.WriteString(`"text":` + c.text() + `}`)
		}
	}
	object := "text_completion"
	if g.chat {
		object = "chat.completion"
	}
	b.WriteString(`],"created":` + g.created + `,"id":"` + g.id + `","model":` + g.model + `,"object":"` + object +
		`","prompt_filter_results":` + promptSafe)
	if g.chat {
		b.WriteString(`,"system_fingerprint":null`)
	}
	b.WriteString(`,"usage":` + g.usage() + `}`)
	return b.String()
}

// text is the whole text of a choice, quoted.
func (c choice) text() string { return quote(strings.Join(c.tokens, "")) }

// callsWhole are the calls of a choice in an answer that is not a stream.
func (c choice) callsWhole() string {
	var b strings.Builder
	for n, call := range c.calls {
		b.WriteString(separator(n, "[") + `{"function":{"arguments":` + quote(strings.Join(c.tokens[call.from:call.to], "")) +
			`,"name":` + quote(call.name) + `},"id":"` + call.id + `","type":"function"}`)
	}
	return b.String() + "]"
}

// verdict is the filter's on the answer; it does not look at calls.
func (c choice) verdict() string {
	switch {
	case c.finish == "content_filter":
		return filterViolence
	case len(c.calls) > 0:
		return `{}`
	}
	return filterSafe
}

// stream sends the prompt's filter results, the tokens, the end and, where it
// was asked for, the usage.
func (g *generation) stream() {
	x := g.x
	if !x.wait(x.pace(g.latency, 0)) {
		return
	}
	s := openStream(x, g.latency.PerToken > 0)
	usageNull := ""
	if x.params.IncludeUsage {
		usageNull = `,"usage":null`
	}
	if !s.send([]byte(`{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":` + promptSafeStream + usageNull + `}`)) {
		return
	}
	if !g.sendChoices(s, g.frameTail(usageNull)) {
		return
	}
	if x.params.IncludeUsage && !s.send([]byte(`{"choices":[]`+g.frameTail(`,"usage":`+g.usage()))) {
		return
	}
	s.done()
}

// frameTail is what every frame of the answer ends with.
func (g *generation) frameTail(usage string) string {
	object, fingerprint := "text_completion", ""
	if g.chat {
		object, fingerprint = "chat.completion.chunk", `,"system_fingerprint":null`
	}
	return `,"created":` + g.created + `,"id":"` + g.id + `","model":` + g.model + `,"object":"` + object + `"` + fingerprint + usage + `}`
}

// frame is one event: content is the delta of a chat or the text of a completion.
func (g *generation) frame(choice int, filter, content, finish, tail string) string {
	name := "text"
	head := `{"choices":[{"content_filter_results":` + filter + `,`
	end := `"finish_reason":` + quoteOrNull(finish) + `,"index":` + strconv.Itoa(choice) + `,"logprobs":null`
	if g.chat {
		name = "delta"
		return head + `"` + name + `":` + content + `,` + end + `}]` + tail
	}
	return head + end + `,"` + name + `":` + content + `}]` + tail
}

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomID makes the changing part of an object's id.
func randomID(n int) string {
	b := make([]byte, n)
	for k := range b {
		b[k] = idLetters[rand.IntN(len(idLetters))]
	}
	return string(b)
}
