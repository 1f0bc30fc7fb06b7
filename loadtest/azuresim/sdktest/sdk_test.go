// Package sdktest runs official clients against the simulator. It is apart from
// the simulator's own tests because the client library takes minutes to compile
// with the instrumentation that fuzzing needs.
package sdktest

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const (
	testKey    = "0123456789abcdef"
	apiVersion = "2024-10-21"
)

// start runs one instance for the length of the test.
func start(t *testing.T, change func(*azuresim.InstanceConfig)) *azuresim.Sim {
	t.Helper()
	i := azuresim.InstanceConfig{
		Name: "swc", Listen: "127.0.0.5:0", APIKey: testKey,
		Deployments: []azuresim.DeploymentConfig{
			{Name: "chat", Model: "gpt-4o", Version: "2024-11-20"},
			{Name: "vectors", Model: "text-embedding-3-small", Version: "1"},
		},
	}
	if change != nil {
		change(&i)
	}
	sim, err := azuresim.Start(t.Context(), azuresim.Config{
		ControlListen: "127.0.0.1:0", Instances: []azuresim.InstanceConfig{i},
	}, zerolog.New(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim
}

func tlsClient(t *testing.T, sim *azuresim.Sim) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: sim.CertPool()}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// exercise makes the three calls that every client makes.
func exercise(t *testing.T, c openai.Client) {
	t.Helper()
	ask := openai.ChatCompletionNewParams{
		Model:    "chat",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello!")},
	}
	answer, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	want := answer.Choices[0].Message.Content
	if want == "" || answer.Usage.TotalTokens != 24 || answer.Model != "gpt-4o-2024-11-20" {
		t.Errorf("chat: %s", answer.RawJSON())
	}

	ask.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := c.Chat.Completions.NewStreaming(t.Context(), ask)
	var got openai.ChatCompletionAccumulator
	for stream.Next() {
		chunk := stream.Current()
		if chunk.ID != "" { // the frame with the prompt's filter results has none
			got.AddChunk(chunk)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != want || got.Usage.TotalTokens != 24 {
		t.Errorf("stream: %q with %d tokens, want %q with 24", got.Choices[0].Message.Content, got.Usage.TotalTokens, want)
	}

	vectors, err := c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: "vectors",
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(vectors.Data) != 2 || len(vectors.Data[1].Embedding) != 1536 {
		t.Errorf("embeddings: %d vectors", len(vectors.Data))
	}
}

func TestOpenAIClientWithAzureOptions(t *testing.T) {
	sim := start(t, func(c *azuresim.InstanceConfig) { c.TLS = &azuresim.TLSConfig{} })
	i := sim.Instance("swc")
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithAPIKey(testKey), option.WithHTTPClient(tlsClient(t, sim)),
	))
	for _, r := range i.Records() {
		if r.Credential != azuresim.CredentialAPIKey || r.Protocol != "HTTP/2.0" || !r.Finished() {
			t.Errorf("record %+v", r)
		}
	}
}

func TestOpenAIClientWithAzureOptionsOverLoopbackHTTP(t *testing.T) {
	i := start(t, nil).Instance("swc")
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithAPIKey(testKey), azure.WithUnsafeAllowHTTP(),
	))
}

func TestOpenAIClientWithV1BaseURL(t *testing.T) {
	i := start(t, nil).Instance("swc")
	exercise(t, openai.NewClient(
		option.WithBaseURL(i.URL()+"/openai/v1/"), option.WithAPIKey(testKey), option.WithUnsafeAllowHTTP(),
	))
	for _, r := range i.Records() {
		if r.Credential != azuresim.CredentialBearerKey {
			t.Errorf("record %+v", r)
		}
	}
}

// The token goes the whole way that it goes in production: azidentity asks the
// identity endpoint, the client sends the token, the instance checks it.
func TestOpenAIClientWithManagedIdentity(t *testing.T) {
	sim := start(t, func(c *azuresim.InstanceConfig) {
		c.TLS = &azuresim.TLSConfig{}
		c.KeysDisabled = true
	})
	t.Setenv("IDENTITY_ENDPOINT", sim.IdentityURL())
	t.Setenv("IDENTITY_HEADER", sim.IdentityHeader())
	// azidentity keeps tokens for the whole process: another id, another token.
	id := azidentity.ClientID(fmt.Sprintf("00000000-0000-4000-8000-%012x", rand.Uint64N(1<<48)))
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	i := sim.Instance("swc")
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithTokenCredential(cred), option.WithHTTPClient(tlsClient(t, sim)),
	))
	if sim.TokensIssued() != 1 {
		t.Errorf("%d tokens issued for three calls, want 1", sim.TokensIssued())
	}
	for _, r := range i.Records() {
		if r.Credential != azuresim.CredentialBearerToken {
			t.Errorf("record %+v", r)
		}
	}
}
