package azuresim

import (
	"net/http"
	"strings"
)

// What the content filter says of harmless text, and of the text that the
// markers in a prompt make it refuse.
const (
	filterSafe = `{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},` +
		`"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}`
	filterViolence = `{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},` +
		`"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":true,"severity":"medium"}}`
	filterPromptSafe = `{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false},` +
		`"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}`
	// The two orders of keys are those of a recorded answer and of the
	// documented stream.
	promptSafe       = `[{"content_filter_results":` + filterPromptSafe + `,"prompt_index":0}]`
	promptSafeStream = `[{"prompt_index":0,"content_filter_results":` + filterPromptSafe + `}]`
	// The apostrophe is the typographic one, as in the service's answer.
	filteredBody = `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI’s content management policy. ` +
		`Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: ` +
		`https://go.microsoft.com/fwlink/?linkid=2198766","type":null,"param":"prompt","code":"content_filter","status":400,` +
		`"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":` + filterViolence + `}}}`
)

// filtered returns the refusal of a prompt that carries the marker.
func (x *exchange) filtered() *answer {
	if x.deployment == nil || x.op.capability == canEmbed || !strings.Contains(x.params.Prompt, FilterPrompt) {
		return nil
	}
	x.spend(x.params.promptTokens()) // a filtered prompt is billed
	return &answer{
		status: http.StatusBadRequest, body: filteredBody,
		header: map[string]string{"x-ms-rai-invoked": "true", "x-ms-deployment-name": x.deployment.Name},
	}
}
