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
}

func TestOfficialSDKs(t *testing.T) {
	installed := os.Getenv("STAMPGATE_SDKS")
	if installed == "" {
		t.Skip("SKIPPED: the SDKs are installed and run by make sdk-test")
	}
	for _, secured := range []bool{false, true} {
		name := "plain"
		if secured {
			name = "TLS"
		}
		t.Run(name, func(t *testing.T) {
			s := e2e.Start(t, e2e.Options{TLS: secured})
			for name, command := range map[string][]string{
				"python": {filepath.Join(installed, "python", "bin", "python"), "chat.py"},
				"node":   {"node", filepath.Join(installed, "chat.mjs")},
			} {
				t.Run(name, func(t *testing.T) { run(t, s, command) })
			}
		})
	}
}

func run(t *testing.T, s *e2e.Stack, command []string) {
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "BASE_URL="+s.Gateways[0].URL, "API_KEY="+s.Key,
		"SSL_CERT_FILE="+s.CAFile, "NODE_EXTRA_CA_CERTS="+s.CAFile)
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
	}
}
