package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/e2e"
)

// azureClient is the official SDK as users of the dated API set it up.
func azureClient(t *testing.T, s *e2e.Stack, g *e2e.Gateway) openai.Client {
	opts := []option.RequestOption{
		azure.WithEndpoint(g.URL, "2024-10-21"), azure.WithAPIKey(s.Key), option.WithMaxRetries(0),
	}
	if s.CAFile == "" {
		opts = append(opts, azure.WithUnsafeAllowHTTP())
	}
	return openai.NewClient(append(opts, transport(t, s)...)...)
}

// v1Client is the official SDK with a base URL: the key goes as a bearer token.
func v1Client(t *testing.T, s *e2e.Stack, g *e2e.Gateway) openai.Client {
	opts := []option.RequestOption{
		option.WithBaseURL(g.URL + "/openai/v1/"), option.WithAPIKey(s.Key), option.WithMaxRetries(0),
	}
	return openai.NewClient(append(opts, transport(t, s)...)...)
}

func transport(t *testing.T, s *e2e.Stack) []option.RequestOption {
	t.Helper()
	if s.CAFile == "" {
		return []option.RequestOption{option.WithUnsafeAllowHTTP()}
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return []option.RequestOption{option.WithHTTPClient(&http.Client{Transport: tr})}
}

func TestOfficialGoSDK(t *testing.T) {
	for _, tt := range []struct {
		name           string
		secured, http2 bool
	}{{"plain", false, false}, {"over TLS", true, false}, {"over HTTP/2", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			s := e2e.Start(t, e2e.Options{TLS: tt.secured, Configure: func(c *gateway.Config) { c.HTTP2 = tt.http2 }})
			for name, client := range map[string]openai.Client{
				"azure options": azureClient(t, s, s.Gateways[0]), "v1 base URL": v1Client(t, s, s.Gateways[0]),
			} {
				t.Run(name, func(t *testing.T) { exercise(t, client) })
			}
		})
	}
}

func question() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    "gpt-4o",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Say hello.")},
	}
}

// exercise makes a chat call, the same one streamed, and an embedding.
func exercise(t *testing.T, client openai.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), e2e.Limit)
	defer cancel()
	chat, err := client.Chat.Completions.New(ctx, question())
	if err != nil {
		t.Fatalf("chat: %v", err)
	}
	whole := chat.Choices[0].Message.Content
	if whole == "" || chat.Usage.TotalTokens == 0 {
		t.Errorf("chat answered %q with %d tokens", whole, chat.Usage.TotalTokens)
	}

	p := question()
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(ctx, p)
	var text strings.Builder
	var tokens int64
	for stream.Next() {
		chunk := stream.Current()
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content)
		}
		tokens += chunk.Usage.TotalTokens
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("stream: %v", err)
	}
	// The simulator answers the same request with the same text.
	if text.String() != whole || tokens != chat.Usage.TotalTokens {
		t.Errorf("stream said %q with %d tokens, the plain answer %q with %d", text.String(), tokens, whole, chat.Usage.TotalTokens)
	}

	embedding, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: "text-embedding-3-large", Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hello")},
	})
	if err != nil {
		t.Fatalf("embedding: %v", err)
	}
	if len(embedding.Data[0].Embedding) == 0 {
		t.Error("the embedding is empty")
	}
}
