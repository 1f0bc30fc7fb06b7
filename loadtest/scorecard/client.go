package scorecard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	route = "gpt-4o"
	path  = "/openai/deployments/" + route + "/chat/completions?api-version=2024-10-21"
	// patience is how long a client waits for an answer: beyond what the
	// gateway's own limits allow, so that it never decides.
	patience = 60 * time.Second
)

// body asks for something; sessions need none.
func body(mode Mode) string {
	return fmt.Sprintf(`{"messages":[{"role":"user","content":"Tell me of the sea."}],"stream":%t}`, mode == Stream)
}

// An answer is what a client made of what came.
type answer struct {
	status    int
	text      string // the model's words
	complete  bool   // it ended as its kind of answer ends
	whole     bool   // a stream that finished and ended in order, with or without [DONE]
	errEvent  bool   // an error event came
	err       error  // of the connection
	attempts  int
	firstByte time.Duration
	raw       []byte
}

// begun says that the client holds part of an answer.
func (a answer) begun() bool { return a.status == http.StatusOK && len(a.raw) > 0 }

// honest says that the answer ended such that nobody can take it for complete.
func (a answer) honest() bool { return a.begun() && !a.complete && a.errEvent && a.err != nil }

// same says that both have the same status and bytes.
func (a answer) same(b answer) bool {
	return a.err == nil && a.status == b.status && bytes.Equal(a.raw, b.raw)
}

// A client sends requests as one of the policy's clients.
type client struct {
	http   *http.Client
	key    string
	header http.Header // beside the credential
}

func newClient(key string) *client {
	return &client{key: key, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// ask sends one request and reads what comes to its end.
func (c *client) ask(ctx context.Context, url string, mode Mode) answer {
	if mode == Session {
		return c.converse(ctx, url)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, strings.NewReader(body(mode)))
	if err != nil {
		return answer{err: err}
	}
	maps.Copy(req.Header, c.header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Api-Key", c.key)
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode}
	a.attempts, _ = strconv.Atoi(resp.Header.Get("X-Stampgate-Attempts"))
	first := make([]byte, 1)
	n, err := io.ReadFull(resp.Body, first)
	a.firstByte = time.Since(start)
	a.raw = first[:n]
	if err == nil {
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		a.raw = append(a.raw, rest...)
	}
	if !errors.Is(err, io.EOF) {
		a.err = err
	}
	a.read(mode)
	return a
}

// A chunk is what is needed of an answer or of an event.
type chunk struct {
	Choices []struct {
		Message, Delta struct{ Content string }
		FinishReason   string `json:"finish_reason"`
	}
	Error json.RawMessage
}

// read takes the answer apart.
func (a *answer) read(mode Mode) {
	if a.status != http.StatusOK {
		return
	}
	if mode == Plain {
		var c chunk
		if a.err == nil && json.Unmarshal(a.raw, &c) == nil && len(c.Choices) == 1 {
			a.complete, a.text = true, c.Choices[0].Message.Content
		}
		return
	}
	finished := false
	for event := range strings.SplitSeq(string(a.raw), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		switch {
		case !ok: // a comment, or nothing
		case strings.TrimRight(data, "\n") == "[DONE]":
			a.complete = finished && a.err == nil
		default:
			var c chunk
			if json.Unmarshal([]byte(data), &c) != nil {
				finished = false // half an event: whatever follows, it is not the answer
				continue
			}
			a.errEvent = a.errEvent || c.Error != nil
			if len(c.Choices) == 1 {
				a.text += c.Choices[0].Delta.Content
				finished = finished || c.Choices[0].FinishReason != ""
			}
		}
	}
	a.complete = a.complete && !a.errEvent
	a.whole = finished && !a.errEvent && a.err == nil
}

// opening is the length of a stream up to the end of the first event that holds
// a choice: what comes before it says nothing about success.
func opening(stream []byte) int {
	at := 0
	for {
		end := bytes.Index(stream[at:], []byte("\n\n"))
		if end < 0 {
			return len(stream)
		}
		event := stream[at : at+end]
		at += end + 2
		var c chunk
		if json.Unmarshal(bytes.TrimPrefix(event, []byte("data: ")), &c) == nil && len(c.Choices) > 0 {
			return at
		}
	}
}
