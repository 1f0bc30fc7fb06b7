package sdktest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"

	"github.com/stampgate/stampgate/infra/devstack"
)

// devStack runs the development stack over TLS, from the built commands, in the
// folder .dev of a new one, as make dev does here.
func devStack(t *testing.T) (s *devstack.Stack, folder string) {
	t.Helper()
	bin := os.Getenv("STAMPGATE_BIN")
	if bin == "" {
		t.Skip("SKIPPED: the commands are built and named by make sdk-test")
	}
	folder = t.TempDir()
	boundaries := devstack.DefaultBoundaries()[:1]
	boundaries[0].GatewaysPerStamp = 1
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan *devstack.Stack, 1), make(chan error, 1)
	go func() {
		ended <- devstack.Run(ctx, devstack.Config{
			Dir: filepath.Join(folder, devstack.DefaultDir), BinDir: bin, Boundaries: boundaries, TLS: true, Log: t.Output(),
		}, func(s *devstack.Stack) { ready <- s })
	}()
	select {
	case s = <-ready:
	case err := <-ended:
		stop()
		t.Fatalf("the stack ended: %v", err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the stack ended: %v", err)
		}
	})
	return s, folder
}

// readme is the README's first block that begins so, as it stands there.
func readme(t *testing.T, begin string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+begin)
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("the README has no block that begins with %q", begin)
	}
	return block
}

func TestTheDevelopmentStackServesTheSDKsOverTLS(t *testing.T) {
	installed := installedSDKs(t)
	s, folder := devStack(t)
	eu := s.Boundaries["eu"]
	url, key := eu.Gateways[0].URL, eu.Clients[0].Key
	for name, command := range scripts(installed) {
		t.Run(name, func(t *testing.T) {
			run(t, command, "BASE_URL="+url, "API_KEY="+key, "MODEL=gpt-5.4", "SSL_CERT_FILE="+s.CAFile, "NODE_EXTRA_CA_CERTS="+s.CAFile)
		})
	}
	t.Run("go", func(t *testing.T) { exerciseGo(t, s.CAFile, url, key) })
	t.Run("the README's curl, as it stands", func(t *testing.T) { exerciseCurl(t, folder) })
	t.Run("the README's Python, as it stands", func(t *testing.T) {
		file := filepath.Join(folder, "first.py")
		if err := os.WriteFile(file, []byte(readme(t, "```python\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), scripts(installed)["python"][0], file)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE=.dev/tls/ca.pem") // as the README says it
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); err != nil || len(lines) != 2 || lines[0] == "" || lines[1] != "3072" {
			t.Errorf("%v: %q, want an answer and the dimensions of an embedding", err, out)
		}
	})
}

// exerciseCurl runs the README's first call by a shell, as it stands.
func exerciseCurl(t *testing.T, folder string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "KEY="+readme(t, "### A first call\n\n```\nKEY="))
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CURL_CA_BUNDLE=.dev/tls/ca.pem") // the README's --cacert
	out, err := cmd.Output()
	for _, want := range []string{" 200", "\nx-stampgate-target: eu-swedencentral-ptu/gpt-5.4-ptu", `"object":"chat.completion"`} {
		if err != nil || !strings.Contains(strings.ToLower(string(out)), want) { // HTTP/2 knows small letters alone
			t.Errorf("%v: %s\nwant %q", err, out, want)
		}
	}
}

// exerciseGo needs no installed SDK. The client refuses plain http.
func exerciseGo(t *testing.T, caFile, url, key string) {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	c := openai.NewClient(azure.WithEndpoint(url, "2024-10-21"), azure.WithAPIKey(key),
		option.WithHTTPClient(&http.Client{Transport: transport, Timeout: time.Minute}), option.WithMaxRetries(0))
	answer, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: "gpt-5.4", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "now", Parameters: openai.FunctionParameters{"type": "object", "properties": map[string]any{"zone": map[string]any{"type": "string"}}},
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := answer.Choices[0]; c.FinishReason != "tool_calls" || c.Message.ToolCalls[0].Function.Name != "now" {
		t.Errorf("%s", answer.RawJSON())
	}
}
