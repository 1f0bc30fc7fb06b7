package strictyaml

import (
	"strings"
	"testing"
)

func TestSecretsAreKnownByTheirForm(t *testing.T) {
	secrets := []string{
		"0123456789abcdef0123456789abcdef",
		"sk-proj-AbCdEf0123456789AbCdEf",
		"sg_eu_0123456789abcdefghijABCDEFGHIJ0123456789xyz",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
		"Bearer abcdefghijklmnop", "Basic dXNlcjpwYXNzd29yZA==",
		"-----BEGIN PRIVATE KEY-----", "x;AccountKey=abc123abc123", "https://x/?sig=abcdefgh",
		strings.Repeat("aB3", 28), // 84 characters, as Azure's newer keys
		"4Ihx0eTjz6RuYkpT1oZ8CqWv2NsLm9Ab3DfGhJkPrQs=",
	}
	plain := []string{
		"", "gpt-4o", "2024-11-20", "gpt-4o-2024-11-20-Standard-SwedenCentral-Payroll-1", "swedencentral", "meta-llama/Llama-3.3-70B-Instruct",
		"11111111-1111-1111-1111-111111111111", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
		"https://cognitiveservices.azure.com/.default", "/run/secrets/stampgate/eu/swedencentral-payg-1-key",
		"https://a-very-long-resource-name-of-some-department-in-se1.openai.azure.com",
		"2C26B46B68FFC68FF99B453C1D30413413422D706483BFA0F98A5E886266E7AE", "ASWC_PTU_KEY_OF_THE_FIRST_INSTANCE",
	}
	for _, s := range secrets {
		if !LooksSecret(s) {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range plain {
		if LooksSecret(s) {
			t.Errorf("%q is taken for a secret", s)
		}
	}
	for _, name := range []string{"apiKey", "api_key", "API-KEY", "password", "clientSecret", "token", "connectionString", "key"} {
		if !secretField(name) {
			t.Errorf("field %s passes", name)
		}
	}
	for _, name := range []string{"apiKeyFile", "apiKeyEnv", "keys", "sha256", "tokensPerMinute", "credential"} {
		if secretField(name) {
			t.Errorf("field %s is refused", name)
		}
	}
}
