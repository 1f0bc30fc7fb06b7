package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
)

// What a new user stumbles over is answered with what to do, and sent nowhere.
func TestAMistakeIsToldWithItsRemedy(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: func(text string) string { return text + "otherBoundaries: {us: https://us.gateway.example}\n" }})
	key := func(boundary string) string {
		k, err := auth.NewKey(geo.Boundary(boundary))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, tt := range map[string]struct {
		method, path string
		header       map[string]string
		status       int
		code, param  string
		says         []string
	}{
		"a key of a boundary whose address is known":   {header: map[string]string{"api-key": key("us")}, status: 403, code: "wrong_boundary", says: []string{"https://us.gateway.example"}},
		"a key of a boundary whose address is unknown": {header: map[string]string{"api-key": key("ap")}, status: 403, code: "wrong_boundary", says: []string{"another boundary"}},
		"two credentials":                    {header: map[string]string{"Authorization": "Bearer " + key("eu")}, status: 401, code: "unauthorized", says: []string{"two different credentials"}},
		"a compressed body":                  {header: map[string]string{"Content-Encoding": "gzip"}, status: 415, code: "unsupported_media_type", param: "Content-Encoding", says: []string{"Content-Encoding"}},
		"a body in a coding and no coding":   {header: map[string]string{"Content-Encoding": "identity, br"}, status: 415, code: "unsupported_media_type", param: "Content-Encoding"},
		"a body that is said to be as it is": {header: map[string]string{"Content-Encoding": "identity"}, status: 200},
		"OpenAI's own path":                  {path: "/v1/chat/completions", status: 404, code: "operation_not_found", says: []string{"/openai/v1/", "/openai/deployments/{route}/"}},
		"a doubled part":                     {path: "/openai/openai/v1/chat/completions", status: 404, code: "operation_not_found", says: []string{"twice", "/openai/v1/"}},
		"GET for POST":                       {method: "GET", status: 404, code: "operation_not_found", says: []string{"POST", "/openai/v1/"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "POST"
			}
			if tt.path == "" {
				tt.path = chatPath
			}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, s.Gateways[0].URL+tt.path, strings.NewReader(chatBody(false)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("api-key", s.Key)
			for name, value := range tt.header {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			var got struct {
				Error struct{ Code, Message, Param string }
			}
			if err := json.Unmarshal([]byte(read(t, resp)), &got); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || got.Error.Code != tt.code || got.Error.Param != tt.param {
				t.Errorf("%d %+v, want %d %s %s", resp.StatusCode, got.Error, tt.status, tt.code, tt.param)
			}
			if retry := resp.Header.Get("x-should-retry"); tt.status != 200 && retry != "false" {
				t.Errorf("x-should-retry is %q, want false", retry)
			}
			for _, text := range tt.says {
				if !strings.Contains(got.Error.Message, text) {
					t.Errorf("%q does not say %q", got.Error.Message, text)
				}
			}
		})
	}
	if n := s.Arrived(); n != 1 {
		t.Errorf("%d requests reached a backend, want the one that is right", n)
	}
}
