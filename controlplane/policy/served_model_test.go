package policy

import "testing"

// What an answer calls its model is right, unsaid, unknown or another's.
func TestAnswersNameTheirModel(t *testing.T) {
	source := `
boundary: eu
residency: {countries: [SE, DE]}
stamps: [{region: swedencentral}, {region: lab, country: DE}]
backends:
  - {name: swc, region: swedencentral, endpoint: "https://swc.openai.azure.com", credential: {managedIdentity: {}}, deployments: [
      {name: a, model: gpt-5.4, version: "2026-03-05", sku: Standard, servedAs: [gpt-5.4-eu]},
      {name: b, model: gpt-5.5, version: "2026-09-10", sku: Standard}]}
  - {name: lab, region: lab, country: DE, kind: openai-compatible, endpoint: "https://gpu.lab.example", credential: {apiKeyEnv: LAB}, deployments: [
      {name: c, model: llama, version: "1"},
      {name: d, model: qwen, version: "1", servedAs: [qwen-local]}]}
routes:
  - {name: a, model: gpt-5.4, version: "2026-03-05"}
clients: [{name: p, keys: [{sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}], routes: [a]}]
`
	s := mustCompile(t, mustDecode(t, []byte(source)), Options{})
	for _, c := range []struct {
		target, says string
		want         ModelName
	}{
		{"a", "", ModelUnsaid},
		{"a", "gpt-5.4", ModelRight},
		{"a", "gpt-5.4-2026-03-05", ModelRight},
		{"a", "gpt-5.4-eu", ModelRight},
		{"a", "gpt-5.5", ModelOther},
		{"a", "gpt-5.5-2026-09-10", ModelOther},
		// The same model at a version that no deployment declares: Azure has moved it.
		{"a", "gpt-5.4-2026-06-01", ModelOther},
		{"a", "gpt-5.4-mini", ModelUnknown},
		{"a", "gpt-5.4-20-60-6-01", ModelUnknown},
		{"a", "something", ModelUnknown},
		{"c", "gpt-5.5", ModelUnsaid}, // nothing is declared to compare with
		{"d", "qwen-local", ModelRight},
		{"d", "qwen", ModelOther},
		{"d", "qwen-2026-01-01", ModelUnknown}, // versions of that form are Azure's
	} {
		for target := range s.Targets() {
			if target.Deployment == c.target && target.Names(c.says) != c.want {
				t.Errorf("%s answers as %q: %d, want %d", c.target, c.says, target.Names(c.says), c.want)
			}
		}
	}
}
