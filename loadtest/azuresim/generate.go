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
	choices [][]string
	finish  string // the reason why every choice ends
	latency Latency
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
		model: quote(x.servedModel(x.deployment.snapshotName())), latency: x.inst.latencyOf(x.deployment), finish: "stop",
	}
	g.id = "cmpl-" + randomID(29)
	if chat {
		g.id = "chatcmpl-" + randomID(29)
	}
	n := g.latency.Tokens
	if asked := x.params.MaxTokens; asked > 0 && asked < n {
		n, g.finish = asked, "length"
	}
	if strings.Contains(x.params.Prompt, FilterAnswer) {
		n, g.finish = max(1, n/2), "content_filter"
	}
	for c := range x.params.Choices {
		g.choices = append(g.choices, wordsOf(x.params.Prompt, c, n))
	}
	x.cached = x.deployment.cache.hit(x.params.Prompt)
	return g
}

func (g *generation) serve() {
	g.x.spend(g.x.params.promptTokens() + g.completionTokens())
	if g.x.params.Stream {
		g.stream()
		return
	}
	for n := range g.choices[0] {
		if g.latency.PerToken == 0 && n > 0 {
			break
		}
		if !g.x.wait(g.x.pace(g.latency, n)) {
			return
		}
	}
	g.x.plain(&answer{status: 200, body: g.whole()})
}

func (g *generation) completionTokens() int { return len(g.choices) * len(g.choices[0]) }

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
	for n, tokens := range g.choices {
		if n > 0 {
			b.WriteByte(',')
		}
		text := quote(strings.Join(tokens, ""))
		b.WriteString(`{"content_filter_results":` + g.verdictOnAnswer() + `,"finish_reason":"` + g.finish +
			`","index":` + strconv.Itoa(n) + `,"logprobs":null,`)
		if g.chat {
			b.WriteString(`"message":{"annotations":[],"content":` + text + `,"refusal":null,"role":"assistant"}}`)
		} else {
			b.WriteString(`"text":` + text + `}`)
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

func (g *generation) verdictOnAnswer() string {
	if g.finish == "content_filter" {
		return filterViolence
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

// sendChoices sends all choices a token at a time, side by side.
func (g *generation) sendChoices(s *stream, tail string) bool {
	for c := range g.choices {
		if g.chat && !s.send([]byte(g.frame(c, `{}`, `{"content":"","refusal":null,"role":"assistant"}`, "", tail))) {
			return false
		}
	}
	for n := range g.choices[0] {
		if n > 0 && g.latency.PerToken > 0 && !g.x.wait(g.x.pace(g.latency, n)) {
			return false
		}
		for c := range g.choices {
			text := quote(g.choices[c][n])
			if g.chat {
				text = `{"content":` + text + `}`
			}
			if !s.send([]byte(g.frame(c, filterSafe, text, "", tail))) {
				return false
			}
		}
	}
	for c := range g.choices {
		filter, content := `{}`, `""`
		if g.chat {
			content = `{}`
		}
		if g.finish == "content_filter" {
			filter = filterViolence
		}
		if !s.send([]byte(g.frame(c, filter, content, g.finish, tail))) {
			return false
		}
	}
	return true
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
