package azuresim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

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
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
		c.TLS = &azuresim.TLSConfig{}
	})}})
	i := sim.Instance("swc")
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithAPIKey(testKey), option.WithHTTPClient(tlsClient(t, sim, true)),
	))
	for _, r := range i.Records() {
		if r.Credential != azuresim.CredentialAPIKey || r.Protocol != "HTTP/2.0" || !r.Finished() {
			t.Errorf("record %+v", r)
		}
	}
}

func TestOpenAIClientWithAzureOptionsOverLoopbackHTTP(t *testing.T) {
	i := one(t, nil)
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithAPIKey(testKey), azure.WithUnsafeAllowHTTP(),
	))
}

func TestOpenAIClientWithV1BaseURL(t *testing.T) {
	i := one(t, nil)
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
	sim := start(t, azuresim.Config{
		ControlListen: "127.0.0.1:0",
		Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
			c.TLS = &azuresim.TLSConfig{}
			c.KeysDisabled = true
		})},
	})
	t.Setenv("IDENTITY_ENDPOINT", sim.IdentityURL())
	t.Setenv("IDENTITY_HEADER", sim.IdentityHeader())
	cred, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := sim.Instance("swc")
	exercise(t, openai.NewClient(
		azure.WithEndpoint(i.URL(), apiVersion), azure.WithTokenCredential(cred), option.WithHTTPClient(tlsClient(t, sim, true)),
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

func TestTokensAreChecked(t *testing.T) {
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{
		instance("any", nil),
		instance("chosen", func(c *azuresim.InstanceConfig) { c.AcceptTokens.Principals = []string{"me"} }),
		instance("keysOff", func(c *azuresim.InstanceConfig) { c.KeysDisabled = true }),
		instance("tokensOff", func(c *azuresim.InstanceConfig) { c.AcceptTokens.Disabled = true }),
	}})
	const good = "https://cognitiveservices.azure.com"
	for _, c := range []struct {
		name, instance, token string
		status                int
		text                  string
	}{
		{"good", "any", sim.IssueToken(good, "", time.Hour), 200, ""},
		{"the other audience", "any", sim.IssueToken("https://ai.azure.com/", "", time.Hour), 200, ""},
		{"foreign audience", "any", sim.IssueToken("https://management.azure.com", "", time.Hour), 401, "audience is incorrect"},
		{"expired", "any", sim.IssueToken(good, "", -time.Second), 401, "expired"},
		{"forged", "any", sim.IssueToken(good, "", time.Hour) + "A", 401, "invalid"},
		{"with the role", "chosen", sim.IssueToken(good, "me", time.Hour), 200, ""},
		// 401 and not 403: that is how Azure says it.
		{"without the role", "chosen", sim.IssueToken(good, "you", time.Hour), 401, `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`},
		{"tokens off", "tokensOff", sim.IssueToken(good, "", time.Hour), 401, "Unauthorized"},
		{"keys off", "keysOff", "", 403, `{"error":{"code":"AuthenticationTypeDisabled","message":"Key based authentication is disabled for this resource."}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := map[string]string{}
			if c.token != "" {
				header = map[string]string{"Api-Key": "", "Authorization": "Bearer " + c.token}
			}
			r := call{header: header}.must(t, sim.Instance(c.instance).URL())
			if r.StatusCode != c.status || !strings.Contains(r.text, c.text) {
				t.Errorf("%d %s, want %d %s", r.StatusCode, r.text, c.status, c.text)
			}
		})
	}
}
