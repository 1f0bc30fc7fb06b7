package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/cmd/internal/command/commandtest"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

func TestMain(m *testing.M) { commandtest.Main(m, main) }

// The exit code tells a command line that cannot be used from a failure.
func TestTheExitCodeTellsACommandLineFromAFailure(t *testing.T) {
	for line, c := range map[string]struct {
		code int
		want string
	}{
		"":                            {0, "simulate"},
		"--help":                      {0, "scorecard"},
		"simulate --help":             {0, "--instance"},
		"bogus":                       {command.Usage, "bogus"},
		"simulate --instance x":       {command.Usage, "want name=value"},
		"simulate --jitter much":      {command.Usage, "--jitter"},
		"scorecard --output xml":      {command.Usage, "text, json or markdown"},
		"scorecard --write none.md":   {command.Failed, "none.md"},
		"simulate --config none.yaml": {command.Usage, "none.yaml"},
		"simulate --control 192.0.2.1:1 " + aInstance: {command.Failed, "start simulator"},
	} {
		if got := commandtest.Run(t, strings.Fields(line)...); got.Code != c.code || !strings.Contains(got.Out+got.Errors, c.want) {
			t.Errorf("%q: %+v, want %d with %q", line, got, c.code, c.want)
		}
	}
}

const aInstance = "--instance name=a,listen=127.0.0.5:0,deployment=d"

func TestAnInstanceIsReadFromItsPairs(t *testing.T) {
	got, err := parseInstance("name=swc,region=Sweden Central,listen=127.0.0.5:0,key=k=1,tls=true,tls-name=a,tls-name=b,deployment=x,deployment=gpt:m:v:ProvisionedManaged:tpm=1:rpm=2:ptu=3")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "swc" || got.Region != "Sweden Central" || got.Listen != "127.0.0.5:0" || got.APIKey != "k=1" {
		t.Errorf("%+v", got)
	}
	if got.TLS == nil || strings.Join(got.TLS.Names, " ") != "a b" {
		t.Errorf("TLS %+v", got.TLS)
	}
	want := []azuresim.DeploymentConfig{
		{Name: "x"}, {Name: "gpt", Model: "m", Version: "v", SKU: "ProvisionedManaged", TokensPerMinute: 1, RequestsPerMinute: 2, PTU: 3},
	}
	if len(got.Deployments) != 2 || got.Deployments[0] != want[0] || got.Deployments[1] != want[1] {
		t.Errorf("deployments %+v, want %+v", got.Deployments, want)
	}
	for text, tls := range map[string]bool{"name=a,tls=false": false, "name=a,tls=1": true, "name=a,tls-name=h": true, "name=a": false, "tls=true,tls=false": true} {
		if got, err := parseInstance(text); err != nil || (got.TLS != nil) != tls {
			t.Errorf("%s: %+v, %v", text, got.TLS, err)
		}
	}
}

func TestAnInstanceThatMakesNoSenseNamesWhat(t *testing.T) {
	for text, want := range map[string]string{
		"":                               `"", want name=value`,
		"name=a,":                        `"", want name=value`,
		"name":                           `"name", want name=value`,
		"nam=a":                          `no setting "nam"; there are name, region, listen`,
		"tls=perhaps":                    `tls = "perhaps", want true or false`,
		"deployment=d:m:v:s:tpm":         `deployment d: "tpm", want tpm=N`,
		"deployment=d:m:v:s:tpm=many":    `"tpm=many", want tpm=N, rpm=N or ptu=N`,
		"deployment=d:m:v:s:tokens=1":    `deployment d: no limit "tokens"; there are tpm, rpm and ptu`,
		"deployment=d:m:v:s:tpm=1:rpm=x": `"rpm=x", want`,
	} {
		if _, err := parseInstance(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, err := simulateFlags{instances: []string{"name=a,listen=127.0.0.5:0", "nam=b"}}.config()
	if err == nil || !strings.HasPrefix(err.Error(), "--instance 2: ") {
		t.Errorf("of two the second: %v", err)
	}
}

func TestFlagsChangeWhatTheFileSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim.yaml")
	text := `controlListen: 127.0.0.1:7
maxRecords: 5
latency: {firstToken: 1s, tokens: 3}
instances:
  - {name: own-key, listen: "127.0.0.5:0", apiKey: own, deployments: [{name: d}]}
  - {name: no-key, listen: "127.0.0.6:0", deployments: [{name: d}]}
  - {name: keyless, listen: "127.0.0.7:0", keysDisabled: true, deployments: [{name: d}]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := simulateFlags{configFile: file}.config()
	if err != nil {
		t.Fatal(err)
	}
	if plain.MaxRecords != 5 || plain.Latency.Tokens != 3 || plain.ControlListen != "127.0.0.1:7" {
		t.Errorf("without flags: %+v", plain)
	}
	changed, err := simulateFlags{
		configFile: file, control: "127.0.0.1:8", apiKey: "k", firstToken: 2 * time.Second, maxRecords: 6, seed: 9, headerFaults: true,
		instances: []string{"name=more,listen=127.0.0.8:0,deployment=d"},
	}.config()
	if err != nil {
		t.Fatal(err)
	}
	if changed.ControlListen != "127.0.0.1:8" || changed.MaxRecords != 6 || changed.Latency.Tokens != 3 || changed.Seed != 9 || !changed.HeaderFaults {
		t.Errorf("with flags: %+v", changed)
	}
	keys := map[string]string{}
	for _, i := range changed.Instances {
		keys[i.Name] = i.APIKey
	}
	for name, want := range map[string]string{"own-key": "own", "no-key": "k", "keyless": "", "more": "k"} {
		if got, ok := keys[name]; !ok || got != want {
			t.Errorf("key of %s is %q, want %q", name, got, want)
		}
	}
}

// Wrapped words are all there, in order, in lines that are no wider than asked
// for unless a single word is.
func TestWrappedWordsAreAllThereInLinesOfTheirWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-z-]{1,20}`), 1, 40).Draw(t, "words")
		text := wrapped(words, 60)
		if got := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }); strings.Join(got, " ") != strings.Join(words, " ") {
			t.Fatalf("%q became %q", words, text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > 60+2 || !strings.HasPrefix(line, "  ") {
				t.Fatalf("line %q of\n%s", line, text)
			}
		}
	})
}

func TestADocumentWithoutMarksIsRefusedBeforeAnythingIsMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"scorecard", "--write", file}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if _, ok := errors.AsType[*command.UsageError](err); ok {
		t.Errorf("%v is not the command line's fault", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "no marks" {
		t.Errorf("the document is %q, %v", text, err)
	}
}
