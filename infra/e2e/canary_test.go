package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// A lockedBuffer takes what several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// Bytes returns a copy of what was written.
func (b *lockedBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// promptCanary stands where a prompt has its text.
const promptCanary = "canary-prompt-Zq7xW2"

// P10: keys, tokens, prompts and answers appear nowhere but where they belong:
// not in the most talkative log of every part, not in metrics or status, and no
// secret in an error answer, however a call ends.
func TestP10Canary(t *testing.T) {
	const adminToken = "canary-admin-token-9fK3"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	s := e2e.Start(t, e2e.Options{
		Gateways: 2, Gossip: true, Clients: []string{"second"}, Log: &log, LogLevel: zerolog.TraceLevel,
		Configure: func(c *gateway.Config) { c.Admin.TokenFile = file },
	})
	stranger, err := auth.NewKey("eu")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := auth.NewKey("us")
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"a client's key": s.Key, "another client's key": s.Keys["second"], "a stranger's key": stranger, "a key of another boundary": foreign,
		"a backend's key": "key-of-swedencentral-ptu", "the other backend's key": "key-of-swedencentral-std", "the admin token": adminToken,
		"a wrong admin token": "canary-wrong-token",
	}
	texts := map[string]string{"the prompt": promptCanary}
	g := s.Gateways[0]
	answer := answerText(t, g, s.Key)
	if len(answer) < 20 {
		t.Fatalf("the answer %q is too short to be looked for", answer)
	}
	texts["the answer"] = answer
	texts["the answer's middle"] = answer[len(answer)/2-8 : len(answer)/2+8]

	errors := failingCalls(t, s, g, stranger, foreign)
	probeAdmin(t, g, "canary-wrong-token")
	places := map[string][]byte{"the log": log.Bytes(), "error answers": errors}
	for i, g := range s.Gateways {
		for _, path := range []string{"/metrics", "/status", "/explain?route=gpt-4o&client=payroll", "/health/stamp", "/health/ready"} {
			places[fmt.Sprintf("%s of gateway %d", path, i+1)] = s.Admin(g, path)
		}
	}
	places["the log"] = log.Bytes()
	if n := bytes.Count(places["the log"], []byte(`"message":"request"`)); n < 50 {
		t.Fatalf("the log has %d lines of requests: the test looks in the wrong place", n)
	}
	for place, text := range places {
		for what, secret := range secrets {
			report(t, place, text, what, secret)
		}
		for what, secret := range texts {
			if place != "error answers" { // the backend's own error may quote the request to its client
				report(t, place, text, what, secret)
			}
		}
	}
}

func report(t *testing.T, place string, text []byte, what, secret string) {
	t.Helper()
	if i := bytes.Index(text, []byte(secret)); i >= 0 {
		from, to := bytes.LastIndexByte(text[:i], '\n')+1, min(len(text), i+len(secret)+100)
		t.Errorf("%s is in %s: %s", what, place, text[from:to])
	}
}

// canaryBody is a chat call whose every text is the canary.
func canaryBody(stream bool) string {
	return fmt.Sprintf(`{"messages":[{"role":"system","content":%[1]q},{"role":"user","content":%[1]q}],"user":%[1]q,"stream":%[2]t}`, promptCanary, stream)
}

// answerText returns what the simulated model says to the canary.
func answerText(t *testing.T, g *e2e.Gateway, key string) string {
	t.Helper()
	var body struct {
		Choices []struct{ Message struct{ Content string } }
	}
	text := read(t, post(t, g, key, chatPath, canaryBody(false)))
	if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Choices) != 1 {
		t.Fatalf("not an answer: %v: %s", err, text)
	}
	return body.Choices[0].Message.Content
}

// failingCalls makes calls that fail in every way that the simulator knows, and
// returns what the clients got that was not a success.
func failingCalls(t *testing.T, s *e2e.Stack, g *e2e.Gateway, stranger, foreign string) []byte {
	t.Helper()
	var out bytes.Buffer
	call := func(key, path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("api-key", key)
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("X-Request-Id", promptCanary+"\tnot well-formed "+key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			out.WriteString(strings.ReplaceAll(err.Error(), req.URL.String(), "") + "\n")
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			fmt.Fprintf(&out, "%d %v\n%s\n", resp.StatusCode, resp.Header, text)
		}
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
		}
	}
	for _, kind := range azuresim.FaultKinds() {
		f := azuresim.Fault{Kind: kind}
		switch kind {
		case azuresim.FaultHang, azuresim.FaultHangConnect, azuresim.FaultStallFirstByte, azuresim.FaultStallMidStream,
			azuresim.FaultSlow, azuresim.FaultSlowDrip, azuresim.FaultWrongCertificate:
			continue // they take as long as a timeout, and end as others do
		case azuresim.FaultStatus:
			f.Status = 500
		case azuresim.FaultComments:
			f.Interval, f.Delay = 1e7, 5e7 // 10 and 50 ms
		case azuresim.FaultServedAs:
			f.Model = "another-model"
		case azuresim.FaultThrottle:
			f.RetryAfterMS = "1"
		case azuresim.FaultResetAfterBytes:
			f.Bytes = 10
		case azuresim.FaultErrorEvent, azuresim.FaultMalformedChunk, azuresim.FaultMalformedSSE:
			f.After = 3
		default: // needs nothing more
		}
		for _, i := range s.Sim.Instances() {
			setFault(t, s, i.Name(), f)
		}
		for _, key := range s.Keys {
			call(key, chatPath, canaryBody(false))
			call(key, chatPath, canaryBody(true))
		}
	}
	s.Sim.ClearFaults()
	for _, key := range []string{stranger, foreign, promptCanary, ""} {
		call(key, chatPath, canaryBody(false))
	}
	for _, path := range []string{
		"/openai/deployments/" + promptCanary + "/chat/completions?api-version=2024-10-21", "/openai/" + promptCanary,
		chatPath + "&" + promptCanary + "=" + promptCanary, "/" + s.Key,
	} {
		call(s.Key, path, canaryBody(false))
	}
	for _, body := range []string{promptCanary, `{"messages":"` + promptCanary, `{"` + promptCanary + `":1,"` + promptCanary + `":2}`, ""} {
		call(s.Key, chatPath, body)
	}
	return out.Bytes()
}

func probeAdmin(t *testing.T, g *e2e.Gateway, token string) {
	t.Helper()
	for _, url := range []string{g.AdminURL + "/status", g.URL + "/health/stamp"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if strings.HasSuffix(url, "/status") != (resp.StatusCode == http.StatusUnauthorized) {
			t.Errorf("%s answers %d to a wrong admin token", url, resp.StatusCode)
		}
	}
}
