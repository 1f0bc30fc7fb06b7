package sdktest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stampgate/stampgate/infra/e2e"
)

// answers is what both scripts print for one way to set the client up.
type answers struct {
	Chat, Stream             string
	ChatTokens, StreamTokens int
	Chunks, Dimensions       int
	Structured, Tool         bool
	Finish, FinishStream     string
}

// installedSDKs is where the script run has put them.
func installedSDKs(t *testing.T) string {
	t.Helper()
	installed := os.Getenv("STAMPGATE_SDKS")
	if installed == "" {
		t.Skip("SKIPPED: the SDKs are installed and run by make sdk-test")
	}
	return installed
}

// scripts are the commands that exercise the SDKs, by language.
func scripts(installed string) map[string][]string {
	return map[string][]string{
		"python": {filepath.Join(installed, "python", "bin", "python"), "chat.py"},
		"node":   {"node", filepath.Join(installed, "chat.mjs")},
	}
}

func TestOfficialSDKs(t *testing.T) {
	installed := installedSDKs(t)
	for _, secured := range []bool{false, true} {
		name := "plain"
		if secured {
			name = "TLS"
		}
		t.Run(name, func(t *testing.T) {
			s := e2e.Start(t, e2e.Options{TLS: secured})
			for name, command := range scripts(installed) {
				t.Run(name, func(t *testing.T) {
					run(t, command, "BASE_URL="+s.Gateways[0].URL, "API_KEY="+s.Key, "MODEL=gpt-4o",
						"SSL_CERT_FILE="+s.CAFile, "NODE_EXTRA_CA_CERTS="+s.CAFile)
				})
			}
		})
	}
}

func run(t *testing.T, command []string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command[1], err)
	}
	var got map[string]answers
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, way := range []string{"azure", "v1"} {
		a := got[way]
		// The simulator answers the same request with the same text.
		if a.Chat == "" || a.Chat != a.Stream || a.ChatTokens == 0 || a.ChatTokens != a.StreamTokens || a.Chunks < 3 || a.Dimensions == 0 {
			t.Errorf("%s: %+v", way, a)
		}
		if !a.Structured || !a.Tool || a.Finish != "tool_calls" || a.FinishStream != "tool_calls" {
			t.Errorf("%s: tools and structured output: %+v", way, a)
		}
	}
}
