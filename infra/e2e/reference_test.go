package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/stampgate/stampgate/infra/e2e"
)

// P1: where processing stays inside, no request may have a backend fetch from, or
// send to, a place of the client's choice: nothing of it reaches a backend, and
// the answer names the parameter. What a policy lists passes.
func TestP1NoPlaceOfTheClientsChoice(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	g := s.Gateways[0]
	image := func(url string) string {
		return `{"model":"gpt-4o","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"https://evil.example"},{"type":"image_url","image_url":{"url":"` + url + `"}}]}]}`
	}
	for _, path := range []string{chatPath, "/openai/v1/chat/completions"} {
		for body, param := range map[string]string{
			image("https://evil.example/a.png"): "messages[1].content[1].image_url.url",
			`{"model":"gpt-4o","messages":[],"data_sources":[{"parameters":{"endpoint":"https://evil.example"}}]}`: "data_sources[0].parameters.endpoint",
			`{"model":"gpt-4o","messages":[],"tools":[{"type":"mcp","server_url":"https://evil.example"}]}`:        "tools[0].server_url",
			`{"model":"gpt-4o","messages":[],"web_search_options":{"search_context_size":"low"}}`:                  "web_search_options",
		} {
			resp := post(t, g, s.Key, path, body)
			var got struct {
				Error struct{ Code, Param string }
			}
			if err := json.Unmarshal([]byte(read(t, resp)), &got); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusBadRequest || got.Error.Code != "external_reference" || got.Error.Param != param || resp.Header.Get("x-should-retry") != "false" {
				t.Errorf("%s: %d %+v, want 400 external_reference of %s", path, resp.StatusCode, got.Error, param)
			}
		}
	}
	if n := s.Arrived(); n != 0 {
		t.Errorf("%d requests reached a backend", n)
	}
	if resp := post(t, g, s.Key, chatPath, image("data:image/png;base64,AAAA")); resp.StatusCode != http.StatusOK {
		t.Errorf("a data: URL: %d", resp.StatusCode)
	}
	s.AwaitPolicy(s.Publish(s.Policy + "externalReferences: {hosts: [files.example]}\n"))
	for url, want := range map[string]int{
		"https://files.example/a.png": 200, "https://FILES.example./a.png": 200, "https://files.example@evil.example/": 400, "https://files.example.evil.example/": 400,
	} {
		if resp := post(t, g, s.Key, chatPath, image(url)); resp.StatusCode != want {
			t.Errorf("%s with a list: %d, want %d", url, resp.StatusCode, want)
		}
	}
	s.AwaitPolicy(s.Publish(strings.TrimSuffix(s.Policy, "externalReferences: {hosts: [files.example]}\n") + "externalReferences: allow\n"))
	if resp := post(t, g, s.Key, chatPath, image("https://evil.example/a.png")); resp.StatusCode != http.StatusOK {
		t.Errorf("allowed: %d", resp.StatusCode)
	}
}

// The same in a session: the first such message ends it, and does not reach the
// backend, which would echo it. Large sound passes.
func TestP1NoPlaceOfTheClientsChoiceInASession(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime})
	sound := `{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("QUJD", 1<<20) + `"}`
	for name, message := range map[string]string{
		"a tool server":      `{"type":"session.update","session":{"tools":[{"type":"mcp","server_label":"x","server_url":"https://evil.example"}]}}`,
		"an image":           `{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_image","image_url":"https://evil.example"}]}}`,
		"behind large sound": strings.TrimSuffix(sound, "}") + `,"session":{"tools":[{"type":"web_search"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := openSession(t, s.Gateways[0], v1Session, s.Key)
			if err != nil {
				t.Fatal(err)
			}
			c.SetReadLimit(-1)
			next(t, c)
			good := `{"type":"session.update","session":{"tools":[{"type":"function","name":"f","parameters":{"url":"https://x"}}]}}`
			for _, text := range []string{good, sound} {
				if err := c.Write(limited(t), websocket.MessageText, []byte(text)); err != nil {
					t.Fatal(err)
				}
				if _, got := next(t, c); got != text {
					t.Fatalf("%.60s came back as %.60s", text, got)
				}
			}
			if err := c.Write(limited(t), websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
			_, got, err := c.Read(limited(t))
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "external_reference") {
				t.Errorf("got %.60s, %v; want close code 1008", got, err)
			}
		})
	}
}

// A session follows the policy that comes while it is open.
func TestP1ASessionFollowsTheRuleOfReferences(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: func(text string) string { return withRealtime(text) + "externalReferences: allow\n" }})
	c, _, err := openSession(t, s.Gateways[0], v1Session, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	next(t, c)
	search := []byte(`{"type":"session.update","session":{"tools":[{"type":"web_search"}]}}`)
	if err := c.Write(limited(t), websocket.MessageText, search); err != nil {
		t.Fatal(err)
	}
	if _, got := next(t, c); got != string(search) {
		t.Errorf("allowed, it came back as %s", got)
	}
	s.AwaitPolicy(s.Publish(strings.TrimSuffix(s.Policy, "externalReferences: allow\n")))
	if err := c.Write(limited(t), websocket.MessageText, search); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(limited(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("refused by now, the session ended with %v", err)
	}
}
