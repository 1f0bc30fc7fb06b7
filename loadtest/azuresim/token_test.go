package azuresim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

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
